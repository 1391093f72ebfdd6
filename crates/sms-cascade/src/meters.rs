//! What this service measures.

use crate::smsapi::Verdict;
use carillon_domain::delivery_status::Status;
use carillon_store::CascadeOutcome;
use carillon_telemetry::metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use carillon_telemetry::names;

/// The one kind of gateway.
const PROVIDER: (&str, &str) = ("provider", "smsapi");

pub(crate) struct Meters {
    /// Seconds from a deadline to the claim.
    pub(crate) lateness: Histogram,
    /// Messages being sent.
    pub(crate) in_flight: Gauge,
    /// Cascades that ended because the notification was cancelled.
    pub(crate) cancelled: Counter,
    /// Cascades that ended because there is nobody to text.
    pub(crate) without_phone: Counter,
    sent: Counter,
    unknown: Counter,
    failed: Counter,
    expired: Counter,
    accepted: Counter,
    rejected: Counter,
    doubtful: Counter,
    unavailable: Counter,
    segments: Counter,
}

impl Meters {
    pub(crate) fn new() -> Self {
        let decision = |value| counter(&names::CASCADES, &[("decision", value)]);
        let outcome = |value| counter(&names::SMS_SENT, &[PROVIDER, ("outcome", value)]);
        Self {
            lateness: histogram(&names::CASCADE_LATENESS_SECONDS, &[]),
            in_flight: gauge(&names::INFLIGHT, &[("stage", "sms")]),
            cancelled: decision("cancelled_by_caller"),
            without_phone: decision("no_phone"),
            sent: decision("sent"),
            unknown: decision("unknown"),
            failed: decision("failed"),
            expired: decision("expired"),
            accepted: outcome("accepted"),
            rejected: outcome("rejected"),
            doubtful: outcome("unknown"),
            unavailable: outcome("unavailable"),
            segments: counter(&names::SMS_SEGMENTS, &[PROVIDER]),
        }
    }

    /// A gateway's answer.
    pub(crate) fn answered(&self, verdict: &Verdict) {
        match verdict {
            Verdict::Accepted { .. } | Verdict::Repeated => &self.accepted,
            Verdict::Refused { .. } => &self.rejected,
            Verdict::Unavailable { .. } => &self.unavailable,
            Verdict::Doubtful => &self.doubtful,
        }
        .inc();
    }

    /// The end of a claim.
    pub(crate) fn ended(&self, outcome: &CascadeOutcome) {
        match outcome {
            CascadeOutcome::Sent { segments, .. } => {
                self.sent.inc();
                self.segments.add(u64::from(segments.unsigned_abs()));
            }
            CascadeOutcome::Unknown => self.unknown.inc(),
            CascadeOutcome::Ended { status: Status::Expired, .. } => self.expired.inc(),
            CascadeOutcome::Ended { .. } => self.failed.inc(),
            CascadeOutcome::Retry { .. } => {}
        }
    }
}
