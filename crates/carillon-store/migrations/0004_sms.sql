-- Text messages: gateways and sender names of a tenant.

CREATE TABLE sms_gateways (
    tenant_key      integer NOT NULL REFERENCES tenants ON DELETE CASCADE,
    gateway         text NOT NULL,
    kind            text NOT NULL CHECK (kind IN ('smsapi')),
    -- Secrets sealed under the key of kind sms; facts are what answers may show.
    sealed          bytea NOT NULL,
    facts           jsonb NOT NULL DEFAULT '{}',
    -- Stands in the path of the callback; whoever knows it may report deliveries of this gateway.
    callback_secret text NOT NULL UNIQUE,
    version         integer NOT NULL DEFAULT 1,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_key, gateway)
);

CREATE TABLE sms_senders (
    tenant_key integer NOT NULL REFERENCES tenants ON DELETE CASCADE,
    sender     text NOT NULL,
    gateways   text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_key, sender)
);
CREATE TRIGGER sms_gateways_changed AFTER INSERT OR UPDATE OR DELETE ON sms_gateways FOR EACH STATEMENT EXECUTE FUNCTION carillon_announce();
CREATE TRIGGER sms_senders_changed AFTER INSERT OR UPDATE OR DELETE ON sms_senders FOR EACH STATEMENT EXECUTE FUNCTION carillon_announce();
