//! One HTTP/2 connection as the requests see it.

use super::exchange::Unanswered;
use crate::error::{NotSent, RequestError};
use bytes::Bytes;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Names a connection of a pool; never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub(super) u64);

/// A connection that takes requests. HTTP/2 closes it by itself once nobody holds its `sender`: the pool lets go when
/// it retires the connection, each request when it is answered.
pub(super) struct Connection {
    pub(super) state: Arc<State>,
    sender: SendRequest<Bytes>,
}

/// What the pool, the requests and the driver of one connection tell each other.
pub(super) struct State {
    pub(super) id: ConnectionId,
    pub(super) opened_at: Instant,
    /// Streams that requests hold. It only grows under the pool's lock, so it cannot overshoot `limit`.
    in_flight: AtomicUsize,
    /// The smaller of the peer's SETTINGS_MAX_CONCURRENT_STREAMS and our own bound.
    limit: AtomicUsize,
    answered: AtomicU64,
    retired: AtomicBool,
    suspect: AtomicBool,
    pub(super) retire_signal: Notify,
    pub(super) suspect_signal: Notify,
}

impl Connection {
    pub(super) fn new(id: u64, limit: usize, sender: SendRequest<Bytes>) -> Self {
        let state = State {
            id: ConnectionId(id),
            opened_at: Instant::now(),
            in_flight: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
            answered: AtomicU64::new(0),
            retired: AtomicBool::new(false),
            suspect: AtomicBool::new(false),
            retire_signal: Notify::new(),
            suspect_signal: Notify::new(),
        };
        Connection { state: Arc::new(state), sender }
    }

    /// Hands the request to HTTP/2. Nothing of it is on the wire when this fails.
    #[allow(
        clippy::disallowed_methods,
        reason = "the one call of this crate to a gateway, inside the point of `exchange`"
    )]
    pub(super) fn send(
        &self,
        head: http::Request<()>,
        body: Bytes,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Unanswered> {
        // A clone forgets the "previous stream is still queued" state, which would refuse concurrent senders; the
        // queue is bounded by the streams we count ourselves.
        let mut sender = self.sender.clone();
        let sent = sender.send_request(head, body.is_empty());
        let (response, mut stream) = sent.map_err(|_| self.why_not_sent(sender))?;
        if !body.is_empty() {
            // It fails only when the peer has ended the stream already, and then `response` says how.
            let _ended_early = stream.send_data(body, true);
        }
        Ok((response, stream))
    }

    /// A connection that went away or ran out of stream numbers is no longer ready; if it is, the request itself cannot
    /// be encoded (a `connection` header, for one: RFC 9113, section 8.2.2), and no other connection will take it.
    fn why_not_sent(&self, mut sender: SendRequest<Bytes>) -> Unanswered {
        match sender.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(_)) => Unanswered::Unprocessed { connection_over: true },
            Poll::Ready(Ok(())) | Poll::Pending => Unanswered::Failed(RequestError::NotSent(NotSent::Invalid)),
        }
    }
}

impl State {
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    pub(super) fn limit(&self) -> usize {
        self.limit.load(Ordering::SeqCst)
    }

    /// True when the limit was raised, so that more requests fit than before.
    pub(super) fn set_limit(&self, limit: usize) -> bool {
        self.limit.swap(limit, Ordering::SeqCst) < limit
    }

    /// Takes a stream. Only under the pool's lock.
    pub(super) fn take_stream(&self) {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn give_stream_back(&self) {
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
    }

    /// Counts an answer; true for the connection's first one.
    pub(super) fn count_answer(&self) -> bool {
        self.answered.fetch_add(1, Ordering::Relaxed) == 0
    }

    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::SeqCst)
    }

    /// Marks the connection as closing once its streams are done; true for the first caller.
    pub(super) fn retire(&self) -> bool {
        let first = !self.retired.swap(true, Ordering::SeqCst);
        self.retire_signal.notify_one();
        first
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::SeqCst)
    }

    /// A request timed out here that was sent when `answered` answers had come. If none came since, the path may be dead:
    /// the connection is left aside until a PING is answered, which is sent at once.
    pub(super) fn timed_out(&self, answered: u64) {
        if answered == self.answered() && !self.suspect.swap(true, Ordering::SeqCst) {
            self.suspect_signal.notify_one();
        }
    }

    /// A PING was answered; true if the connection was suspect.
    pub(super) fn trust_again(&self) -> bool {
        self.suspect.swap(false, Ordering::SeqCst)
    }
}
