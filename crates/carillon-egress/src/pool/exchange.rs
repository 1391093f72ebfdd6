//! One request and its answer on one stream.

use super::connection::Connection;
use crate::error::{NotSent, RequestError, Unknown};
use crate::response::{Gathered, Response, announces_more_than};
use bytes::Bytes;
use carillon_failpoint::{Failed, Point};
use h2::Reason;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

/// A request to a pool's origin: everything but the body is borrowed, so that sending it again after a refusal costs
/// the caller nothing.
///
/// `headers` is cloned once per send: two allocations for the map and a reference count per value. `replace` overwrites
/// entries of the clone; a name that `headers` already holds (as a placeholder) is replaced in place, a new one may
/// grow the map. For the hot path build `headers` once per run, with placeholders for what differs per device.
#[derive(Clone)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path, as it goes on the wire; may hold a device token and is never logged.
    pub path: &'a PathAndQuery,
    /// Headers shared by many requests.
    pub headers: &'a HeaderMap,
    /// Headers of this request alone.
    pub replace: &'a [(HeaderName, HeaderValue)],
    /// The whole body.
    pub body: Bytes,
}

/// Why an exchange has no answer, and whether the request may go out again.
pub(super) enum Unanswered {
    /// The peer surely did not process it: the stream was refused, or lies above a GOAWAY's last stream.
    Unprocessed {
        /// The connection takes no further streams.
        connection_over: bool,
    },
    Failed(RequestError),
}

impl<'a> Request<'a> {
    /// A POST without headers of its own.
    pub fn post(path: &'a PathAndQuery, headers: &'a HeaderMap, body: Bytes) -> Self {
        Request { method: &Method::POST, path, headers, replace: &[], body }
    }

    pub(super) fn head(&self, scheme: &Scheme, authority: &Authority) -> Result<http::Request<()>, RequestError> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(scheme.clone());
        parts.authority = Some(authority.clone());
        parts.path_and_query = Some(self.path.clone());
        let uri = Uri::from_parts(parts).map_err(|_| RequestError::NotSent(NotSent::Invalid))?;
        let mut head = http::Request::new(());
        *head.method_mut() = self.method.clone();
        *head.uri_mut() = uri;
        *head.version_mut() = http::Version::HTTP_2;
        *head.headers_mut() = self.headers.clone();
        for (name, value) in self.replace {
            head.headers_mut().insert(name.clone(), value.clone());
        }
        Ok(head)
    }
}

/// Sends and waits for the whole answer: the only way to a provider's gateway. The caller sets the deadline: dropping this
/// cancels the stream.
pub(super) async fn exchange(
    connection: &Connection,
    head: http::Request<()>,
    body: Bytes,
    cap: usize,
) -> Result<Response, Unanswered> {
    Point::ProviderCall.around(ask(connection, head, body, cap)).await
}

async fn ask(
    connection: &Connection,
    head: http::Request<()>,
    body: Bytes,
    cap: usize,
) -> Result<Response, Unanswered> {
    // `_stream` stays: dropping it before the body is written would cut the request short.
    let (response, _stream) = connection.send(head, body)?;
    let (parts, mut incoming) = response.await.map_err(Unanswered::after_sending)?.into_parts();
    let too_large = || Unanswered::Failed(RequestError::TooLarge { status: parts.status, cap });
    if announces_more_than(&parts.headers, cap) {
        return Err(too_large());
    }
    let mut gathered = Gathered::new(cap);
    // An answer without a body ends with its headers: one lock less.
    if !incoming.is_end_stream() {
        while let Some(piece) = incoming.data().await {
            let piece = piece.map_err(|e| Unanswered::Failed(RequestError::Unknown(how_lost(&e))))?;
            let len = piece.len();
            gathered.push(piece).map_err(|_| too_large())?;
            // Fails only when the stream has ended, and then there is no window to give back.
            let _ended = incoming.flow_control().release_capacity(len);
        }
    }
    let body = gathered.finish();
    Ok(Response { status: parts.status, headers: parts.headers, body, connection: Some(connection.state.id) })
}

impl Unanswered {
    /// RFC 9113, section 8.7: a request is surely unprocessed if its stream was refused, or is above the last stream
    /// that a GOAWAY names. h2 reports a remote GOAWAY to no other streams; those below it go on.
    fn after_sending(error: h2::Error) -> Self {
        if error.is_remote() && error.is_go_away() {
            return Unanswered::Unprocessed { connection_over: true };
        }
        if error.is_remote() && error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM) {
            return Unanswered::Unprocessed { connection_over: false };
        }
        Unanswered::Failed(RequestError::Unknown(how_lost(&error)))
    }
}

impl From<Failed> for Unanswered {
    fn from(failed: Failed) -> Self {
        Unanswered::Failed(failed.into())
    }
}

fn how_lost(error: &h2::Error) -> Unknown {
    if error.is_reset() { Unknown::Reset } else { Unknown::ConnectionLost }
}
