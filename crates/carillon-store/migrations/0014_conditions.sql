-- What conditions on devices compare with. None of them fails on what a device brings along: what cannot be read is null.
-- No oldest binary: those that do not know conditions leave notifications that have one to others, so that nothing is sent to whom it is not meant for, but
-- nothing is sent at all where no other is there.

-- The numbers of a version, without the noughts at its end: 4.2 is 4.2.0. Null for what does not begin with a number.
CREATE FUNCTION carillon_version_numbers(version text) RETURNS numeric[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT string_to_array(regexp_replace(substring(version from '^[vV]?([0-9]+(?:\.[0-9]+)*)'), '(\.0+)+$', ''), '.')::numeric[]
$$;

-- What a version has behind a hyphen. A release has nothing there and comes after all that lead to it: 4.2.0-beta is before 4.2.0.
CREATE FUNCTION carillon_version_suffix(version text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(substring(version from '^[vV]?[0-9.]+-([0-9A-Za-z.-]+)'), '~') COLLATE "C"
$$;

-- An RFC 3339 time.
CREATE FUNCTION carillon_time(written text) RETURNS timestamptz LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    IF written !~ '^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$' THEN
        RETURN NULL;
    END IF;
    RETURN written::timestamptz;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END $$;

-- A tag as devices are searched for it, eight bytes.
CREATE FUNCTION carillon_tag_hash(tag text) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT int8send(hashtextextended(tag, 0))
$$;

CREATE FUNCTION carillon_tag_hashes(tags text[]) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(string_agg(carillon_tag_hash(tag), ''), '') FROM unnest(tags) AS t(tag)
$$;

-- Beside the tags themselves, which the database packs or puts aside where there are many: unpacking them costs more than all else that is
-- done with a device of an audience. Writes the table anew.
ALTER TABLE devices ADD COLUMN tag_hashes bytea GENERATED ALWAYS AS (carillon_tag_hashes(tags)) STORED;
ALTER TABLE devices ALTER COLUMN tag_hashes SET STORAGE PLAIN;
