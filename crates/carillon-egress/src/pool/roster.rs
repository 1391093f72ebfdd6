//! Which connections there are, and which one a request takes.

use super::connection::{Connection, ConnectionId};
use super::pace::Pace;
use crate::error::ConnectError;
use crate::jitter;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Failures in a row after which a request no longer waits for the next attempt but fails with the last one's error:
/// short hiccups are ridden out, a longer outage is reported at once.
const PATIENCE: u32 = 3;

/// By how many streams the connection that was taken last may be ahead of the least loaded one and still be taken: requests that come
/// together leave together, in one write.
const TOGETHER: usize = 32;

/// The connections of a pool; behind its lock, and never awaited under it.
#[derive(Default)]
pub(super) struct Roster {
    ready: Vec<Arc<Connection>>,
    connecting: bool,
    closed: bool,
    pace: Pace,
    failures: u32,
    not_before: Option<Instant>,
    last_error: Option<ConnectError>,
    next_id: u64,
    taken_last: Option<ConnectionId>,
}

/// What the roster says to a request.
pub(super) struct Picked {
    pub(super) what: Pick,
    /// The caller is to start a connect, which the roster already counts as running.
    pub(super) connect: bool,
}

pub(super) enum Pick {
    /// A stream is taken on this connection.
    Stream(Arc<Connection>),
    /// Every stream is taken, or a connect is under way.
    Wait,
    /// The provider has been unreachable for a while.
    Unreachable(ConnectError),
    Closed,
}

impl Roster {
    /// Takes a stream on the connection that was taken last, or on the least loaded one. A connection on which a request timed out while
    /// nothing else was answered is left aside until its PING is answered: what is sent there now would most likely end as unknown.
    pub(super) fn pick(&mut self, connections: usize, spread_at: usize, now: Instant) -> Picked {
        if self.closed {
            return Picked { what: Pick::Closed, connect: false };
        }
        if let Some((connection, least)) = self.most_fitting(spread_at) {
            connection.state.take_stream();
            self.taken_last = Some(connection.state.id);
            let connect = least >= spread_at && self.claim_connect(connections, now);
            return Picked { what: Pick::Stream(connection), connect };
        }
        if let Some(error) = self.outage(now) {
            return Picked { what: Pick::Unreachable(error), connect: false };
        }
        Picked { what: Pick::Wait, connect: self.claim_connect(connections, now) }
    }

    /// With how many streams the least loaded one has.
    fn most_fitting(&self, spread_at: usize) -> Option<(Arc<Connection>, usize)> {
        let free = self.ready.iter().map(|c| (c, c.state.in_flight()));
        let free = free.filter(|(c, in_flight)| *in_flight < c.state.limit() && !c.state.is_suspect());
        let (mut least, mut last) = (None::<(&Arc<Connection>, usize)>, None);
        for (connection, in_flight) in free {
            if least.is_none_or(|(_, fewest)| in_flight < fewest) {
                least = Some((connection, in_flight));
            }
            if self.taken_last == Some(connection.state.id) {
                last = Some((connection, in_flight));
            }
        }
        let (least, fewest) = least?;
        let fitting =
            last.filter(|(_, in_flight)| *in_flight < fewest + TOGETHER.min(spread_at)).map_or(least, |(last, _)| last);
        Some((Arc::clone(fitting), fewest))
    }

    /// True when the caller is to open a connection: one attempt at a time, so that an outage is not met by a herd.
    /// Suspect connections do not count, so that they are replaced before they are given up, but only once over.
    pub(super) fn claim_connect(&mut self, connections: usize, now: Instant) -> bool {
        let connections = connections.max(1);
        let sound = self.ready.iter().filter(|c| !c.state.is_suspect()).count();
        let claimed = !self.closed && !self.connecting && sound < connections && self.ready.len() < 2 * connections;
        if claimed {
            self.connecting = true;
            let paced = self.pace.take(now);
            self.not_before = Some(self.not_before.map_or(paced, |instant| instant.max(paced)));
        }
        claimed
    }

    /// True when there are more connections than configured, because one was replaced too early.
    pub(super) fn has_surplus(&self, connections: usize) -> bool {
        self.ready.len() > connections.max(1)
    }

    fn outage(&self, now: Instant) -> Option<ConnectError> {
        let resting = self.not_before.is_some_and(|t| now < t);
        let over = self.ready.is_empty() && self.failures >= PATIENCE && resting;
        if over { self.last_error.clone() } else { None }
    }

    /// The last failed connect, if no connection is up since.
    pub(super) fn last_error(&self) -> Option<ConnectError> {
        if self.ready.is_empty() { self.last_error.clone() } else { None }
    }

    pub(super) fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Takes a connection in; false if the pool was closed meanwhile.
    pub(super) fn admit(&mut self, connection: Arc<Connection>) -> bool {
        self.connecting = false;
        if !self.closed {
            self.ready.push(connection);
        }
        !self.closed
    }

    /// The attempt was given up, because the pool closes.
    pub(super) fn abandon_connect(&mut self) {
        self.connecting = false;
    }

    pub(super) fn connect_failed(&mut self, error: ConnectError, first: Duration, ceiling: Duration) {
        self.connecting = false;
        self.failed(error, first, ceiling);
    }

    /// A connection that ended before it answered anything counts like a failed connect, or a gateway that accepts and
    /// hangs up would be called in a tight loop.
    pub(super) fn failed(&mut self, error: ConnectError, first: Duration, ceiling: Duration) {
        self.failures = self.failures.saturating_add(1);
        // What is no hiccup is not ridden out.
        if matches!(error, ConnectError::Guard(_) | ConnectError::Tls(_) | ConnectError::NoHttp2) {
            self.failures = self.failures.max(PATIENCE);
        }
        self.not_before = Some(Instant::now() + jitter::backoff(self.failures, first, ceiling));
        self.last_error = Some(error);
    }

    /// A connection has answered: what failed before is past.
    pub(super) fn works(&mut self) {
        self.failures = 0;
        self.not_before = None;
        self.last_error = None;
    }

    /// Removes the connection, if it is still there, and with it the pool's hold on it.
    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Arc<Connection>> {
        let index = self.ready.iter().position(|c| c.state.id == id)?;
        Some(self.ready.swap_remove(index))
    }

    pub(super) fn take_all(&mut self) -> Vec<Arc<Connection>> {
        std::mem::take(&mut self.ready)
    }

    pub(super) fn close(&mut self) -> Vec<Arc<Connection>> {
        self.closed = true;
        self.take_all()
    }

    /// Connections, their streams in flight, and their limits added up.
    pub(super) fn load(&self) -> (usize, usize, usize) {
        let streams = self.ready.iter().map(|c| c.state.in_flight()).sum();
        let limit = self.ready.iter().map(|c| c.state.limit()).fold(0, usize::saturating_add);
        (self.ready.len(), streams, limit)
    }
}
