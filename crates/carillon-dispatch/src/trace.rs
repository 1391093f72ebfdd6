//! The trace of a chunk's notification. A transactional message may hold chunks of many callers, each with its own trace; bulk
//! chunks have none beyond their message's.

use carillon_domain::ids::ChunkId;
use carillon_domain::platform::Platform;
use carillon_telemetry::RemoteContext;
use carillon_telemetry::names::field;
use tracing::field::Empty;
use tracing::instrument::Instrumented;
use tracing::{Instrument as _, Span};

use crate::chunk::Chunk;
use crate::line::Open;
use crate::metrics::outcome;
use crate::provider::Verdict;

/// Where a chunk's work is seen: nowhere, unless the notification's trace is recorded.
pub(crate) struct Trace {
    /// The chunk's own span; none if the message's goes on with the same trace.
    own: Span,
    /// Either of them; none if nothing is recorded here.
    span: Span,
    traceparent: String,
}

impl Trace {
    /// Goes on from a chunk's `traceparent`. To be called inside the message's span.
    pub(crate) fn of(traceparent: &str, chunk: ChunkId) -> Self {
        let theirs = RemoteContext::from_traceparent(traceparent);
        if !theirs.is_sampled() {
            return Self { own: Span::none(), span: Span::none(), traceparent: String::new() };
        }
        let message = Span::current();
        let here = RemoteContext::of(&message);
        if !here.is_present() {
            // Where this process exports no traces, others go on with theirs all the same.
            return Self { own: Span::none(), span: Span::none(), traceparent: traceparent.to_owned() };
        }
        if theirs.is_with(&here) {
            return Self { own: Span::none(), span: message, traceparent: here.traceparent() };
        }
        let own = tracing::info_span!(
            parent: None,
            "process chunk",
            otel.kind = "consumer",
            { field::RUN_ID } = %chunk.run.0,
            { field::CHUNK_ID } = chunk.number,
        );
        theirs.continue_in(&own);
        let traceparent = RemoteContext::of(&own).traceparent();
        Self { span: own.clone(), own, traceparent }
    }

    /// What the chunk's work is to be done in.
    pub(crate) fn span(&self) -> Span {
        self.own.clone()
    }

    /// Where the trace goes on; empty if it is not recorded.
    pub(crate) fn traceparent(&self) -> &str {
        &self.traceparent
    }

    /// The span of one provider call (OpenTelemetry, HTTP client). Without path and URL, which hold device tokens.
    pub(crate) fn call(&self, platform: Platform, chunk: &Chunk, open: Open<'_>) -> CallSpan {
        if self.span.is_none() {
            return CallSpan::none();
        }
        CallSpan(tracing::info_span!(
            parent: &self.span,
            "POST",
            otel.kind = "client",
            otel.status_code = Empty,
            { field::HTTP_REQUEST_METHOD } = "POST",
            { field::HTTP_RESPONSE_STATUS } = Empty,
            { field::SERVER_ADDRESS } = Empty,
            { field::SERVER_PORT } = Empty,
            { field::ERROR_TYPE } = Empty,
            { field::PLATFORM } = platform.as_str(),
            { field::TENANT_ID } = %chunk.facts.tenant,
            { field::APP_ID } = %chunk.facts.app,
            { field::NOTIFICATION_ID } = %chunk.facts.notification.0,
            { field::RUN_ID } = %chunk.id.run.0,
            { field::CHUNK_ID } = chunk.id.number,
            { field::ATTEMPT } = u64::from(open.attempts) + 1,
            { field::OUTCOME } = Empty,
            { field::PROVIDER_MESSAGE_ID } = Empty,
        ))
    }
}

/// The span of one provider call, for what only the provider's crate knows of it. Nothing where calls are not recorded.
#[derive(Clone, Debug)]
pub struct CallSpan(Span);

impl CallSpan {
    /// Of a call that is not recorded.
    pub fn none() -> Self {
        Self(Span::none())
    }

    /// Which server is asked. A call that takes several requests is known by the last.
    pub fn asks(&self, host: &str, port: u16) {
        if !self.0.is_none() {
            self.0.record(field::SERVER_ADDRESS, host).record(field::SERVER_PORT, port);
        }
    }

    /// The status code of the server's answer.
    pub fn answered(&self, status: u16) {
        if !self.0.is_none() {
            self.0.record(field::HTTP_RESPONSE_STATUS, status);
        }
    }

    /// The call's own work.
    pub(crate) fn around<F>(&self, call: F) -> Instrumented<F> {
        call.instrument(self.0.clone())
    }

    /// What became of the call.
    pub(crate) fn close(self, verdict: &Verdict) {
        if self.0.is_none() {
            return;
        }
        let outcome = outcome(verdict);
        self.0.record(field::OUTCOME, outcome);
        match verdict {
            Verdict::Sent { provider_id } => self.0.record(field::PROVIDER_MESSAGE_ID, provider_id.as_deref()),
            _ => self.0.record("otel.status_code", "ERROR").record(field::ERROR_TYPE, outcome),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_domain::ids::RunId;
    use uuid::Uuid;

    const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_recorded_trace_goes_on_where_nothing_is_exported_and_an_unrecorded_one_does_not() {
        let chunk = ChunkId { run: RunId(Uuid::from_u128(1)), number: 2 };
        let trace = Trace::of(TRACEPARENT, chunk);
        assert_eq!(trace.traceparent(), TRACEPARENT);
        assert!(trace.span().is_none());
        for none in ["", &TRACEPARENT.replace("-01", "-00"), "00-x"] {
            assert_eq!(Trace::of(none, chunk).traceparent(), "");
        }
    }
}
