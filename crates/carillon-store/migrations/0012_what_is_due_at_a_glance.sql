-- No older binary works from here on: rows name their recipients in a form that it would read as an empty audience.
-- Whether anything of a platform and lane is due is one look, however many tenants have something that waits for later.
CREATE INDEX chunks_next ON chunks (platform, lane, due_at) WHERE due_at IS NOT NULL;
