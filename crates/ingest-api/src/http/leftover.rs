//! What of a request's body nobody has read.
//!
//! A request may be refused before its body is read. An HTTP/1.1 connection with an unread body cannot be used again, and
//! hyper closes it without a word: a caller who sends the next request on it gets no answer (RFC 9112, section 9.3). So a
//! small rest is read and thrown away, and with a large one the answer says that the connection ends.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use carillon_domain::limits;
use http::{HeaderMap, HeaderValue, Version, header};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};

/// Bytes that are read for nothing: as many as any call takes, since a caller who is still writing when the connection is
/// closed does not get to read the answer.
const MOST: u64 = limits::BATCH_BODY_BYTES as u64;
/// How long they may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// A body under watch: what of it was not read by the time of the answer.
pub(super) struct Leftover {
    waits: bool,
    slot: Slot,
}

/// Puts the body of a request under watch, if it has one that could be left over.
pub(super) fn watch(request: Request) -> (Request, Option<Leftover>) {
    if request.version() > Version::HTTP_11 || request.body().is_end_stream() {
        return (request, None);
    }
    let left = Leftover { waits: waits(request.headers()), slot: Slot::default() };
    let watched = |body| Body::new(Watched { body: Some(body), slot: left.slot.clone() });
    (request.map(watched), Some(left))
}

impl Leftover {
    /// Reads what is left, or has the answer say that the connection ends.
    pub(super) async fn clear(self, response: &mut Response) {
        let left = self.slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(body) = left
            && (self.waits || body.size_hint().lower() > MOST || !drained(body).await)
        {
            end(response);
        }
    }
}

/// Throws away the body of a request that is refused unseen, if it is announced and has at most `most` bytes; else the answer says that the connection
/// ends.
pub(super) async fn spurn(request: Request, most: u64, response: &mut Response) {
    if request.version() > Version::HTTP_11 || request.body().is_end_stream() {
        return;
    }
    let small = request.body().size_hint().upper().is_some_and(|bytes| bytes <= most);
    if !small || waits(request.headers()) || !drained(request.into_body()).await {
        end(response);
    }
}

/// Who waits for 100 (Continue) has not sent the body, and should not because of us.
fn waits(headers: &HeaderMap) -> bool {
    headers.contains_key(header::EXPECT)
}

fn end(response: &mut Response) {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
}

async fn drained(mut body: Body) -> bool {
    let reading = async {
        let mut read = 0;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return false };
            read += frame.data_ref().map_or(0, |data| data.len() as u64);
            if read > MOST {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap_or(false)
}

type Slot = Arc<Mutex<Option<Body>>>;

/// A body that comes back when it is dropped before its end.
struct Watched {
    body: Option<Body>,
    slot: Slot,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let left = self.body.take().filter(|body| !body.is_end_stream());
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = left;
    }
}
