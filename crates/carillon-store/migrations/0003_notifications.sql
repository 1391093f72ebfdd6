-- The truth about sending. `due_at` is the next moment when somebody must look at the row if nothing else happens; there is
-- no other outbox, timer or retry queue.

CREATE TABLE notifications (
    notification_id uuid PRIMARY KEY,
    tenant_key      integer NOT NULL,
    app_key         integer NOT NULL,
    reference       text,
    -- carillon.events.v1.NotificationBody
    body            bytea NOT NULL,
    -- domain State and Lane
    state           smallint NOT NULL,
    lane            smallint NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    scheduled_at    timestamptz,
    due_at          timestamptz,
    copies          integer NOT NULL DEFAULT 0,

    -- The run: minted when sending starts. Its time says in which partition its chunks and deliveries lie.
    run_id          uuid,
    run_started_at  timestamptz,
    expires_at      timestamptz,
    -- Rises with every change of who may write pages; a page of an older epoch is refused.
    epoch           integer NOT NULL DEFAULT 0,
    -- The page that comes next: after this person (byte order). Null before the first page.
    cursor_person   text COLLATE "C",
    next_chunk      integer NOT NULL DEFAULT 0,
    next_person     integer NOT NULL DEFAULT 0,
    -- Audience known and every chunk row written.
    expanded        boolean NOT NULL DEFAULT false,
    recipients      bigint NOT NULL DEFAULT 0,
    pushes          bigint NOT NULL DEFAULT 0,
    reason          text,
    finished_at     timestamptz
) WITH (fillfactor = 80);
ALTER TABLE notifications ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE INDEX notifications_due ON notifications (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX notifications_of_tenant ON notifications (tenant_key, notification_id DESC);
CREATE INDEX notifications_by_reference ON notifications (tenant_key, reference, notification_id DESC) WHERE reference IS NOT NULL;
CREATE INDEX notifications_by_run ON notifications (run_id) WHERE run_id IS NOT NULL;
CREATE INDEX notifications_closing ON notifications (notification_id) WHERE state = 4 AND finished_at IS NULL;

CREATE TABLE idempotency (
    tenant_key      integer NOT NULL,
    key             text COLLATE "C" NOT NULL,
    fingerprint     bytea NOT NULL,
    notification_id uuid NOT NULL,
    state           smallint NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_key, key)
);
CREATE INDEX idempotency_by_age ON idempotency (created_at);

-- Recipients in order, one state byte each; never tokens.
CREATE TABLE chunks (
    run_id          uuid NOT NULL,
    chunk           integer NOT NULL,
    notification_id uuid NOT NULL,
    tenant_key      integer NOT NULL,
    app_key         integer NOT NULL,
    platform        smallint NOT NULL,
    lane            smallint NOT NULL,
    link            smallint NOT NULL DEFAULT 0,
    -- Eight bytes a position, big endian.
    device_keys     bytea NOT NULL,
    -- Four bytes a position, big endian: the person's number in the run. Null without a cascade.
    person_numbers  bytea,
    -- domain Positions
    states          bytea NOT NULL,
    not_before      bytea NOT NULL DEFAULT '',
    run_started_at  timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    due_at          timestamptz,
    copies          integer NOT NULL DEFAULT 0,
    lease           bigint NOT NULL DEFAULT 0,
    lease_until     timestamptz,
    -- Published and not given back: counts against the credit of its platform and lane.
    outstanding     boolean NOT NULL DEFAULT false,
    -- Claims since a Report last closed or deferred a position.
    idle_claims     smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (run_id, chunk)
) PARTITION BY RANGE (run_id);
CREATE INDEX chunks_due ON chunks (platform, lane, due_at) WHERE due_at IS NOT NULL;

-- One row per (run, device or person, link). Evidence only grows; reports and receipts write it by the same upsert.
CREATE TABLE deliveries (
    run_id         uuid NOT NULL,
    -- Push: the device's key. Text message, or a person without a device: -1 - the person's number in the run.
    subject        bigint NOT NULL,
    link           smallint NOT NULL,
    tenant_key     integer NOT NULL,
    platform       smallint,
    -- domain Evidence, before the last write and now.
    bits           smallint NOT NULL,
    prev           smallint NOT NULL DEFAULT 0,
    reason         smallint,
    -- Only where no device names the person.
    person         text,
    provider_id    text,
    closed_at      timestamptz,
    sent_at        timestamptz,
    undelivered_at timestamptz,
    delivered_at   timestamptz,
    displayed_at   timestamptz,
    dismissed_at   timestamptz,
    opened_at      timestamptz,
    clicked_at     timestamptz,
    PRIMARY KEY (run_id, subject, link)
) PARTITION BY RANGE (run_id);

-- domain Tally, in slots so that collectors do not wait for each other. Channel 1 = push, 2 = sms.
CREATE TABLE run_counters (
    run_id      uuid NOT NULL,
    channel     smallint NOT NULL,
    slot        smallint NOT NULL,
    suppressed  bigint NOT NULL DEFAULT 0,
    cancelled   bigint NOT NULL DEFAULT 0,
    expired     bigint NOT NULL DEFAULT 0,
    unknown     bigint NOT NULL DEFAULT 0,
    failed      bigint NOT NULL DEFAULT 0,
    sent        bigint NOT NULL DEFAULT 0,
    undelivered bigint NOT NULL DEFAULT 0,
    delivered   bigint NOT NULL DEFAULT 0,
    displayed   bigint NOT NULL DEFAULT 0,
    dismissed   bigint NOT NULL DEFAULT 0,
    opened      bigint NOT NULL DEFAULT 0,
    clicked     bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (run_id, channel, slot)
) WITH (fillfactor = 50);

-- One row per (run, person, link), written with the person's chunk.
CREATE TABLE cascades (
    run_id          uuid NOT NULL,
    link            smallint NOT NULL,
    person_number   integer NOT NULL,
    notification_id uuid NOT NULL,
    tenant_key      integer NOT NULL,
    app_key         integer NOT NULL,
    person          text NOT NULL,
    phone           text,
    locale          text,
    -- domain Unless and CascadeState
    unless          smallint NOT NULL,
    within_seconds  integer NOT NULL,
    state           smallint NOT NULL DEFAULT 1,
    -- Devices still open, whether one was accepted, whether one ended in a way that fires, whether one was read.
    open_devices    smallint NOT NULL,
    any_sent        boolean NOT NULL DEFAULT false,
    any_fires       boolean NOT NULL DEFAULT false,
    any_read        boolean NOT NULL DEFAULT false,
    released_at     timestamptz NOT NULL,
    first_sent_at   timestamptz,
    due_at          timestamptz,
    lease_until     timestamptz,
    attempts        smallint NOT NULL DEFAULT 0,
    gateway         text,
    segments        smallint,
    PRIMARY KEY (run_id, link, person_number)
) WITH (fillfactor = 80);
CREATE INDEX cascades_due ON cascades (due_at) WHERE due_at IS NOT NULL;

-- Statuses of one commit, to be told; deleted when the broker confirmed them.
CREATE TABLE status_batches (
    batch_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- JSON list of changes: run, subject, link, status, reason, at.
    changes    bytea NOT NULL,
    due_at     timestamptz NOT NULL
);
CREATE INDEX status_batches_due ON status_batches (due_at);

-- Weekly partitions by the time inside a run id (UUIDv7: the first 48 bits are milliseconds).
CREATE FUNCTION carillon_first_run_id(at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid
$$;

CREATE FUNCTION carillon_make_partitions(weeks_ahead integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    week   timestamptz;
    part   text;
    parent text;
    made   integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('carillon_make_partitions'));
    FOR i IN -1 .. weeks_ahead LOOP
        week := date_trunc('week', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' + i * interval '7 days';
        FOREACH parent IN ARRAY ARRAY['chunks', 'deliveries'] LOOP
            part := parent || to_char(week AT TIME ZONE 'UTC', '"_"IYYY"w"IW');
            IF to_regclass(part) IS NULL THEN
                EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                    part, parent, carillon_first_run_id(week), carillon_first_run_id(week + interval '7 days'));
                IF parent = 'chunks' THEN
                    EXECUTE format('ALTER TABLE %I SET (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02)', part);
                    EXECUTE format('ALTER TABLE %I ALTER COLUMN device_keys SET STORAGE EXTERNAL', part);
                    EXECUTE format('ALTER TABLE %I ALTER COLUMN states SET STORAGE PLAIN', part);
                ELSE
                    EXECUTE format('ALTER TABLE %I SET (fillfactor = 90)', part);
                END IF;
                made := made + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;

CREATE TABLE chunks_default PARTITION OF chunks DEFAULT;
CREATE TABLE deliveries_default PARTITION OF deliveries DEFAULT;
SELECT carillon_make_partitions(5);
