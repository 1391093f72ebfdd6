//! One request, one answer: SMS gateways, OAuth, webhooks.

use crate::dial::{Dialer, Wire};
use crate::error::{ConnectError, NotSent, RequestError, Unknown};
use crate::guard::Guard;
use crate::origin::{Origin, OriginError};
use crate::response::{Gathered, Response, announces_more_than};
use crate::tasks::Tasks;
use crate::trust::{Trust, TrustError};
use bytes::Bytes;
use carillon_failpoint::Point;
use futures::future::BoxFuture;
use h2::Reason;
use http::Uri;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::error::Error;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Both versions; the server chooses.
const ALPN: &[&[u8]] = &[b"h2", b"http/1.1"];
/// Idle connections kept per host.
const MAX_IDLE: usize = 4;
/// An idle connection older than this is not used again: servers commonly hang up after a minute.
const IDLE: Duration = Duration::from_secs(30);
/// The largest response header block we take, in bytes.
const MAX_HEADERS: usize = 16 * 1024;

/// The bounds of an [`HttpClient`].
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// From the call to the whole answer. Default 15 s.
    pub timeout: Duration,
    /// From name resolution to the end of the TLS handshake. Default 5 s.
    pub connect_timeout: Duration,
    /// The longest answer, in bytes. Default 64 KiB.
    pub response_cap: usize,
}

impl Default for HttpConfig {
    fn default() -> Self {
        HttpConfig {
            timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(5),
            response_cap: 64 * 1024,
        }
    }
}

/// A plain HTTP client: HTTP/1.1 or HTTP/2, no redirects, no cookies, no decompression, everything bounded.
pub struct HttpClient {
    client: Client<Connector, Full<Bytes>>,
    config: HttpConfig,
    _tasks: Tasks,
}

impl HttpClient {
    /// A client for addresses that the operator chose.
    ///
    /// # Errors
    /// [`TrustError`] when the TLS set-up is unusable.
    pub fn new(config: HttpConfig, trust: &Trust) -> Result<Self, TrustError> {
        Self::build(config, trust, None)
    }

    /// A client for addresses that strangers chose, such as webhooks: every connection passes `guard`.
    ///
    /// # Errors
    /// As [`HttpClient::new`].
    pub fn guarded(config: HttpConfig, trust: &Trust, guard: Guard) -> Result<Self, TrustError> {
        Self::build(config, trust, Some(guard))
    }

    fn build(config: HttpConfig, trust: &Trust, guard: Option<Guard>) -> Result<Self, TrustError> {
        let tasks = Tasks::new();
        let dialer = Dialer::new(trust.client_config(ALPN, None)?, guard, config.connect_timeout);
        let client = Client::builder(tasks.spawner())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .http2_keep_alive_interval(IDLE)
            .http1_max_buf_size(MAX_HEADERS)
            .http2_max_header_list_size(MAX_HEADERS as u32)
            .build(Connector { dialer });
        Ok(HttpClient { client, config, _tasks: tasks })
    }

    /// Sends `request`, whose URI is absolute, and waits for the whole answer. A redirect is an answer like any other.
    ///
    /// # Errors
    /// [`RequestError`] says whether it is safe to send the request again. In doubt it is [`RequestError::Unknown`].
    pub async fn send(&self, request: http::Request<Bytes>) -> Result<Response, RequestError> {
        let deadline = Instant::now() + self.config.timeout;
        if let Err(error) = Origin::of(request.uri()) {
            let _: OriginError = error;
            return Err(RequestError::NotSent(NotSent::Invalid));
        }
        let asked = timeout_at(deadline, Point::PlainCall.around(self.ask(request))).await;
        asked.unwrap_or(Err(RequestError::Unknown(Unknown::Timeout)))
    }

    async fn ask(&self, request: http::Request<Bytes>) -> Result<Response, RequestError> {
        let response = self.client.request(request.map(Full::new)).await.map_err(|e| classify(&e))?;
        let (parts, body) = response.into_parts();
        let too_large = || RequestError::TooLarge { status: parts.status, cap: self.config.response_cap };
        if announces_more_than(&parts.headers, self.config.response_cap) {
            return Err(too_large());
        }
        let body = gather(body, self.config.response_cap).await?.ok_or_else(too_large)?;
        Ok(Response { status: parts.status, headers: parts.headers, body, connection: None })
    }
}

/// The body, or `None` when it exceeds the cap.
async fn gather(mut body: Incoming, cap: usize) -> Result<Option<Bytes>, RequestError> {
    let mut gathered = Gathered::new(cap);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| RequestError::Unknown(Unknown::ConnectionLost))?;
        if let Ok(piece) = frame.into_data()
            && gathered.push(piece).is_err()
        {
            return Ok(None);
        }
    }
    Ok(Some(gathered.finish()))
}

/// Reads the chain of causes: our own connector's verdict, or HTTP/2's word that the request was not processed.
fn classify(error: &ClientError) -> RequestError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(this) = cause {
        if let Some(connect) = this.downcast_ref::<ConnectError>() {
            return RequestError::Connect(connect.clone());
        }
        if let Some(h2) = this.downcast_ref::<h2::Error>() {
            let refused = h2.is_reset() && h2.reason() == Some(Reason::REFUSED_STREAM);
            if h2.is_remote() && (refused || h2.is_go_away()) {
                return RequestError::NotSent(NotSent::Refused);
            }
            return RequestError::Unknown(if h2.is_reset() { Unknown::Reset } else { Unknown::ConnectionLost });
        }
        cause = this.source();
    }
    RequestError::Unknown(Unknown::ConnectionLost)
}

/// Opens connections for hyper, through the same door as everything else.
#[derive(Clone)]
struct Connector {
    dialer: Dialer,
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Wire>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = self.dialer.clone();
        Box::pin(async move {
            let origin = Origin::of(&uri).map_err(|_| ConnectError::Guard(crate::GuardError::Malformed))?;
            dialer.dial(&origin, dialer.deadline()).await.map(TokioIo::new)
        })
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        if self.negotiated_h2() { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}
