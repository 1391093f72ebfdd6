//! HTTP/2 to provider gateways: a few connections, many streams, and an honest word on every request.

mod cache;
mod config;
mod connection;
mod driver;
mod exchange;
mod lease;
mod pace;
mod roster;

pub use cache::PoolCache;
pub use config::{PoolConfig, PoolStats};
pub use connection::ConnectionId;
pub use exchange::Request;

use crate::dial::Dialer;
use crate::error::{ConnectError, NotSent, RequestError, Stage, Unknown};
use crate::guard::Guard;
use crate::jitter;
use crate::origin::{Origin, OriginError};
use crate::response::Response;
use crate::tasks::{Spawner, Tasks};
use crate::trust::{ClientIdentity, Trust, TrustError};
use config::Counters;
use exchange::{Unanswered, exchange};
use http::uri::{Authority, Scheme};
use lease::{Lease, Waiting};
use roster::{Pick, Roster};
use rustls::ClientConfig;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// How often a request that the peer surely did not process is sent again.
const MAX_RESENDS: usize = 4;
/// The longest pause before a refused request is sent again.
const REFUSED_PAUSE: Duration = Duration::from_millis(40);
/// The only protocol a pool offers.
const ALPN: &[&[u8]] = &[b"h2"];

/// A pool of HTTP/2 connections to one origin. It connects when the first request comes, follows the peer's stream
/// limit, replaces connections that go away, age or fall silent, and closes them when it is dropped.
///
/// One task per connection, none per request; a request holds one lock for a few comparisons and sets one timer.
pub struct Http2Pool {
    inner: Arc<Inner>,
    tasks: Tasks,
}

struct Inner {
    origin: Origin,
    scheme: Scheme,
    authority: Authority,
    config: PoolConfig,
    dialer: Dialer,
    spawner: Spawner,
    roster: Mutex<Roster>,
    /// A stream became free, or the set of connections changed.
    freed: Notify,
    waiting: AtomicUsize,
    counters: Counters,
    closing: CancellationToken,
}

/// Why a pool cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The certificates.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The host cannot stand in a request.
    #[error(transparent)]
    Origin(#[from] OriginError),
}

impl Http2Pool {
    /// A pool to `origin`: over TLS that must agree on `h2`, or with prior knowledge for `http://`. Nothing is opened yet.
    ///
    /// # Errors
    /// [`PoolError`] when the TLS set-up or the host is unusable.
    pub fn new(origin: Origin, config: PoolConfig, trust: &Trust) -> Result<Self, PoolError> {
        Ok(Self::build(origin, config, trust.client_config(ALPN, None)?, None)?)
    }

    /// Like [`Http2Pool::new`], showing `identity` to the server (mutual TLS, as APNs certificates need).
    ///
    /// # Errors
    /// As [`Http2Pool::new`], and when key and certificate do not belong together.
    pub fn with_identity(
        origin: Origin,
        config: PoolConfig,
        trust: &Trust,
        identity: ClientIdentity,
    ) -> Result<Self, PoolError> {
        Ok(Self::build(origin, config, trust.client_config(ALPN, Some(identity))?, None)?)
    }

    fn build(
        origin: Origin,
        config: PoolConfig,
        tls: Arc<ClientConfig>,
        guard: Option<Guard>,
    ) -> Result<Self, OriginError> {
        let tasks = Tasks::new();
        let inner = Inner {
            scheme: origin.scheme().as_uri(),
            authority: origin.authority()?,
            dialer: Dialer::new(tls, guard, config.connect_timeout),
            spawner: tasks.spawner(),
            origin,
            config,
            roster: Mutex::default(),
            freed: Notify::new(),
            waiting: AtomicUsize::new(0),
            counters: Counters::default(),
            closing: CancellationToken::new(),
        };
        Ok(Http2Pool { inner: Arc::new(inner), tasks })
    }

    /// Whom this pool calls.
    pub fn origin(&self) -> &Origin {
        &self.inner.origin
    }

    /// Sends a request and waits for its whole answer, at most for the configured time. A request that the peer surely
    /// did not process is sent again, a few times; dropping the future cancels the stream, which leaves unknown whether
    /// the peer acted on it.
    ///
    /// # Errors
    /// [`RequestError`] says whether it is safe to send the request again.
    pub async fn request(&self, request: Request<'_>) -> Result<Response, RequestError> {
        let now = Instant::now();
        self.ask(request, now, now + self.inner.config.request_timeout).await
    }

    /// Like [`Http2Pool::request`], with an earlier deadline; a later one than the configured time is cut to that.
    ///
    /// # Errors
    /// As [`Http2Pool::request`].
    pub async fn request_by(&self, request: Request<'_>, deadline: Instant) -> Result<Response, RequestError> {
        let now = Instant::now();
        self.ask(request, now, deadline.min(now + self.inner.config.request_timeout)).await
    }

    async fn ask(&self, request: Request<'_>, now: Instant, deadline: Instant) -> Result<Response, RequestError> {
        let inner = &self.inner;
        for sent in 0..=MAX_RESENDS {
            let now = if sent == 0 { now } else { Instant::now() };
            let lease = match self.try_stream(now) {
                Some(settled) => settled?,
                None => self.wait_for_stream(deadline).await?,
            };
            let head = request.head(&inner.scheme, &inner.authority)?;
            if sent > 0 {
                inner.counters.resent.fetch_add(1, Ordering::Relaxed);
            }
            let connection = &lease.connection;
            let answered = connection.state.answered();
            let answer = exchange(connection, head, request.body.clone(), inner.config.response_cap);
            match timeout_at(deadline, answer).await {
                Ok(Ok(response)) => {
                    if connection.state.count_answer() {
                        lock(&inner.roster).works();
                    }
                    return Ok(response);
                }
                Ok(Err(Unanswered::Failed(error))) => return Err(error),
                Ok(Err(Unanswered::Unprocessed { connection_over: true })) => inner.lost(&connection.state, None),
                Ok(Err(Unanswered::Unprocessed { connection_over: false })) => {
                    drop(lease);
                    pause_until(deadline).await?;
                }
                Err(_) => {
                    connection.state.timed_out(answered);
                    inner.counters.timeouts.fetch_add(1, Ordering::Relaxed);
                    return Err(RequestError::Unknown(Unknown::Timeout));
                }
            }
        }
        Err(RequestError::NotSent(NotSent::Refused))
    }

    /// Takes a stream, waiting for one at most until `deadline`.
    async fn wait_for_stream(&self, deadline: Instant) -> Result<Lease<'_>, RequestError> {
        let inner = &*self.inner;
        let _waiting = Waiting::enter(inner)?;
        loop {
            let freed = inner.freed.notified();
            tokio::pin!(freed);
            // Listen first, look second: what is freed in between is not missed.
            freed.as_mut().enable();
            if let Some(settled) = self.try_stream(Instant::now()) {
                return settled;
            }
            if timeout_at(deadline, freed).await.is_err() {
                return Err(inner.no_stream());
            }
        }
    }

    /// Takes a stream or settles that there will be none; `None` when it is worth waiting. Starts a connect if one is due.
    fn try_stream(&self, now: Instant) -> Option<Result<Lease<'_>, RequestError>> {
        let inner = &*self.inner;
        let picked = lock(&inner.roster).pick(inner.config.connections, inner.config.spread_at, now);
        if picked.connect {
            self.inner.start_connect();
        }
        match picked.what {
            Pick::Stream(connection) => Some(Ok(Lease { connection, inner })),
            Pick::Wait => None,
            Pick::Unreachable(error) => Some(Err(RequestError::Connect(error))),
            Pick::Closed => Some(Err(RequestError::NotSent(NotSent::Closed))),
        }
    }
}

impl Http2Pool {
    /// Takes one connection out of use: it drains, and another takes its place. For "replace the connection" rules, with
    /// the [`Response::connection`] that showed the reason; naming a connection that is gone does nothing, so that many
    /// requests may report the same one.
    pub fn replace(&self, connection: ConnectionId) {
        self.inner.replace(connection);
    }

    /// Takes every connection out of use, as after a change of credentials. The caller paces this: providers take
    /// frequent reconnects for an attack.
    pub fn replace_connections(&self) {
        let connections = lock(&self.inner.roster).take_all();
        for connection in connections {
            connection.state.retire();
        }
        self.inner.freed.notify_waiters();
    }

    /// What the pool looks like now.
    pub fn stats(&self) -> PoolStats {
        let (connections, streams, stream_limit) = lock(&self.inner.roster).load();
        let counters = &self.inner.counters;
        PoolStats {
            connections,
            streams,
            stream_limit,
            waiting: self.inner.waiting.load(Ordering::Relaxed),
            opened: counters.opened.load(Ordering::Relaxed),
            connect_failures: counters.connect_failures.load(Ordering::Relaxed),
            goaways: counters.goaways.load(Ordering::Relaxed),
            dead_paths: counters.dead_paths.load(Ordering::Relaxed),
            resent: counters.resent.load(Ordering::Relaxed),
            timeouts: counters.timeouts.load(Ordering::Relaxed),
        }
    }

    /// Refuses further requests, lets those in flight finish, and closes the connections; at `deadline` it cuts what is
    /// left. True if nothing had to be cut.
    pub async fn close(&self, deadline: Instant) -> bool {
        let connections = lock(&self.inner.roster).close();
        self.inner.closing.cancel();
        for connection in connections {
            connection.state.retire();
        }
        self.inner.freed.notify_waiters();
        self.tasks.finish(deadline).await
    }
}

impl Inner {
    /// The deadline passed without a stream: because there is no connection, or because all of them are full.
    fn no_stream(&self) -> RequestError {
        let roster = lock(&self.roster);
        match (roster.load(), roster.last_error()) {
            (_, Some(error)) => RequestError::Connect(error),
            ((0, ..), None) => RequestError::Connect(ConnectError::Timeout(Stage::Tcp)),
            _ => RequestError::NotSent(NotSent::NoStream),
        }
    }
}

/// A short pause with jitter before a refused request goes out again.
async fn pause_until(deadline: Instant) -> Result<(), RequestError> {
    let pause = tokio::time::sleep(jitter::half_to_full(REFUSED_PAUSE));
    timeout_at(deadline, pause).await.map_err(|_| RequestError::NotSent(NotSent::Refused))
}

/// No code panics while it holds one of these locks, so what a poisoned one holds is sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
