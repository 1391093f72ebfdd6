-- Who uses the platform: tenants, their keys, their apps and the apps' credentials.

CREATE TABLE tenants (
    tenant_key       integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant           text NOT NULL UNIQUE,
    name             text,
    push_enabled     boolean NOT NULL DEFAULT true,
    default_timezone text,
    default_region   text,
    default_locale   text,
    retention_days   integer NOT NULL DEFAULT 90 CHECK (retention_days BETWEEN 1 AND 400),
    created_at       timestamptz NOT NULL DEFAULT now()
);

-- Operator keys have no tenant. Only the hash of a secret is kept.
CREATE TABLE api_keys (
    key_id       uuid PRIMARY KEY,
    tenant_key   integer REFERENCES tenants ON DELETE CASCADE,
    secret_hash  bytea NOT NULL UNIQUE,
    name         text,
    scopes       text[] NOT NULL,
    apps         text[],
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    revoked_at   timestamptz
);
CREATE INDEX api_keys_of_tenant ON api_keys (tenant_key, created_at DESC);

-- Broker users that may publish events for a tenant (contract, AMQP in).
CREATE TABLE amqp_users (
    amqp_user  text PRIMARY KEY,
    tenant_key integer NOT NULL REFERENCES tenants ON DELETE CASCADE,
    scopes     text[] NOT NULL,
    apps       text[],
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE apps (
    app_key         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_key      integer NOT NULL REFERENCES tenants ON DELETE CASCADE,
    app             text NOT NULL,
    name            text,
    icon_url        text,
    push_enabled    boolean NOT NULL DEFAULT true,
    identity        text NOT NULL DEFAULT 'required' CHECK (identity IN ('required', 'optional')),
    allowed_origins text[] NOT NULL DEFAULT '{}',
    default_locale  text,
    public_key      text NOT NULL UNIQUE,
    created_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_key, app)
);

-- Every version of a credential; the newest that is not deleted is used. Secrets are sealed under the key of their kind.
CREATE TABLE credentials (
    app_key     integer NOT NULL REFERENCES apps ON DELETE CASCADE,
    platform    smallint NOT NULL,
    version     integer NOT NULL,
    tenant_key  integer NOT NULL,
    sealed      bytea NOT NULL,
    facts       jsonb NOT NULL DEFAULT '{}',
    fingerprint text NOT NULL,
    status      text NOT NULL DEFAULT 'unverified' CHECK (status IN ('ok', 'expiring', 'suspended', 'unverified')),
    reason      text,
    expires_at  timestamptz,
    checked_at  timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now(),
    deleted_at  timestamptz,
    PRIMARY KEY (app_key, platform, version)
);

-- Caches of other processes listen: what they know of keys, apps and credentials may be old now.
CREATE FUNCTION carillon_announce() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('carillon_changed', TG_TABLE_NAME);
    RETURN NULL;
END $$;
CREATE TRIGGER tenants_changed AFTER INSERT OR UPDATE OR DELETE ON tenants FOR EACH STATEMENT EXECUTE FUNCTION carillon_announce();
CREATE TRIGGER api_keys_changed AFTER INSERT OR UPDATE OR DELETE ON api_keys FOR EACH STATEMENT EXECUTE FUNCTION carillon_announce();
CREATE TRIGGER amqp_users_changed AFTER INSERT OR UPDATE OR DELETE ON amqp_users FOR EACH STATEMENT EXECUTE FUNCTION carillon_announce();
CREATE TRIGGER apps_changed AFTER INSERT OR UPDATE OR DELETE ON apps FOR EACH STATEMENT EXECUTE FUNCTION carillon_announce();
CREATE TRIGGER credentials_changed AFTER INSERT OR UPDATE OR DELETE ON credentials FOR EACH STATEMENT EXECUTE FUNCTION carillon_announce();
