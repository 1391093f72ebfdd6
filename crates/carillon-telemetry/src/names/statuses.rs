//! What statuses, receipts, callers' webhooks and cascades measure.

use super::metrics;

metrics! {
    counter STATUS_EVENTS = "carillon_status_events_total" ["platform", "status"]
        "Status changes committed, by `platform` and `status`.";
    waits STATUS_LAG_SECONDS = "carillon_status_lag_seconds" []
        "Seconds from what happened to its committed status.";
    counter RECEIPTS = "carillon_receipts_total" ["event", "outcome"]
        "Receipts of devices and operators, by `event` (delivered, displayed, opened, dismissed) and `outcome` (new, repeated, unknown, refused).";
    counter STATUS_BATCHES_PUBLISHED = "carillon_status_batches_published_total" []
        "Batches of status events handed to the broker.";
    counter WEBHOOK_DELIVERIES = "carillon_webhook_deliveries_total" ["outcome"]
        "Calls of callers' webhooks by `outcome` (accepted, refused, timed_out, unreachable, forbidden_address).";
    gauge UNACCOUNTED = "carillon_unaccounted_notifications" []
        "Notifications past their time to live and grace without a final state; anything above 0 is a fault.";
    waits CASCADE_LATENESS_SECONDS = "carillon_cascade_lateness_seconds" []
        "Seconds from a cascade step's deadline to its decision.";
    counter CASCADES = "carillon_cascades_total" ["decision"]
        "Cascade steps by `decision` (sent, cancelled_delivered, cancelled_opted_out, cancelled_by_caller, budget_blocked, expired).";
    counter SMS_SENT = "carillon_sms_sent_total" ["provider", "outcome"]
        "Messages handed to an SMS `provider` by `outcome` (accepted, rejected, unknown, unavailable).";
    counter SMS_SEGMENTS = "carillon_sms_segments_total" ["provider"]
        "Billed parts of messages handed to an SMS `provider`.";
    counter SMS_AVOIDED = "carillon_sms_avoided_total" ["reason"]
        "Messages not sent because of a `reason` (delivered, opened, opted_out, cancelled).";
}
