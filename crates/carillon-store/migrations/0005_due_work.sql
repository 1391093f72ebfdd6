-- Due chunks are taken tenant by tenant: each one's oldest is found without reading through the others' backlog.
DROP INDEX chunks_due;
CREATE INDEX chunks_due ON chunks (platform, lane, tenant_key, due_at) WHERE due_at IS NOT NULL;

-- What dispatchers have in hand: a few hundred rows, whatever waits.
CREATE INDEX chunks_outstanding ON chunks (lane, platform) WHERE outstanding;

-- Runs that may be finished, gone through round and round.
CREATE INDEX notifications_unfinished ON notifications (run_id) WHERE state = 2 AND expanded;
