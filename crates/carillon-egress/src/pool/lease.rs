//! What a request holds: a stream, or a place in the queue for one.

use super::Inner;
use super::connection::Connection;
use crate::error::{NotSent, RequestError};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A stream on a connection, given back when dropped.
pub(super) struct Lease<'a> {
    pub(super) connection: Arc<Connection>,
    pub(super) inner: &'a Inner,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.connection.state.give_stream_back();
        self.inner.freed.notify_one();
    }
}

/// A request in the queue for a stream.
pub(super) struct Waiting<'a>(&'a Inner);

impl<'a> Waiting<'a> {
    pub(super) fn enter(inner: &'a Inner) -> Result<Self, RequestError> {
        let place = Waiting(inner);
        let before = inner.waiting.fetch_add(1, Ordering::SeqCst);
        if before < inner.config.max_waiting { Ok(place) } else { Err(RequestError::NotSent(NotSent::TooManyWaiting)) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}
