//! Calls from web pages (the Fetch standard's CORS protocol), for the routes that copies of an app may call.
//!
//! Keys travel in `Authorization`, never in cookies, so a page gains nothing from another page's visitor; which origins an
//! app is served from (`allowed_origins`) is judged with the key, in `authorize.rs`.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, Method, StatusCode, header};

use super::request_id::RequestId;
use super::routes;

const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, carillon-identity, idempotency-key, traceparent, x-request-id",
);
const ANSWER_HEADERS: HeaderValue =
    HeaderValue::from_static("x-request-id, retry-after, carillon-ignored-fields, idempotent-replayed");
/// Seconds for which a browser may remember the answer; browsers cut it to their own bound.
const REMEMBER: HeaderValue = HeaderValue::from_static("7200");

pub(super) async fn cors(request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned()).unwrap_or_default();
    let methods: Vec<&str> =
        routes::of_path(&path).filter(|r| r.access.is_for_apps()).map(|r| r.method.as_str()).collect();
    let origin = request.headers().get(header::ORIGIN).cloned();
    let Some(origin) = origin.filter(|_| !methods.is_empty()) else { return next.run(request).await };
    let preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let id = RequestId::of(request.headers());
    let mut response = if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    if preflight {
        id.mark(headers);
        if let Ok(methods) = HeaderValue::from_str(&methods.join(", ")) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        }
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, REMEMBER);
    } else {
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, ANSWER_HEADERS);
    }
    response
}
