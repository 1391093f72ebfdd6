//! What is under way at the moment when a fault strikes: a kill that finds nothing to break proves nothing.

use crate::fleet::Replica;
use crate::platform::Platform;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What was under way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sight {
    /// Messages in queues; None while the broker does not answer.
    pub(crate) ready: Option<u64>,
    /// Chunks handed out to dispatchers and not given back; None while the database does not answer.
    pub(crate) unacked: Option<u64>,
    /// Provider calls without an answer, of all dispatchers that answer.
    pub(crate) open: u64,
    /// The same of the one that is struck, and its chunks.
    pub(crate) victim_open: u64,
    pub(crate) victim_chunks: u64,
}

impl Sight {
    /// Whether a fault that strikes now has something to break in every place: waiting, handed out, under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.ready.is_some_and(|n| n > 0) && self.unacked.is_some_and(|n| n > 0) && self.open > 0
    }

    /// For the report.
    pub(crate) fn json(&self) -> Value {
        json!({"ready": self.ready, "unacked": self.unacked, "open": self.open,
               "victim": {"open": self.victim_open, "chunks": self.victim_chunks}})
    }
}

const OUT: &str = "SELECT count(*) FROM chunks WHERE due_at IS NOT NULL AND lease_until > now()";

/// While the platform recovers there is nothing to break; a fault waits for it so long. Longer than a black hole lasts.
const SOMETHING_TO_BREAK: Duration = Duration::from_secs(60);

/// Looks until there is something to break in every place; what there was at last.
pub(crate) async fn catch(platform: &Platform, victim: Option<&Replica>) -> Sight {
    let began = Instant::now();
    loop {
        let sight = look(platform, victim).await;
        if sight.is_busy() || began.elapsed() > SOMETHING_TO_BREAK {
            return sight;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Looks now; what does not answer within a moment is unknown.
pub(crate) async fn look(platform: &Platform, victim: Option<&Replica>) -> Sight {
    let patience = Duration::from_millis(1_500);
    let inspector = platform.broker.inspector();
    let queues = tokio::time::timeout(patience, inspector.queues());
    let out = tokio::time::timeout(patience, platform.rows(OUT, &[]));
    let open = open(platform);
    let theirs = async {
        match victim {
            Some(victim) => (streams(victim).await.unwrap_or(0), chunks(victim).await),
            None => (0, 0),
        }
    };
    let (queues, out, open, (victim_open, victim_chunks)) = tokio::join!(queues, out, open, theirs);
    let ready = queues.ok().and_then(Result::ok).map(|queues| {
        let work =
            queues.iter().filter(|queue| queue.queue.contains("dispatcher-") || queue.queue.contains("segmenter"));
        work.map(|queue| u64::from(queue.ready.unwrap_or(0))).sum()
    });
    let unacked = out.ok().and_then(Result::ok).and_then(|rows| rows.first().map(|row| row.get::<_, i64>(0)));
    Sight { ready, unacked: unacked.and_then(|n| u64::try_from(n).ok()), open, victim_open, victim_chunks }
}

async fn open(platform: &Platform) -> u64 {
    let mut open = 0;
    for replica in &platform.replicas {
        if replica.service.starts_with("dispatcher-") && replica.end().is_none() {
            open += streams(replica).await.unwrap_or(0);
        }
    }
    open
}

/// Provider calls of a dispatcher without an answer.
pub(crate) async fn streams(replica: &Replica) -> Option<u64> {
    whole(replica.metric("carillon_provider_streams").await?)
}

async fn chunks(replica: &Replica) -> u64 {
    let chunks = replica.metric("carillon_inflight{stage=\"chunk\"}").await;
    chunks.and_then(whole).unwrap_or(0)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "gauges are small and whole")]
fn whole(value: f64) -> Option<u64> {
    (value >= 0.0).then_some(value as u64)
}
