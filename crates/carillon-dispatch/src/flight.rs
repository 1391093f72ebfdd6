//! One provider call.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use bytes::Bytes;
use carillon_domain::reference::TEXT_LEN;
use futures::FutureExt as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::chunk::Chunk;
use crate::engine::Engine;
use crate::line::Open;
use crate::provider::{Message, Provider, Verdict};

/// A message with its body.
pub(crate) struct Ready {
    pub(crate) body: Bytes,
    pub(crate) reference: [u8; TEXT_LEN],
    pub(crate) time_left: Duration,
}

/// One provider call.
pub(crate) async fn fly<'a, P: Provider>(
    engine: &Engine<P>,
    chunk: &Chunk,
    prepared: &P::Prepared,
    open: Open<'a>,
    ready: Ready,
    permit: OwnedSemaphorePermit,
) -> Landed<'a> {
    let target = &chunk.targets[open.index];
    let _stream = engine.meters.streams.hold();
    let began = Instant::now();
    let span = chunk.trace.call(engine.shared.ledger.platform(), chunk, open);
    let message = Message {
        device: &target.device,
        token: &target.token,
        p256dh: &target.p256dh,
        auth: &target.auth,
        environment: target.environment,
        // The alphabet of references is ASCII.
        reference: std::str::from_utf8(&ready.reference).unwrap_or_default(),
        body: ready.body,
        time_left: ready.time_left,
        span: span.clone(),
    };
    let send = span.around(engine.shared.provider.send(prepared, message));
    let sent = timeout(engine.shared.bounds.send_timeout, AssertUnwindSafe(send).catch_unwind()).await;
    drop(permit);
    let verdict = match sent {
        Ok(Ok(verdict)) => Some(verdict),
        Ok(Err(_)) => None,
        Err(_) => Some(Verdict::Unknown),
    };
    if let Some(verdict) = &verdict {
        span.close(verdict);
    }
    Landed { open, verdict, took: began.elapsed() }
}

/// A message that is not under way any more.
pub(crate) struct Landed<'a> {
    pub(crate) open: Open<'a>,
    /// Nothing if the provider's code panicked.
    pub(crate) verdict: Option<Verdict>,
    pub(crate) took: Duration,
}

/// Good enough to keep retries apart; failures only.
pub(crate) fn random() -> u32 {
    Uuid::new_v4().as_u128() as u32
}
