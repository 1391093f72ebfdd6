-- A paused notification (state 3) is looked at again when it expires. What comes due meanwhile is set aside by whoever meets it: a chunk
-- until it expires, a waiting cascade without any time.
ALTER TABLE notifications
    ADD COLUMN paused_at  timestamptz,
    -- The pauses that are over: a cascade's wait does not count them.
    ADD COLUMN pauses     tstzmultirange,
    -- Set by a resume, until what was set aside is taken up again.
    ADD COLUMN resumed_at timestamptz;
CREATE INDEX notifications_resumed ON notifications (notification_id) WHERE resumed_at IS NOT NULL;
CREATE INDEX cascades_set_aside ON cascades (run_id, link, person_number) WHERE state IN (1, 2) AND due_at IS NULL;

-- When a wait that began at `start` is over, if it stands still during pauses.
CREATE FUNCTION carillon_waited(start timestamptz, wait interval, pauses tstzmultirange) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    over  timestamptz := start + wait;
    pause tstzrange;
BEGIN
    FOR pause IN SELECT p FROM unnest(pauses) AS p ORDER BY p LOOP
        CONTINUE WHEN upper(pause) <= start;
        EXIT WHEN lower(pause) >= over;
        over := over + (upper(pause) - greatest(lower(pause), start));
    END LOOP;
    RETURN over;
END $$;
