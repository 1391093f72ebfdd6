//! What sending measures, bound to its labels once.

use std::time::Duration;

use carillon_domain::platform::{Lane, Platform};
use carillon_telemetry::metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use carillon_telemetry::names;

use crate::provider::{TokenFate, Verdict};

/// The words for a verdict, in the order of [`index`].
const OUTCOMES: [&str; 7] =
    ["sent", "rejected", "token_invalid", "throttled", "unavailable", "misconfigured", "unknown"];

pub(crate) struct Meters {
    attempts: [Counter; OUTCOMES.len()],
    seconds: [Histogram; OUTCOMES.len()],
    expired: Counter,
    retries_throttled: Counter,
    retries_unavailable: Counter,
    retries_lost: Counter,
    throttled: Counter,
    refused: Counter,
    unregistered: Counter,
    bad_tokens: Counter,
    chunks: [Counter; 5],
    pub(crate) breakers: Gauge,
    pub(crate) streams: Gauge,
    pub(crate) inflight: Gauge,
    pub(crate) end_to_end: Histogram,
    pub(crate) queue_wait: Histogram,
}

/// How a chunk was let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LetGo {
    Done,
    Deferred,
    Stopped,
    LostClaim,
    /// A message of it broke its handler.
    Panicked,
}

impl Meters {
    pub(crate) fn new(platform: Platform, lane: Lane, queue: &'static str) -> Self {
        let platform = ("platform", platform.as_str());
        let retries = |reason| counter(&names::RETRIES, &[platform, ("reason", reason)]);
        let invalidated = |reason| counter(&names::TOKENS_INVALIDATED, &[platform, ("reason", reason)]);
        let finished = |outcome| counter(&names::CHUNKS_FINISHED, &[platform, ("outcome", outcome)]);
        Self {
            attempts: OUTCOMES.map(|outcome| counter(&names::ATTEMPTS, &[platform, ("outcome", outcome)])),
            seconds: OUTCOMES
                .map(|outcome| histogram(&names::PROVIDER_REQUEST_SECONDS, &[platform, ("outcome", outcome)])),
            expired: counter(&names::ATTEMPTS, &[platform, ("outcome", "expired")]),
            retries_throttled: retries("throttled"),
            retries_unavailable: retries("unavailable"),
            retries_lost: retries("connection_lost"),
            throttled: counter(&names::PROVIDER_THROTTLED, &[platform]),
            refused: counter(&names::CREDENTIALS_REJECTED, &[platform]),
            unregistered: invalidated("unregistered"),
            bad_tokens: invalidated("bad_token"),
            chunks: ["done", "deferred", "cancelled", "lost_claim", "panicked"].map(finished),
            breakers: gauge(&names::CIRCUIT_OPEN, &[platform]),
            streams: gauge(&names::PROVIDER_STREAMS, &[platform]),
            inflight: gauge(&names::INFLIGHT, &[("stage", "chunk")]),
            end_to_end: histogram(&names::E2E_LATENCY_SECONDS, &[platform, ("lane", lane.as_str())]),
            queue_wait: histogram(&names::QUEUE_WAIT_SECONDS, &[("queue", queue)]),
        }
    }

    /// One provider call and its answer.
    pub(crate) fn attempt(&self, verdict: &Verdict, took: Duration) {
        let index = index(verdict);
        self.attempts[index].inc();
        self.seconds[index].observe(took);
        match verdict {
            Verdict::Throttled { .. } => self.throttled.inc(),
            Verdict::Misconfigured { .. } => self.refused.inc(),
            Verdict::Rejected { token: TokenFate::Retire { .. }, .. } => self.unregistered.inc(),
            Verdict::Rejected { token: TokenFate::RetireUnlessMany, .. } => self.bad_tokens.inc(),
            _ => {}
        }
    }

    /// Counts messages that will be tried again because of this verdict.
    pub(crate) fn again(&self, verdict: &Verdict) -> &Counter {
        match verdict {
            Verdict::Throttled { .. } => &self.retries_throttled,
            Verdict::Unknown => &self.retries_lost,
            _ => &self.retries_unavailable,
        }
    }

    /// One message whose time was over.
    pub(crate) fn expired(&self) {
        self.expired.inc();
    }

    /// One chunk that is let go.
    pub(crate) fn let_go(&self, how: LetGo) {
        self.chunks[how as usize].inc();
    }
}

/// The word for a verdict, on metrics and spans.
pub(crate) fn outcome(verdict: &Verdict) -> &'static str {
    OUTCOMES[index(verdict)]
}

fn index(verdict: &Verdict) -> usize {
    match verdict {
        Verdict::Sent { .. } => 0,
        Verdict::Rejected { token: TokenFate::Keep, .. } => 1,
        Verdict::Rejected { .. } => 2,
        Verdict::Throttled { .. } => 3,
        Verdict::Unavailable { .. } | Verdict::Failing { .. } => 4,
        Verdict::Misconfigured { .. } => 5,
        Verdict::Unknown => 6,
    }
}
