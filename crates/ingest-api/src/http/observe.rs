//! What is seen of a request: one span, one count, one duration. Route patterns only, never paths.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use tracing::Span;
use tracing::field::Empty;

use super::request_id::RequestId;

pub(super) struct Seen<'a> {
    pub(super) method: &'a Method,
    pub(super) route: &'a str,
    pub(super) status: StatusCode,
    pub(super) took: Duration,
}

/// The span of a request, a child of the caller's if it sent `traceparent`.
pub(super) fn span(method: &Method, route: &str, id: &RequestId, headers: &HeaderMap) -> Span {
    let span = tracing::info_span!(
        "http.request",
        http.request.method = %method,
        http.route = route,
        request.id = id.0,
        caller.kind = Empty,
        http.response.status_code = Empty,
    );
    let trace = ["traceparent", "tracestate"].into_iter().filter_map(|name| {
        let value = headers.get(name)?.to_str().ok()?;
        Some((name.to_owned(), value.to_owned()))
    });
    carillon_telemetry::extract(&trace.collect::<Vec<_>>()).continue_in(&span);
    span
}

/// Closes the books of a request.
pub(super) fn done(span: &Span, seen: &Seen<'_>) {
    span.record("http.response.status_code", seen.status.as_u16());
    let _entered = span.enter();
    tracing::debug!(method = %seen.method, route = seen.route, took_ms = seen.took.as_millis(), "answered");
}
