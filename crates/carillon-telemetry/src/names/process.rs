//! What every process measures.

use super::metrics;

metrics! {
    gauge BUILD_INFO = "carillon_build_info" ["service", "version"]
        "Always 1; which `service` of which `version` this is.";
    gauge INFLIGHT = "carillon_inflight" ["stage"]
        "Units of work begun and not finished, per `stage` (accept, run, chunk, send, report, webhook, sms).";
    counter DRAINED = "carillon_drained_total" ["stage"]
        "Units of work finished after the drain began, per `stage`.";
    counter TASK_FAILURES = "carillon_task_failures_total" []
        "Supervised tasks that failed or panicked.";
    gauge DB_CONNECTIONS = "carillon_db_connections" ["pool", "state"]
        "Connections of a database `pool` (intake, work, health) by `state` (idle, used).";
    calls DB_WAIT_SECONDS = "carillon_db_wait_seconds" ["pool"]
        "Seconds waited for a connection of the `pool`.";
    counter DB_TIMEOUTS = "carillon_db_timeouts_total" ["pool"]
        "Waits for a connection of the `pool` that were given up.";
    gauge BROKER_CONNECTED = "carillon_broker_connected" ["purpose"]
        "1 while the connection for this `purpose` (publish, consume) stands.";
    counter BROKER_RECONNECTS = "carillon_broker_reconnects_total" ["purpose"]
        "Connections rebuilt after a loss, per `purpose`.";
    gauge BROKER_BLOCKED = "carillon_broker_blocked" []
        "1 while the broker refuses publishing because of its memory or disk.";
    counter PUBLISHES = "carillon_publishes_total" ["queue", "outcome"]
        "Messages published to a `queue` by `outcome` (confirmed, nacked, returned, timed_out).";
    calls PUBLISH_CONFIRM_SECONDS = "carillon_publish_confirm_seconds" ["queue"]
        "Seconds from publishing to a `queue` to the broker's confirm.";
    counter CONSUMED = "carillon_consumed_total" ["queue", "outcome"]
        "Messages taken from a `queue` by `outcome` (acked, requeued, parked).";
    waits QUEUE_WAIT_SECONDS = "carillon_queue_wait_seconds" ["queue"]
        "Seconds from publishing a message to its delivery from the `queue`.";
    counter DEAD_LETTERS = "carillon_dead_letters_total" ["queue", "reason"]
        "Messages parked from a `queue` for a `reason` (undecodable, panic, no_progress, unknown_type).";
}
