//! Carries a trace from process to process: W3C Trace Context in message headers and database columns.
//!
//! A transactional notification is one trace, from its acceptance to the commit of its statuses. A bulk notification's goes
//! up to its run; each message of its chunks is a trace of its own, linked to the notification's, because a trace of a
//! million spans can be neither stored nor read.
//!
//! Things of several traces may travel in one message: its header names one of them, and each thing carries its own, as
//! text, if it is recorded.

use std::collections::HashMap;

use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Name of the header and of the column: the position in a trace.
const TRACEPARENT: &str = "traceparent";
/// Name of the header for what other tracing systems add.
const TRACESTATE: &str = "tracestate";

/// The current span's position in its trace as header name and value: `traceparent`, and `tracestate` if it has one.
/// Empty while traces are not exported.
pub fn inject() -> Vec<(String, String)> {
    RemoteContext::current().headers()
}

/// The position in a trace that arrived with a message. Names are compared without case; whatever is malformed or absent
/// makes an empty position, never an error: a trace is not worth a message.
pub fn extract(headers: &[(String, String)]) -> RemoteContext {
    let found = headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
    let carrier: HashMap<String, String> =
        found.filter(|(name, _)| name == TRACEPARENT || name == TRACESTATE).collect();
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    RemoteContext(context.span().span_context().clone())
}

/// A position in a trace that began elsewhere, or that goes on elsewhere; may be empty.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteContext(SpanContext);

impl RemoteContext {
    /// No position.
    pub fn none() -> Self {
        Self(SpanContext::empty_context())
    }

    /// The position of a span; none while traces are not exported. The span's parent and links are settled by this.
    pub fn of(span: &Span) -> Self {
        Self(span.context().span().span_context().clone())
    }

    /// The current span's position.
    pub fn current() -> Self {
        Self::of(&Span::current())
    }

    /// Reads the text form of [`RemoteContext::traceparent`], as it travels beside one of several things in a message.
    pub fn from_traceparent(text: &str) -> Self {
        if text.is_empty() { Self::none() } else { extract(&[(TRACEPARENT.to_owned(), text.to_owned())]) }
    }

    /// The text form, 55 characters, of a position in a trace that is recorded; else empty.
    pub fn traceparent(&self) -> String {
        if !self.is_sampled() {
            return String::new();
        }
        let headers = self.headers();
        headers.into_iter().find(|(name, _)| name == TRACEPARENT).map(|(_, value)| value).unwrap_or_default()
    }

    /// As message headers, recorded or not, so that who goes on decides likewise; see [`inject`].
    pub fn headers(&self) -> Vec<(String, String)> {
        if self.is_present() {
            headers_of(&Context::new().with_remote_span_context(self.0.clone()))
        } else {
            Vec::new()
        }
    }

    /// True if there is a position.
    pub fn is_present(&self) -> bool {
        self.0.is_valid()
    }

    /// True if there is a position, in a trace that is recorded.
    pub fn is_sampled(&self) -> bool {
        self.0.is_valid() && self.0.is_sampled()
    }

    /// True if both are positions in one trace.
    pub fn is_with(&self, other: &Self) -> bool {
        self.is_present() && self.0.trace_id() == other.0.trace_id()
    }

    /// True if both are the same position.
    pub fn is_at(&self, other: &Self) -> bool {
        self.is_with(other) && self.0.span_id() == other.0.span_id()
    }

    /// Makes `span` a child of this position: for the one message that continues the work (ingest to segmenter). To be
    /// called before the span is entered for the first time; later it is too late and nothing happens.
    pub fn continue_in(&self, span: &Span) {
        if self.is_present() {
            // Refused while traces are not exported, or when the span was entered already: neither harms the work.
            let _ = span.set_parent(Context::new().with_remote_span_context(self.0.clone()));
        }
    }

    /// Links `span` to this position: for one of many (a chunk), for a repetition, for what happens much later (a
    /// cascade). The span should be a root (`parent: None`) and not have been entered: it is then recorded exactly if
    /// the linked trace is.
    pub fn link_to(&self, span: &Span) {
        span.add_link(self.0.clone());
    }
}

fn headers_of(context: &Context) -> Vec<(String, String)> {
    let mut carrier: HashMap<String, String> = HashMap::new();
    TraceContextPropagator::new().inject_context(context, &mut carrier);
    let mut headers: Vec<_> = carrier.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    headers.sort();
    headers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACEPARENT_TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn a_position_survives_its_text_form() {
        let remote = RemoteContext::from_traceparent(TRACEPARENT_TEXT);
        assert!(remote.is_present());
        assert_eq!(remote.traceparent(), TRACEPARENT_TEXT);
    }

    #[test]
    fn what_is_not_recorded_has_no_text_form_but_tells_others_by_its_headers() {
        let text = TRACEPARENT_TEXT.replace("-01", "-00");
        let remote = RemoteContext::from_traceparent(&text);
        assert!(remote.is_present() && !remote.is_sampled());
        assert_eq!(remote.traceparent(), "");
        assert_eq!(remote.headers(), [pair("traceparent", &text)]);
    }

    #[test]
    fn positions_of_one_trace_are_known_by_its_id() {
        let one = RemoteContext::from_traceparent(TRACEPARENT_TEXT);
        let same = RemoteContext::from_traceparent(&TRACEPARENT_TEXT.replace("00f067", "11f067"));
        let other = RemoteContext::from_traceparent(&TRACEPARENT_TEXT.replace("4bf9", "5bf9"));
        assert!(one.is_with(&same) && !one.is_with(&other));
        assert!(one.is_at(&one) && !one.is_at(&same));
        assert!(!RemoteContext::none().is_with(&RemoteContext::none()));
    }

    #[test]
    fn header_names_are_read_without_case_and_tracestate_comes_along() {
        let remote = extract(&[pair("Traceparent", TRACEPARENT_TEXT), pair("TRACESTATE", "vendor=1"), pair("x", "y")]);
        let headers = headers_of(&Context::new().with_remote_span_context(remote.0));
        assert_eq!(headers, [pair("traceparent", TRACEPARENT_TEXT), pair("tracestate", "vendor=1")]);
    }

    #[test]
    fn without_export_nothing_is_carried() {
        assert_eq!(inject(), []);
        assert_eq!(RemoteContext::current(), RemoteContext::none());
        assert_eq!((RemoteContext::none().traceparent(), RemoteContext::none().headers()), (String::new(), Vec::new()));
    }

    proptest! {
        #[test]
        fn malformed_headers_make_no_position(text in "\\PC{0,60}", state in "\\PC{0,60}") {
            let remote = extract(&[pair("traceparent", &text), pair("tracestate", &state)]);
            prop_assert!(!remote.is_present());
        }
    }
}
