//! What came back, whole and bounded.

use crate::pool::ConnectionId;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use std::fmt;

/// A complete answer. The body is at most the configured cap.
///
/// `Debug` shows the status and the body's length only: bodies and headers may carry tokens.
pub struct Response {
    /// The status code.
    pub status: StatusCode,
    /// The response headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// Which connection of the pool carried the exchange, for [`crate::Http2Pool::replace`]; `None` from
    /// [`crate::HttpClient`].
    pub connection: Option<ConnectionId>,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("body_len", &self.body.len())
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}

/// Gathers a body up to a cap; a body that arrives in one piece is not copied.
pub(crate) struct Gathered {
    cap: usize,
    first: Bytes,
    rest: BytesMut,
}

/// The body is longer than the cap.
pub(crate) struct OverCap;

impl Gathered {
    pub(crate) fn new(cap: usize) -> Self {
        Gathered { cap, first: Bytes::new(), rest: BytesMut::new() }
    }

    pub(crate) fn push(&mut self, piece: Bytes) -> Result<(), OverCap> {
        if self.len() + piece.len() > self.cap {
            return Err(OverCap);
        }
        if self.len() == 0 {
            self.first = piece;
            return Ok(());
        }
        if self.rest.is_empty() {
            self.rest.extend_from_slice(&self.first);
        }
        self.rest.extend_from_slice(&piece);
        Ok(())
    }

    fn len(&self) -> usize {
        self.first.len().max(self.rest.len())
    }

    pub(crate) fn finish(self) -> Bytes {
        if self.rest.is_empty() { self.first } else { self.rest.freeze() }
    }
}

/// True when the peer announces a body longer than `cap`.
pub(crate) fn announces_more_than(headers: &HeaderMap, cap: usize) -> bool {
    let announced = headers.get(http::header::CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    announced.and_then(|v| v.parse::<u64>().ok()).is_some_and(|n| n > cap as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_join_in_order_until_the_cap(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..10), cap in 0usize..200) {
            let whole: Vec<u8> = pieces.concat();
            let mut body = Gathered::new(cap);
            let taken = pieces.iter().all(|piece| body.push(Bytes::copy_from_slice(piece)).is_ok());
            prop_assert_eq!(taken, whole.len() <= cap);
            if taken { prop_assert_eq!(body.finish(), whole); }
        }
    }
}
