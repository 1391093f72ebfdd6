//! What every process measures.

use super::metrics;

metrics! {
    gauge BUILD_INFO = "carillon_build_info" ["service", "version"]
        "Always 1; which `service` of which `version` this is.";
    counter FAILPOINT_HITS = "carillon_failpoint_hits_total" ["point"]
        "Failpoints that were armed (`CARILLON_FAILPOINTS__ARM`) and are hit, per `point`; never in production.";
    gauge INFLIGHT = "carillon_inflight" ["stage"]
        "Units of work begun and not finished, per `stage` (chunk, sms).";
    counter TASK_FAILURES = "carillon_task_failures_total" []
        "Supervised tasks that failed or panicked.";
    waits QUEUE_WAIT_SECONDS = "carillon_queue_wait_seconds" ["queue"]
        "Seconds from publishing a message to its delivery from the `queue`.";
}
