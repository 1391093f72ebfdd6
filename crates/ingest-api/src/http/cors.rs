//! Calls from web pages (the Fetch standard's CORS protocol), for the routes that copies of an app may call.
//!
//! Keys travel in `Authorization`, never in cookies, so a page gains nothing from another page's visitor; which origins an
//! app is served from (`allowed_origins`) is judged with the key, in `authorize.rs`.

use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::request_id::RequestId;
use super::routes;

const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, carillon-identity, idempotency-key, traceparent, x-request-id",
);
const ANSWER_HEADERS: HeaderValue =
    HeaderValue::from_static("x-request-id, retry-after, carillon-ignored-fields, idempotent-replayed");
/// Seconds for which a browser may remember the answer; browsers cut it to their own bound.
const REMEMBER: HeaderValue = HeaderValue::from_static("7200");

/// A web page that calls, and what it may call where it does.
pub(super) struct WebPage {
    origin: HeaderValue,
    methods: String,
    /// The id of a preflight, which is answered without a frame.
    asks_first: Option<RequestId>,
}

impl WebPage {
    /// The page that a request comes from; nothing where pages have nothing to call.
    pub(super) fn of(request: &Request) -> Option<Self> {
        let origin = request.headers().get(header::ORIGIN)?.clone();
        let path = request.extensions().get::<MatchedPath>()?;
        let routes = routes::of_path(path.as_str()).filter(|route| route.access.is_for_apps());
        let methods: Vec<&str> = routes.map(|route| route.method.as_str()).collect();
        let asks_first = request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let asks_first = asks_first.then(|| RequestId::of(request.headers()));
        (!methods.is_empty()).then(|| Self { origin, methods: methods.join(", "), asks_first })
    }

    /// Whether the browser asks by itself, before the page's call.
    pub(super) fn asks_first(&self) -> bool {
        self.asks_first.is_some()
    }

    /// The answer to a browser that asks first.
    pub(super) fn may_call(self) -> Response {
        let mut response = StatusCode::NO_CONTENT.into_response();
        let headers = response.headers_mut();
        if let Some(id) = self.asks_first {
            id.mark(headers);
        }
        if let Ok(methods) = HeaderValue::from_str(&self.methods) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        }
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, REMEMBER);
        allow(self.origin, headers);
        response
    }

    /// Lets the page read the answer to its call.
    pub(super) fn may_read(self, response: &mut Response) {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, ANSWER_HEADERS);
        allow(self.origin, headers);
    }
}

fn allow(origin: HeaderValue, headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
}
