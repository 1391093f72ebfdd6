//! What can go wrong on the way out, by what it means for repeating the request.

use crate::guard::GuardError;
use carillon_failpoint::{Failed, Side};
use http::StatusCode;
use std::io;
use std::sync::Arc;

/// Why a request has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RequestError {
    /// No connection could be opened: the request was surely not sent.
    #[error("no connection: {0}")]
    Connect(#[source] ConnectError),
    /// Surely not taken by the peer: it may be sent again.
    #[error("not sent: {0}")]
    NotSent(#[source] NotSent),
    /// Sent, and unanswered: the peer may have acted on it. Sending it again can duplicate its effect.
    #[error("unknown whether it was taken: {0}")]
    Unknown(#[source] Unknown),
    /// The answer's body is longer than the cap. The peer has acted on the request; `status` is its verdict.
    #[error("the answer ({status}) is longer than {cap} bytes")]
    TooLarge {
        /// The status of the answer.
        status: StatusCode,
        /// The cap, in bytes.
        cap: usize,
    },
}

impl RequestError {
    /// True when the peer surely did not act on the request.
    pub fn is_surely_unsent(&self) -> bool {
        matches!(self, RequestError::Connect(_) | RequestError::NotSent(_))
    }
}

impl From<Failed> for RequestError {
    fn from(failed: Failed) -> Self {
        match failed.side {
            Side::Before => RequestError::NotSent(NotSent::Refused),
            Side::After => RequestError::Unknown(Unknown::ConnectionLost),
        }
    }
}

/// Why a request was surely not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// No stream became free before the deadline.
    #[error("no stream became free before the deadline")]
    NoStream,
    /// As many requests wait for a stream as are allowed to.
    #[error("too many requests wait for a stream")]
    TooManyWaiting,
    /// The peer refused it unprocessed (RFC 9113, section 8.7), each time it was sent.
    #[error("the peer refused it unprocessed, repeatedly")]
    Refused,
    /// The pool is closed or closing.
    #[error("the pool is closed")]
    Closed,
    /// The request cannot be put on the wire: no retry will help.
    #[error("the request cannot be put on the wire")]
    Invalid,
}

/// Why it is unknown whether a request was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// No complete answer before the deadline.
    #[error("no answer before the deadline")]
    Timeout,
    /// The peer reset the stream for another reason than refusing it, or broke the protocol on it.
    #[error("the stream was reset")]
    Reset,
    /// The connection was lost first.
    #[error("the connection was lost")]
    ConnectionLost,
}

/// The step of connecting that did not finish in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Name resolution.
    Dns,
    /// TCP.
    Tcp,
    /// The TLS handshake.
    Tls,
    /// The peer's first SETTINGS frame.
    Http2,
}

/// Why no connection could be opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// The name does not resolve.
    #[error("name resolution failed")]
    Dns(#[source] Arc<io::Error>),
    /// None of the addresses accepts a connection.
    #[error("TCP connect failed")]
    Tcp(#[source] Arc<io::Error>),
    /// The handshake failed: an unknown authority, another host's certificate, no common version.
    #[error("TLS handshake failed")]
    Tls(#[source] Arc<io::Error>),
    /// The peer does not speak HTTP/2 here: ALPN did not choose `h2`.
    #[error("the peer does not offer HTTP/2")]
    NoHttp2,
    /// The HTTP/2 connection ended before, or right after, it could be used.
    #[error("the HTTP/2 connection ended at once")]
    Http2(#[source] Option<Arc<h2::Error>>),
    /// The connect deadline passed.
    #[error("connecting took too long ({0:?})")]
    Timeout(Stage),
    /// The guard refused the URL or one of the addresses it resolves to.
    #[error("refused by the guard: {0}")]
    Guard(#[source] GuardError),
}
