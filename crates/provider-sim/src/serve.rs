//! HTTP/1.1 and HTTP/2 for the providers that are not APNs: reads a request to its end, then does with the answer what was
//! decided.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;

use crate::exchange::{Answer, Decision};
use crate::listener::{Handle, Link, Serve, Wire, Wish};
use crate::reply::{Fate, Provider};
use crate::state::State;

/// A larger body is not read to its end.
const MOST_BODY: usize = 1 << 20;
/// A body that takes longer is given up.
const BODY_DEADLINE: Duration = Duration::from_secs(60);

/// A provider that answers requests.
pub(crate) trait Application: Send + Sync + 'static {
    /// Whose conditions hold.
    const PROVIDER: Provider;

    fn state(&self) -> &Arc<State>;

    /// Judges a request that was read to its end, and writes it into the ledger.
    fn decide(&self, parts: &Parts, body: &Bytes) -> Decision;

    /// The answer to a body that is too large to be read.
    fn too_large(&self) -> Answer {
        Answer::refused(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", Bytes::new())
    }
}

/// Serves an application on every connection.
pub(crate) struct Http<A> {
    application: Arc<A>,
    max_streams: u32,
}

impl<A> Clone for Http<A> {
    fn clone(&self) -> Self {
        Self { application: Arc::clone(&self.application), max_streams: self.max_streams }
    }
}

impl<A> Http<A> {
    pub(crate) fn new(application: A, max_streams: u32) -> Self {
        Self { application: Arc::new(application), max_streams }
    }
}

impl<A: Application> Serve for Http<A> {
    async fn serve<W: Wire>(self, wire: W, mut link: Link) {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http2().max_concurrent_streams(self.max_streams);
        let handle = link.handle();
        let application = self.application;
        let service = service_fn(move |request| answer(Arc::clone(&application), handle.clone(), request));
        let mut connection = pin!(builder.serve_connection(TokioIo::new(wire), service));
        loop {
            tokio::select! {
                // What is wished comes before a request that came after the wish.
                biased;
                wish = link.wished() => match wish {
                    Wish::Carry => {}
                    Wish::GoAway => connection.as_mut().graceful_shutdown(),
                    Wish::Drop => return,
                },
                _ = connection.as_mut() => return,
            }
        }
    }
}

/// An answer that is not sent: the stream is reset.
#[derive(Debug, thiserror::Error)]
#[error("reset by script")]
struct Reset(#[source] h2::Error);

async fn answer<A: Application>(
    application: Arc<A>,
    handle: Handle,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Reset> {
    let (parts, body) = request.into_parts();
    let body = match tokio::time::timeout(BODY_DEADLINE, Limited::new(body, MOST_BODY).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Ok(response(application.too_large())),
        Ok(Err(_)) | Err(_) => return Err(Reset(h2::Reason::CANCEL.into())),
    };
    let decision = application.decide(&parts, &body);
    let disposition = decision.disposition;
    if !disposition.delay.is_zero() {
        tokio::time::sleep(disposition.delay).await;
    }
    if disposition.paused {
        application.state().weather(A::PROVIDER).released().await;
    }
    match disposition.fate {
        Fate::Answer => Ok(response(decision.answer)),
        Fate::Goaway => {
            handle.wish(Wish::GoAway);
            Ok(response(decision.answer))
        }
        Fate::Reset => Err(Reset(h2::Reason::INTERNAL_ERROR.into())),
        Fate::Drop => {
            handle.wish(Wish::Drop);
            never().await
        }
        Fate::Hang => never().await,
    }
}

/// Until the client gives up or the connection ends: the server then drops this future.
async fn never<T>() -> T {
    match std::future::pending::<Infallible>().await {}
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() = answer.status;
    for (name, value) in answer.headers {
        response.headers_mut().append(name, value);
    }
    response
}
