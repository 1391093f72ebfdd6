-- oldest binary: 9
-- When devices were last sent to, 512 to a row: hours since 1970, three bytes each, big endian; 0: never. The column in devices keeps what
-- older binaries wrote, and what a device brings along that changes hands.
CREATE TABLE device_sends (
    block bigint PRIMARY KEY,
    hours bytea NOT NULL
) WITH (fillfactor = 50);
ALTER TABLE device_sends ALTER COLUMN hours SET STORAGE PLAIN;

CREATE FUNCTION carillon_last_sent(key bigint) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT to_timestamp(nullif((get_byte(s.hours, s.at) * 256 + get_byte(s.hours, s.at + 1)) * 256 + get_byte(s.hours, s.at + 2), 0) * 3600.0)
    FROM (SELECT hours, (key % 512)::integer * 3 AS at FROM device_sends WHERE block = key / 512) s
$$;
