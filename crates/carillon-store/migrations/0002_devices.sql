-- Installations. A row is one installation in one person's hands, for life: when a device changes hands its row is forgotten
-- (kept without its data until no message can name it) and a new one with a new key takes the device id.

CREATE TABLE devices (
    device_key    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_key    integer NOT NULL,
    app_key       integer NOT NULL,
    device        text COLLATE "C" NOT NULL,
    -- domain Person: 'u:<user>', 'p:<phone>' or 'd:<device>'; audiences are walked in its order.
    person        text COLLATE "C" NOT NULL,
    platform      smallint NOT NULL,
    os            smallint NOT NULL,
    -- Token, installation id or endpoint; null once forgotten.
    token         text,
    is_fid        boolean NOT NULL DEFAULT false,
    p256dh        bytea,
    auth          bytea,
    token_hash    bytea,
    environment   smallint NOT NULL DEFAULT 3,
    generation    integer NOT NULL DEFAULT 1,
    user_id       text,
    phone         text,
    name          text,
    locale        text,
    timezone      text,
    is_primary    boolean NOT NULL DEFAULT false,
    permission    smallint NOT NULL DEFAULT 3,
    tags          text[] NOT NULL DEFAULT '{}',
    attributes    jsonb NOT NULL DEFAULT '{}',
    app_version   text,
    os_version    text,
    -- domain DeviceState and Reason.
    state         smallint NOT NULL DEFAULT 1,
    reason        smallint,
    -- The hash of the installation's own key (cds_), when it registered itself.
    secret_hash   bytea,
    registered_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at  timestamptz NOT NULL DEFAULT now(),
    last_sent_at  timestamptz,
    state_at      timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 90);

CREATE UNIQUE INDEX devices_by_id ON devices (app_key, device) WHERE state <> 5;
CREATE UNIQUE INDEX devices_by_token ON devices (app_key, token_hash) WHERE state NOT IN (3, 5);
CREATE UNIQUE INDEX devices_by_secret ON devices (secret_hash) WHERE secret_hash IS NOT NULL;
CREATE UNIQUE INDEX devices_primary ON devices (app_key, person) WHERE is_primary AND state <> 5;
-- Audiences walk by person; a page ends at a person's end.
CREATE INDEX devices_by_person ON devices (app_key, person, device_key) WHERE state <> 5;
CREATE INDEX devices_by_phone ON devices (app_key, phone) WHERE phone IS NOT NULL AND state <> 5;
CREATE INDEX devices_to_purge ON devices (state_at) WHERE state IN (3, 5);
