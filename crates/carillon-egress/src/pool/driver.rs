//! The task behind a connection: opens it, polls it, keeps it honest, and sees it off.

use super::connection::{Connection, ConnectionId, State};
use super::{Inner, lock};
use crate::dial::Wire;
use crate::error::{ConnectError, Stage};
use crate::jitter;
use crate::origin::Scheme;
use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, PingPong};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

type Link = h2::client::Connection<Wire, Bytes>;

/// The stream limit before the peer's first SETTINGS; no peer can announce it, because SETTINGS values have 32 bits.
const UNTIL_SETTINGS: usize = usize::MAX - 1;
/// Receive window of a connection: enough for the answers of all its streams.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Smallest window that RFC 9113 lets a peer assume from the start.
const LEAST_WINDOW: u32 = 65_535;
/// The largest response header block we take.
const MAX_HEADER_LIST: u32 = 16 * 1024;
/// Streams we cancelled that h2 remembers, so that their late answers are dropped quietly: a slow provider can answer
/// a whole connection's worth of requests just after their deadline.
const REMEMBERED_RESETS: usize = 4096;
/// How long it remembers them.
const REMEMBER_RESETS: Duration = Duration::from_secs(30);
/// A draining connection is cut this long after the last request on it must have timed out.
const DRAIN_MARGIN: Duration = Duration::from_secs(5);
/// A connection that lived at least this long was a working one, even if nobody asked it anything.
const LIVED: Duration = Duration::from_secs(10);

/// How a connection came to its end.
enum End {
    Closed(Option<h2::Error>),
    DeadPath,
    Drained,
}

/// Opens one connection and stays with it until it is gone.
pub(super) async fn connection_task(inner: Arc<Inner>) {
    let Some(opened) = inner.closing.run_until_cancelled(open(&inner)).await else {
        lock(&inner.roster).abandon_connect();
        return;
    };
    let (sender, link) = match opened {
        Ok(opened) => opened,
        Err(error) => return inner.connect_failed(error),
    };
    let limit = sender.current_max_send_streams().min(inner.config.max_streams_per_connection);
    let id = lock(&inner.roster).next_id();
    let connection = Arc::new(Connection::new(id, limit, sender.clone()));
    let state = connection.state.clone();
    if !inner.admit(connection) {
        return;
    }
    let end = drive(&inner, &state, link, sender).await;
    inner.ended(&state, end);
}

async fn open(inner: &Inner) -> Result<(SendRequest<Bytes>, Link), ConnectError> {
    let rest = lock(&inner.roster).not_before();
    if let Some(instant) = rest {
        sleep_until(instant).await;
    }
    let deadline = inner.dialer.deadline();
    let wire = inner.dialer.dial(&inner.origin, deadline).await?;
    if inner.origin.scheme() == Scheme::Https && !wire.negotiated_h2() {
        return Err(ConnectError::NoHttp2);
    }
    let handshake = async {
        let (sender, mut link) = builder(inner.config.response_cap).handshake(wire).await?;
        poll_fn(|cx| until_settings(&sender, &mut link, cx)).await?;
        Ok((sender, link))
    };
    let opened = timeout_at(deadline, handshake).await.map_err(|_| ConnectError::Timeout(Stage::Http2))?;
    opened.map_err(|e: Option<h2::Error>| ConnectError::Http2(e.map(Arc::new)))
}

fn builder(response_cap: usize) -> h2::client::Builder {
    let window = u32::try_from(response_cap).unwrap_or(u32::MAX).clamp(LEAST_WINDOW, CONNECTION_WINDOW);
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(window)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_concurrent_reset_streams(REMEMBERED_RESETS)
        .reset_stream_duration(REMEMBER_RESETS)
        .initial_max_send_streams(UNTIL_SETTINGS);
    builder
}

/// Polls until the peer's SETTINGS are here: before that its stream limit is unknown, and a server that does not speak
/// HTTP/2 is found out now rather than by the first request.
fn until_settings(
    sender: &SendRequest<Bytes>,
    link: &mut Link,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Option<h2::Error>>> {
    if let Poll::Ready(end) = Pin::new(link).poll(cx) {
        return Poll::Ready(Err(end.err()));
    }
    if sender.current_max_send_streams() == UNTIL_SETTINGS { Poll::Pending } else { Poll::Ready(Ok(())) }
}

async fn drive(inner: &Arc<Inner>, state: &State, mut link: Link, sender: SendRequest<Bytes>) -> End {
    let pings = link.ping_pong();
    let mut probe = Some(sender);
    tokio::select! {
        biased;
        end = poll_fn(|cx| poll_link(inner, state, &mut link, &mut probe, cx)) => end,
        () = heartbeat(inner, state, pings) => End::DeadPath,
        () = lifetime(inner, state) => End::Drained,
    }
}

/// Moves frames, and looks after each step at what they changed: the stream limit, and whether a GOAWAY came.
fn poll_link(
    inner: &Arc<Inner>,
    state: &State,
    link: &mut Link,
    probe: &mut Option<SendRequest<Bytes>>,
    cx: &mut Context<'_>,
) -> Poll<End> {
    if state.is_retired() {
        *probe = None;
    }
    if let Poll::Ready(end) = Pin::new(link).poll(cx) {
        return Poll::Ready(End::Closed(end.err()));
    }
    let Some(sender) = probe else { return Poll::Pending };
    if let Poll::Ready(Err(error)) = sender.poll_ready(cx) {
        *probe = None;
        if error.is_go_away() && error.is_remote() {
            inner.counters.goaways.fetch_add(1, Ordering::Relaxed);
        }
        inner.lost(state, Some(error));
        return Poll::Pending;
    }
    let limit = sender.current_max_send_streams().min(inner.config.max_streams_per_connection);
    if limit != state.limit() && state.set_limit(limit) {
        inner.freed.notify_waiters();
    }
    Poll::Pending
}

/// Returns when a PING went unanswered. Answers to requests are signs of life too; a PING is sent only after an interval
/// without any, or at once when a request timed out.
async fn heartbeat(inner: &Arc<Inner>, state: &State, pings: Option<PingPong>) {
    let Some(mut pings) = pings else { return std::future::pending().await };
    let mut answered = state.answered();
    loop {
        let suspected = timeout(inner.config.ping_interval, state.suspect_signal.notified()).await.is_ok();
        let now_answered = state.answered();
        if !suspected && now_answered != answered {
            answered = now_answered;
            continue;
        }
        match timeout(inner.config.ping_timeout, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => inner.sound_again(state),
            // The connection is over; `poll_link` knows how.
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) => return,
        }
        answered = state.answered();
    }
}

/// Returns when a retired connection has had all the time it can need. Age retires it too.
async fn lifetime(inner: &Arc<Inner>, state: &State) {
    tokio::select! {
        () = state.retire_signal.notified() => {}
        () = sleep(jitter::around(inner.config.max_age)) => inner.replace(state.id),
    }
    sleep(inner.config.request_timeout + DRAIN_MARGIN).await;
}

impl Inner {
    fn admit(&self, connection: Arc<Connection>) -> bool {
        let admitted = lock(&self.roster).admit(connection);
        if admitted {
            self.counters.opened.fetch_add(1, Ordering::Relaxed);
        }
        self.freed.notify_waiters();
        admitted
    }

    fn connect_failed(&self, error: ConnectError) {
        tracing::warn!(server.address = %self.origin, error = %error, "connect failed");
        self.counters.connect_failures.fetch_add(1, Ordering::Relaxed);
        lock(&self.roster).connect_failed(error, self.config.backoff_first, self.config.backoff_ceiling);
        self.freed.notify_waiters();
    }

    fn ended(self: &Arc<Self>, state: &State, end: End) {
        let error = match end {
            End::Closed(error) => error,
            End::DeadPath => {
                self.counters.dead_paths.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(server.address = %self.origin, "no answer to a PING, the connection is replaced");
                None
            }
            End::Drained => None,
        };
        self.lost(state, error);
        self.freed.notify_waiters();
    }

    /// The connection takes no more requests, and not by our choice. Called at the first sign of it, and at the end.
    pub(super) fn lost(self: &Arc<Self>, state: &State, error: Option<h2::Error>) {
        let first = state.retire();
        let stillborn = first && state.answered() == 0 && Instant::now() < state.opened_at + LIVED;
        let mut roster = lock(&self.roster);
        let removed = roster.remove(state.id);
        if stillborn {
            self.counters.connect_failures.fetch_add(1, Ordering::Relaxed);
            let error = ConnectError::Http2(error.map(Arc::new));
            roster.failed(error, self.config.backoff_first, self.config.backoff_ceiling);
        }
        drop(roster);
        // Its last reference may close the connection, which takes locks of its own.
        drop(removed);
        self.reopen_if_busy(state);
    }

    /// Takes a connection out of use by our choice: it drains, and is replaced.
    pub(super) fn replace(self: &Arc<Self>, id: ConnectionId) {
        let Some(connection) = lock(&self.roster).remove(id) else { return };
        connection.state.retire();
        self.reopen_if_busy(&connection.state);
    }

    /// A PING was answered. If this connection was suspect and another was opened in its place, this one drains.
    fn sound_again(self: &Arc<Self>, state: &State) {
        if !state.trust_again() {
            return;
        }
        if lock(&self.roster).has_surplus(self.config.connections) {
            self.replace(state.id);
        }
        self.freed.notify_waiters();
    }

    /// Where requests were running more will come: they should not have to wait for the handshake. An idle pool stays
    /// closed until it is asked, or gateways that hang up on idle clients would be called for ever.
    fn reopen_if_busy(self: &Arc<Self>, state: &State) {
        if state.in_flight() > 0 && lock(&self.roster).claim_connect(self.config.connections, Instant::now()) {
            self.start_connect();
        }
    }

    /// To be called after the roster granted it.
    pub(super) fn start_connect(self: &Arc<Self>) {
        self.spawner.drive(connection_task(self.clone()));
    }
}
