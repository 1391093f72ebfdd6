-- oldest binary: 9
-- Whether anything of a platform and lane is due is one look, however many tenants have something that waits for later.
CREATE INDEX chunks_next ON chunks (platform, lane, due_at) WHERE due_at IS NOT NULL;
