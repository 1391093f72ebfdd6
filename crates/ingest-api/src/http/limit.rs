//! What is more than the operator allows is refused outside the frame: no span, no route, as little work as an answer can be.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderValue, header};

use super::problem::Problem;
use super::request_id::{RequestId, X_REQUEST_ID};
use crate::rate::Rate;

pub(super) async fn limit(State(rate): State<Arc<Rate>>, request: Request, next: Next) -> Response {
    let Err(refusal) = rate.admit(Instant::now()) else { return next.run(request).await };
    let id = RequestId::of(request.headers());
    let mut response = Problem::from(refusal).render(&id.0);
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id.0) {
        headers.insert(X_REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
