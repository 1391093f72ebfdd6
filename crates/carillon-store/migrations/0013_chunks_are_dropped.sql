-- oldest binary: 12
-- Chunk rows are needed while their messages may live, which is 28 days, and a while longer for late receipts. Then their whole week is
-- dropped; what became of each message is kept in deliveries and counters. Every look at what is due asks each week's partition.
--
-- Drops at most one week, as whoever reads or writes chunks waits for that. Not while anybody must still look at one of its rows.
CREATE FUNCTION carillon_drop_old_chunks(weeks_kept integer) RETURNS integer LANGUAGE plpgsql
SET lock_timeout = '500ms' AS $$
DECLARE
    part name;
    open boolean;
BEGIN
    FOR part IN
        SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'chunks'::regclass AND relname ~ '^chunks_\d{4}w\d{2}$'
          AND to_date(substr(relname, 8), 'IYYY"w"IW') + 7 * (weeks_kept + 1) <= (now() AT TIME ZONE 'UTC')::date
        ORDER BY relname
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE due_at IS NOT NULL)', part) INTO open;
        IF NOT open THEN
            EXECUTE format('DROP TABLE %I', part);
            RETURN 1;
        END IF;
    END LOOP;
    RETURN 0;
END $$;
