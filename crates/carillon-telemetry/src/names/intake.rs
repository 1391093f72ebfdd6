//! What accepting and resolving measure.

use super::metrics;

metrics! {
    counter NOTIFICATIONS_RECEIVED = "carillon_notifications_received_total" ["api", "outcome"]
        "Notifications received by `api` (rest, grpc, amqp) and `outcome` (accepted, duplicate, rejected, throttled, error).";
    calls ACCEPT_SECONDS = "carillon_accept_seconds" ["api"]
        "Seconds from a complete request to its durable commit, by `api`.";
    sizes ACCEPT_BATCH = "carillon_accept_batch_notifications" []
        "Notifications committed together.";
    counter IDEMPOTENCY_HITS = "carillon_idempotency_hits_total" ["outcome"]
        "Requests whose idempotency key was known, by `outcome` (same, different).";
    counter SHED = "carillon_shed_total" ["reason"]
        "Requests answered 503 with Retry-After, by `reason` (database, queue_full, draining).";
    calls HTTP_SERVER_SECONDS = "http_server_request_duration_seconds" ["method", "route", "status"]
        "Seconds per HTTP request by `method`, `route` (the template) and `status` (2xx, 4xx, 5xx).";
    calls RPC_SERVER_SECONDS = "rpc_server_call_duration_seconds" ["method", "status"]
        "Seconds per gRPC call by `method` (package.Service/Method) and `status` (the code's name).";
    gauge RUNS_ACTIVE = "carillon_runs_active" []
        "Runs whose lease this process holds.";
    sizes SEGMENT_TARGETS = "carillon_segment_targets" []
        "Targets a notification resolved to.";
    counter TARGETS_RESOLVED = "carillon_targets_resolved_total" ["platform"]
        "Targets put into chunks, by `platform`.";
    counter TARGETS_SUPPRESSED = "carillon_targets_suppressed_total" ["reason"]
        "Targets left out, by `reason` (opted_out, frequency_cap, quiet_hours, expired, no_token).";
    counter CHUNKS_PUBLISHED = "carillon_chunks_published_total" ["platform", "lane"]
        "Chunks handed to dispatchers, repetitions included, by `platform` and `lane` (transactional, bulk).";
    gauge DUE_ROWS = "carillon_due_rows" ["work"]
        "Rows that are due and not yet published, by `work` (run, chunk, cascade, schedule, status).";
    gauge DUE_OLDEST_SECONDS = "carillon_due_oldest_seconds" ["work"]
        "Seconds the oldest due row has been waiting, by `work`.";
    counter SCANNED = "carillon_scanned_total" ["work"]
        "Rows that the scan for due work published again, by `work`.";
}
