//! One chunk's results on their way to the ledger.

use std::time::Duration;

use carillon_domain::ids::ChunkId;
use carillon_domain::outcome::Outcome;
use carillon_wire::internal::ChunkReport;
use carillon_wire::outcome_to_wire;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::chunk::Chunk;
use crate::ledger::{Answer, Reporter};

/// Results that may wait uncommitted before nothing new is started: what a crash repeats at most, beside what is in flight.
pub(crate) const UNCOMMITTED: usize = 64;
/// The longest that a result waits for others.
const FLUSH: Duration = Duration::from_millis(200);
/// The longest without a report: it extends the lease.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// The process ended with the ledger away.
#[derive(Debug, thiserror::Error)]
#[error("the last results are not committed")]
pub(crate) struct NotCommitted;

/// Collects results, tells them in time, one report at once. Dropped before its last report (a handler that is cut), it hands
/// over what it has.
pub(crate) struct Outbox {
    reporter: Reporter,
    chunk: ChunkId,
    lease: u64,
    /// Where the chunk's trace goes on; empty if it is not recorded.
    traceparent: String,
    results: Vec<Outcome>,
    oldest: Option<Instant>,
    told_at: Instant,
    committing: Option<(usize, oneshot::Receiver<Answer>)>,
    released: bool,
}

impl Outbox {
    pub(crate) fn new(reporter: Reporter, chunk: &Chunk, lease: u64, now: Instant) -> Self {
        Self {
            reporter,
            chunk: chunk.id,
            lease,
            traceparent: chunk.trace.traceparent().to_owned(),
            results: Vec::new(),
            oldest: None,
            told_at: now,
            committing: None,
            released: false,
        }
    }

    pub(crate) fn push(&mut self, outcome: Outcome, now: Instant) {
        self.results.push(outcome);
        self.oldest.get_or_insert(now);
    }

    /// Results that the ledger has not committed.
    pub(crate) fn uncommitted(&self) -> usize {
        self.results.len() + self.committing.as_ref().map_or(0, |(count, _)| *count)
    }

    /// When the next report is due; nothing while one is under way.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        if self.committing.is_some() {
            return None;
        }
        let heartbeat = self.told_at + HEARTBEAT;
        match self.oldest {
            Some(_) if self.results.len() >= UNCOMMITTED => Some(self.told_at),
            Some(oldest) => Some(heartbeat.min(oldest + FLUSH)),
            None => Some(heartbeat),
        }
    }

    /// Tells what there is, even if it is nothing.
    pub(crate) async fn tell(&mut self, now: Instant) {
        let report = self.take(false);
        self.told_at = now;
        let told = report.outcomes.len();
        self.committing = Some((told, self.reporter.report(report).await));
    }

    /// The answer to the report under way; never while there is none. Cancel safe.
    pub(crate) async fn committed(&mut self) -> Result<Answer, NotCommitted> {
        let Some((_, receiver)) = &mut self.committing else { return std::future::pending().await };
        let answer = receiver.await;
        self.committing = None;
        answer.map_err(|_| NotCommitted)
    }

    /// Tells the rest, gives the chunk back, and waits until it is committed.
    pub(crate) async fn release(mut self) -> Result<(), NotCommitted> {
        if self.committing.is_some() {
            self.committed().await?;
        }
        let report = self.take(true);
        // What is handed over is the reporter's to tell, also if this future is dropped now.
        self.released = true;
        self.reporter.report(report).await.await.map(drop).map_err(|_| NotCommitted)
    }

    fn take(&mut self, release: bool) -> ChunkReport {
        self.oldest = None;
        // A report without outcomes only keeps the lease, or ends it.
        let traceparent = if self.results.is_empty() { String::new() } else { self.traceparent.clone() };
        ChunkReport {
            run_id: self.chunk.run.0.as_bytes().to_vec(),
            chunk: self.chunk.number,
            lease: self.lease,
            outcomes: self.results.drain(..).map(|outcome| outcome_to_wire(&outcome)).collect(),
            release,
            traceparent,
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        let report = self.take(true);
        let results = report.outcomes.len();
        if !self.reporter.report_now(report) {
            tracing::error!(results, "results could not be handed over; these messages will be sent again");
        }
    }
}
