//! What is more than the operator allows is refused outside the frame: no span, no route, no body, as little work as an answer can be.

use axum::extract::Request;
use axum::response::Response;

use super::leftover::spurn;
use super::problem::Problem;
use super::request_id::RequestId;
use crate::refusal::Refusal;

/// Bytes of a body that are thrown away, so that the connection can be used again: to begin a new one costs more. Who sends more meets its end.
const SPURNED: u64 = 64 * 1024;

pub(super) async fn refuse(refusal: Refusal, request: Request) -> Response {
    let id = RequestId::of(request.headers());
    let mut response = Problem::from(refusal).render(&id.0);
    id.mark(response.headers_mut());
    spurn(request, SPURNED, &mut response).await;
    response
}
