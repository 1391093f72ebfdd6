//! One provider call.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use uuid::Uuid;

use crate::chunk::Chunk;
use crate::engine::Engine;
use crate::line::Open;
use crate::provider::{Message, Provider, Verdict};
use crate::trace::CallSpan;

/// A message with its body, as it leaves.
pub(crate) struct Ready<'a> {
    pub(crate) open: Open<'a>,
    pub(crate) body: Bytes,
    pub(crate) time_left: Duration,
    pub(crate) leaves: Instant,
    pub(crate) span: CallSpan,
}

/// What came of it; nothing if the provider's code panicked.
pub(crate) type Flown = Option<Verdict>;

/// One provider call. Without a deadline: [`crate::flights::Flights`] keeps those of a whole chunk.
pub(crate) async fn fly<P: Provider>(
    engine: &Engine<P>,
    chunk: &Chunk,
    prepared: &P::Prepared,
    ready: Ready<'_>,
    permit: OwnedSemaphorePermit,
) -> Flown {
    let _held = (permit, engine.meters.streams.hold());
    let target = &chunk.targets[ready.open.index];
    let span = ready.span;
    let message = Message {
        device: &target.device,
        token: &target.token,
        p256dh: &target.p256dh,
        auth: &target.auth,
        environment: target.environment,
        body: ready.body,
        time_left: ready.time_left,
        span: span.clone(),
    };
    let send = span.around(engine.shared.provider.send(prepared, message));
    AssertUnwindSafe(send).catch_unwind().await.ok()
}

/// Good enough to keep retries apart; failures only.
pub(crate) fn random() -> u32 {
    Uuid::new_v4().as_u128() as u32
}
