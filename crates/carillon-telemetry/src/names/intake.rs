//! What accepting measures.

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
        "Requests answered 503 or 429 with Retry-After, by `reason` (database, queue_full, rate).";
    calls HTTP_SERVER_SECONDS = "http_server_request_duration_seconds" ["method", "route", "status"]
        "Seconds per HTTP request by `method`, `route` (the template) and `status` (its class, such as 2xx).";
    calls RPC_SERVER_SECONDS = "rpc_server_call_duration_seconds" ["method", "status"]
        "Seconds per gRPC call by `method` (package.Service/Method) and `status` (the code's name).";
}
