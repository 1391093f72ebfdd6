//! What yup-oauth2's hyper client is connected to: an in-memory pipe, at the far end of which the request goes out through
//! [`carillon_egress`]. So the extra authorities, the deadlines, the bounds on answers and the refusal to follow redirects
//! are those of every other way out.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use carillon_egress::{HttpClient, NotSent, RequestError, Response};
use carillon_runtime::Scope;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use crate::assertion::Signer;

/// Bytes in the pipe at once.
const PIPE: usize = 16 * 1024;
/// Bytes of a token request; ours have about 1 KB.
const MOST_REQUEST: usize = 16 * 1024;

/// What the token endpoint said beside its body.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// It answered.
    Answered { status: StatusCode, retry_after: Option<Duration> },
    /// There is no answer.
    Nothing,
}

/// Makes the pipes. Every request goes to the one address that was judged, whatever it asks for.
#[derive(Clone)]
pub(crate) struct Tunnel(Arc<Inner>);

struct Inner {
    http: Arc<HttpClient>,
    to: Uri,
    signer: Signer,
    scope: Scope,
    said: Mutex<Option<Said>>,
}

impl Tunnel {
    pub(crate) fn new(http: Arc<HttpClient>, to: Uri, signer: Signer, scope: Scope) -> Self {
        Self(Arc::new(Inner { http, to, signer, scope, said: Mutex::new(None) }))
    }

    /// What was said since this was asked last.
    pub(crate) fn said(&self) -> Option<Said> {
        self.0.said.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn serve(self, far: DuplexStream) {
        let service = service_fn(move |request: http::Request<Incoming>| {
            let tunnel = self.clone();
            async move { Ok::<_, Infallible>(tunnel.forward(request.into_body()).await) }
        });
        // It ends with the one request, or when the near end is dropped.
        let _ended = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(far), service).await;
    }

    async fn forward(&self, body: Incoming) -> http::Response<Full<Bytes>> {
        let answer = match Limited::new(body, MOST_REQUEST).collect().await {
            Ok(body) => self.post(body.to_bytes()).await.ok(),
            Err(_) => None,
        };
        let said = answer.as_ref().map_or(Said::Nothing, |answer| Said::Answered {
            status: answer.status,
            retry_after: seconds(answer.headers.get(RETRY_AFTER)),
        });
        *self.0.said.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
        let (status, body) = answer.map_or((StatusCode::BAD_GATEWAY, Bytes::new()), |a| (a.status, a.body));
        let mut response = http::Response::new(Full::new(body));
        *response.status_mut() = status;
        response
    }

    async fn post(&self, body: Bytes) -> Result<Response, RequestError> {
        let body = self.0.signer.without_padding(&body).ok_or(RequestError::NotSent(NotSent::Invalid))?;
        let mut request = http::Request::new(body);
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.0.to.clone();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        self.0.http.send(request).await
    }
}

/// `Retry-After` in seconds; its other form, a date, is not used by Google.
pub(crate) fn seconds(value: Option<&HeaderValue>) -> Option<Duration> {
    value.and_then(|value| value.to_str().ok()?.trim().parse().ok()).map(Duration::from_secs)
}

impl tower::Service<Uri> for Tunnel {
    type Response = TokioIo<Pipe>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (near, far) = tokio::io::duplex(PIPE);
        self.0.scope.spawn_helper("fcm token request", self.clone().serve(far));
        ready(Ok(TokioIo::new(Pipe(near))))
    }
}

/// Runs what hyper's client wants to run beside the request.
#[derive(Clone)]
pub(crate) struct Helpers(pub(crate) Scope);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Helpers {
    fn execute(&self, task: F) {
        self.0.spawn_helper("fcm token connection", task);
    }
}

/// The near end.
pub(crate) struct Pipe(DuplexStream);

impl Connection for Pipe {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
