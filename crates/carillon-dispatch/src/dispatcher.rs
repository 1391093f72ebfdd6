//! The handler: a message's chunks are granted, sent and reported; then it is acknowledged.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use carillon_broker::{Delivery, Effects, Fault, Handler};
use carillon_domain::platform::Lane;
use carillon_telemetry::extract;
use carillon_telemetry::names::field;
use carillon_wire::events::{DispatchChunk, DispatchChunks};
use carillon_wire::internal::ClaimAnswer;
use futures::FutureExt as _;
use futures::future::join_all;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::chunk::{AdvanceGrant, Chunk};
use crate::engine::Engine;
use crate::ledger::Claimed;
use crate::opening::{Granted, send_chunk};
use crate::provider::Provider;

/// The ledger's clock is known to the time that its answer took.
const BEYOND_LEASE: Duration = Duration::from_millis(100);

/// How long a message waits for room before it lines up again. With the longest that a chunk takes it stays below the time after which the
/// broker's client cuts a handler, which would be in the middle of its calls.
const IN_LINE: Duration = Duration::from_secs(60);

/// Handles one lane's messages.
pub(crate) struct Dispatcher<P: Provider> {
    engine: Engine<P>,
}

impl<P: Provider> Dispatcher<P> {
    pub(crate) fn new(engine: Engine<P>) -> Self {
        Self { engine }
    }

    /// Everything that happens between delivery and acknowledgement.
    pub(crate) async fn work(
        &self,
        event: DispatchChunks,
        redelivered: bool,
        lost: &CancellationToken,
    ) -> Result<(), Fault> {
        self.measure_wait(event.published_at_ms);
        let chunks: Vec<Chunk> = event.chunks.into_iter().filter_map(read).collect();
        if redelivered {
            self.outwait_grants(&chunks, Instant::now(), lost).await;
        }
        let room = self.engine.room.enter(chunks.iter().map(|chunk| chunk.targets.len()));
        let Ok(_room) = timeout(IN_LINE, room).await else {
            return Err(Fault::because("those before it take their time"));
        };
        let now = Instant::now();
        let mut granted = Vec::new();
        let mut unclaimed = Vec::new();
        for chunk in chunks {
            match self.granted_in_advance(&chunk, redelivered, now) {
                Some(grant) => granted.push((chunk, grant)),
                None => unclaimed.push(chunk),
            }
        }
        // First of all: nothing has begun yet if the ledger is away.
        granted.extend(self.claim(unclaimed, redelivered).await?);
        let stop = &self.engine.shared.stopping;
        let sent = join_all(granted.iter().map(|(chunk, grant)| {
            // Boxed: a message may carry many small chunks, and their futures would lie side by side on the stack.
            let sending = send_chunk(&self.engine, chunk, grant.clone(), stop, lost);
            Box::pin(AssertUnwindSafe(sending.instrument(chunk.trace.span())).catch_unwind())
        }))
        .await;
        // One chunk's panic waits until the others of the message are done; then the message is parked.
        let sent = sent.into_iter().map(|sent| sent.unwrap_or_else(|panic| resume_unwind(panic))).collect::<Vec<_>>();
        sent.into_iter().collect::<Result<(), _>>().map_err(|error| Fault::new("the ledger is away", error))
    }

    /// All chunks of a message in one call. Chunks that there is nothing to do for are left out.
    async fn claim(&self, chunks: Vec<Chunk>, redelivered: bool) -> Result<Vec<(Chunk, Granted)>, Fault> {
        if chunks.is_empty() {
            return Ok(Vec::new());
        }
        if self.engine.shared.stopping.is_cancelled() {
            return Err(Fault::because("the process drains"));
        }
        let named = chunks.iter().map(|chunk| chunk.named(redelivered)).collect();
        let Claimed { asked, response } = match self.engine.shared.ledger.claim(named).await {
            Ok(claimed) => claimed,
            Err(away) => return Err(Fault::new("a chunk could not be claimed", away)),
        };
        let both = chunks.into_iter().zip(response.answers);
        Ok(both.filter_map(|(chunk, answer)| granted(&chunk, answer, asked).map(|grant| (chunk, grant))).collect())
    }

    /// Somebody may be sending under a lease that was granted in advance, or nobody has ever seen the first copy. Until that lease ends the ledger
    /// would say that there is nothing to do, and the chunk would wait for its due time in either case.
    async fn outwait_grants(&self, chunks: &[Chunk], now: Instant, lost: &CancellationToken) {
        let Some(now_ms) = self.engine.shared.ledger.clock().at(now) else { return };
        let left = |grant: AdvanceGrant| {
            let end = grant.granted_at_ms.saturating_add(grant.lease_ms.into());
            u64::try_from(end.saturating_sub(now_ms)).unwrap_or(0).min(grant.lease_ms.into())
        };
        let longest = chunks.iter().filter(|chunk| chunk.copy == 0).filter_map(|chunk| chunk.grant).map(left).max();
        if let Some(longest) = longest.filter(|longest| *longest > 0) {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(longest) + BEYOND_LEASE) => {}
                () = lost.cancelled() => {}
                () = self.engine.shared.stopping.cancelled() => {}
            }
        }
    }

    /// Only the first copy, given out for the first time, with half the lease left by the ledger's clock.
    fn granted_in_advance(&self, chunk: &Chunk, redelivered: bool, now: Instant) -> Option<Granted> {
        let AdvanceGrant { lease, granted_at_ms, lease_ms } = chunk.grant?;
        if redelivered || chunk.copy != 0 {
            return None;
        }
        let now_ms = self.engine.shared.ledger.clock().at(now)?;
        let left = granted_at_ms.saturating_add(lease_ms.into()).saturating_sub(now_ms);
        // A grant from the future means that the clock jumped: its lease is worth no more than a whole one.
        let left = u64::try_from(left).ok()?.min(lease_ms.into());
        if left.saturating_mul(2) < u64::from(lease_ms) {
            return None;
        }
        let open = (0..chunk.targets.len()).map(|index| (index, 0)).collect();
        Some(Granted { lease, until: now + Duration::from_millis(left), open })
    }

    fn measure_wait(&self, published_at_ms: i64) {
        let now_ms = self.engine.shared.clock.now().as_millisecond();
        let waited = u64::try_from(now_ms.saturating_sub(published_at_ms)).unwrap_or(0);
        self.engine.meters.queue_wait.observe(Duration::from_millis(waited));
    }
}

impl<P: Provider> Handler<DispatchChunks> for Dispatcher<P> {
    async fn handle(&self, event: DispatchChunks, delivery: &Delivery) -> Result<Effects, Fault> {
        let span = tracing::info_span!(
            parent: None,
            "process chunks",
            otel.kind = "consumer",
            { field::MESSAGING_SYSTEM } = "rabbitmq",
            { field::MESSAGING_OPERATION } = "process",
            { field::MESSAGING_DESTINATION } = %delivery.routing_key,
            { field::MESSAGING_MESSAGE_ID } = delivery.message_id.as_deref().unwrap_or(""),
        );
        // One event's pushes belong to its trace, and chunks of other events in the message to theirs; of a campaign's, each
        // message is a trace of its own that names the event's.
        let event_trace = extract(&delivery.headers);
        match self.engine.lane {
            Lane::Transactional => event_trace.continue_in(&span),
            Lane::Bulk => event_trace.link_to(&span),
        }
        let repeated = delivery.redelivered || delivery.published_again;
        self.work(event, repeated, delivery.lost()).instrument(span).await?;
        Ok(Effects::new())
    }
}

/// A chunk that cannot be read is left to its row, which comes again: only a newer or broken segmenter makes one.
fn read(wire: DispatchChunk) -> Option<Chunk> {
    match Chunk::read(wire) {
        Ok(chunk) => Some(chunk),
        Err(error) => {
            tracing::error!(%error, "a chunk is left alone");
            None
        }
    }
}

fn granted(chunk: &Chunk, answer: ClaimAnswer, asked: Instant) -> Option<Granted> {
    let grant = answer.grant?;
    let attempts = grant.attempts.iter().copied().chain(std::iter::repeat(0));
    let open = grant.positions.iter().zip(attempts).filter_map(|(position, attempts)| {
        // A position that the message does not carry stays open and comes with the next copy.
        Some((chunk.index_of(*position)?, u8::try_from(attempts).unwrap_or(u8::MAX)))
    });
    let open = open.collect();
    Some(Granted { lease: grant.lease, until: asked + Duration::from_millis(grant.lease_ms.into()), open })
}
