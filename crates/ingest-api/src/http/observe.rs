//! What is seen of a request: one span, one duration. Route patterns only, never paths, which carry ids of persons.

use std::collections::HashMap;
use std::time::Duration;

use carillon_telemetry::metrics::{Counter, Histogram, counter, histogram};
use carillon_telemetry::names::{HTTP_SERVER_SECONDS, SHED};
use http::{HeaderMap, Method, StatusCode};
use tracing::Span;
use tracing::field::Empty;

use super::request_id::RequestId;
use super::routes;

/// The route of what no route matched.
pub(super) const UNMATCHED: &str = "unmatched";
/// Methods are labels, so that callers cannot invent series.
const METHODS: [&str; 7] = ["GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "HEAD"];
const OTHER_METHOD: &str = "other";
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Durations by method, route and class of status; all series bound once.
#[derive(Debug)]
pub(super) struct Durations {
    series: HashMap<(&'static str, &'static str), [Histogram; 5]>,
    shed: Counter,
}

impl Durations {
    pub(super) fn new() -> Self {
        let bind = |method: &'static str, route: &'static str| {
            CLASSES.map(|status| {
                histogram(&HTTP_SERVER_SECONDS, &[("method", method), ("route", route), ("status", status)])
            })
        };
        let mut series = HashMap::new();
        for route in routes::ROUTES {
            series.insert((method_label(&route.method), route.path), bind(method_label(&route.method), route.path));
        }
        for method in METHODS.into_iter().chain([OTHER_METHOD]) {
            series.insert((method, UNMATCHED), bind(method, UNMATCHED));
        }
        Self { series, shed: counter(&SHED, &[("reason", "queue_full")]) }
    }

    /// A request that was turned away because too many are in work.
    pub(super) fn turned_away(&self) {
        self.shed.inc();
    }

    /// Closes the books of a request.
    pub(super) fn done(&self, span: &Span, method: &Method, route: &str, status: StatusCode, took: Duration) {
        span.record("http.response.status_code", status.as_u16());
        let known = self.series.get(&(method_label(method), route));
        // A method that the path does not have is counted with what matched nothing.
        let series = known.or_else(|| self.series.get(&(method_label(method), UNMATCHED)));
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        if let Some(series) = series {
            series[class].observe(took);
        }
        span.in_scope(|| tracing::debug!(took_ms = took.as_millis(), "answered"));
    }
}

fn method_label(method: &Method) -> &'static str {
    METHODS.into_iter().find(|known| *known == method.as_str()).unwrap_or(OTHER_METHOD)
}

/// The span of a request, a child of the caller's if it sent `traceparent`.
pub(super) fn span(method: &Method, route: &str, id: &RequestId, headers: &HeaderMap) -> Span {
    let span = tracing::info_span!(
        "http.request",
        otel.kind = "server",
        http.request.method = method_label(method),
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
