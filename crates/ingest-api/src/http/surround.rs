//! All that surrounds a handler, in one layer. Each layer of a router costs a box, a clone of what it surrounds and a move of the request: six of them
//! were as much work as the handler.

use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::authorize::authorize;
use super::cors::WebPage;
use super::frame::{Frame, frame};
use super::{leftover, limit};
use crate::config::Http;
use crate::ingest::Shared;

/// What it needs to know.
#[derive(Clone)]
pub(super) struct Surroundings {
    ingest: Shared,
    frame: Frame,
}

impl Surroundings {
    pub(super) fn new(config: &Http, ingest: Shared) -> Self {
        Self { ingest, frame: Frame::new(config) }
    }
}

/// A page must be able to read that it is to come back, and a preflight costs no more than its refusal would: so CORS is around the limit.
pub(super) async fn surround(State(around): State<Surroundings>, request: Request, next: Next) -> Response {
    let Some(page) = WebPage::of(&request) else { return limited(around, request, next).await };
    if page.asks_first() {
        return page.may_call();
    }
    let mut response = limited(around, request, next).await;
    page.may_read(&mut response);
    response
}

async fn limited(around: Surroundings, request: Request, next: Next) -> Response {
    let Surroundings { ingest, frame: bounds } = around;
    if let Err(refusal) = ingest.rate.admit(Instant::now()) {
        return limit::refuse(refusal, request).await;
    }
    let (request, left) = leftover::watch(request);
    let mut response =
        frame(bounds, request, async |mut request: Request| match authorize(&ingest, &mut request).await {
            Ok(()) => next.run(request).await,
            Err(problem) => problem.into_response(),
        })
        .await;
    if let Some(left) = left {
        left.clear(&mut response).await;
    }
    response
}
