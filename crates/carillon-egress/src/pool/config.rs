//! The bounds of a pool, and what it counts.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// The bounds of an [`crate::Http2Pool`]. The defaults suit a provider gateway.
#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// Connections at most (at least 1). The first opens with the first request, another when those that are open are
    /// busy. Default 2.
    pub connections: usize,
    /// Streams at most on one connection, whatever the peer allows; the smaller of both holds. Default 1000.
    pub max_streams_per_connection: usize,
    /// A further connection is opened when even the least loaded one carries this many streams: two connections on two
    /// cores carry more than one that is full. Requests that come together share one as long as it is ahead of the others by less
    /// than this, and by 32 at most. Default 100.
    pub spread_at: usize,
    /// Requests at most that wait for a stream; further ones fail at once. Default 4096.
    pub max_waiting: usize,
    /// From the call to the whole answer. Default 10 s.
    pub request_timeout: Duration,
    /// From name resolution to the peer's SETTINGS. Default 5 s.
    pub connect_timeout: Duration,
    /// A connection on which nothing was answered for this long is asked for a sign of life (PING). Default 30 s.
    pub ping_interval: Duration,
    /// A PING that is unanswered for this long means a dead path: the connection is replaced. Default 10 s.
    pub ping_timeout: Duration,
    /// A connection older than this, plus or minus a tenth, is drained and replaced, so that load follows the provider's
    /// DNS. Default 1 h.
    pub max_age: Duration,
    /// The longest answer, in bytes. Default 64 KiB.
    pub response_cap: usize,
    /// The wait after a first failed connect; it doubles up to `backoff_ceiling`, with jitter. Default 50 ms.
    pub backoff_first: Duration,
    /// The longest wait between connects. Default 5 s.
    pub backoff_ceiling: Duration,
}

impl Default for PoolConfig {
    fn default() -> Self {
        PoolConfig {
            connections: 2,
            max_streams_per_connection: 1000,
            spread_at: 100,
            max_waiting: 4096,
            request_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(10),
            max_age: Duration::from_secs(3600),
            response_cap: 64 * 1024,
            backoff_first: Duration::from_millis(50),
            backoff_ceiling: Duration::from_secs(5),
        }
    }
}

/// What a pool looks like at one instant, for metrics. The totals count from the pool's creation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Connections that take requests.
    pub connections: usize,
    /// Streams in flight on those.
    pub streams: usize,
    /// Streams those may carry together, now.
    pub stream_limit: usize,
    /// Requests that wait for a stream.
    pub waiting: usize,
    /// Connections opened; what exceeds `connections` are reconnects.
    pub opened: u64,
    /// Connects that failed, and connections that ended before they answered anything.
    pub connect_failures: u64,
    /// GOAWAY frames received.
    pub goaways: u64,
    /// Connections given up because a PING went unanswered.
    pub dead_paths: u64,
    /// Requests sent again because the peer surely had not processed them.
    pub resent: u64,
    /// Requests without a whole answer before their deadline.
    pub timeouts: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) opened: AtomicU64,
    pub(super) connect_failures: AtomicU64,
    pub(super) goaways: AtomicU64,
    pub(super) dead_paths: AtomicU64,
    pub(super) resent: AtomicU64,
    pub(super) timeouts: AtomicU64,
}
