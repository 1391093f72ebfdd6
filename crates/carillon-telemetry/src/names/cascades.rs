//! What cascades measure.

use super::metrics;

metrics! {
    waits CASCADE_LATENESS_SECONDS = "carillon_cascade_lateness_seconds" []
        "Seconds from a cascade step's deadline to its decision.";
    counter CASCADES = "carillon_cascades_total" ["decision"]
        "Cascade steps that were due, by `decision` (sent, unknown, failed, expired, no_phone, cancelled_by_caller).";
    counter SMS_SENT = "carillon_sms_sent_total" ["provider", "outcome"]
        "Messages handed to an SMS `provider` by `outcome` (accepted, rejected, unknown, unavailable).";
    counter SMS_SEGMENTS = "carillon_sms_segments_total" ["provider"]
        "Billed parts of messages handed to an SMS `provider`.";
}
