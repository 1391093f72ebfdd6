//! One message, from its bytes to the moment when it may be acknowledged.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::FutureExt;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::event::{DecodeError, Event};
use crate::gate::{Gate, Shut};
use crate::handler::{Effects, Handler};
use crate::message::Delivery;
use crate::parked::{Reason, park};
use crate::publisher::{PublishError, Publisher};

/// How long what a message led to is published although the message itself is handed out to somebody else by now: it follows from what is
/// committed, and whoever handles the message again may find nothing left to do.
const OWED: Duration = Duration::from_secs(30);

/// What all messages of one consumer share.
pub(crate) struct Bench<H> {
    pub(crate) handler: H,
    pub(crate) queue: &'static str,
    pub(crate) parked: &'static str,
    pub(crate) publisher: Publisher,
    pub(crate) gate: Gate,
    pub(crate) handler_timeout: Duration,
    pub(crate) stop: CancellationToken,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything is done and confirmed.
    Done,
    /// Somebody else will do it: the connection is gone, or the process drains during a fault.
    Abandoned,
}

/// A reason to give up on a message for now.
struct Abandon;

/// What one call of the handler came to.
enum Call {
    Effects(Effects),
    Fault(String),
    Park(Reason, String),
}

/// Handles one message to its end.
pub(crate) async fn work<E: Event, H: Handler<E>>(bench: Arc<Bench<H>>, delivery: Delivery, body: Bytes) -> Outcome {
    match bench.run::<E>(&delivery, body).await {
        Ok(()) => Outcome::Done,
        Err(Abandon) => Outcome::Abandoned,
    }
}

impl<H> Bench<H> {
    async fn run<E: Event>(&self, delivery: &Delivery, body: Bytes) -> Result<(), Abandon>
    where
        H: Handler<E>,
    {
        let mut pause = Pause::new(&self.gate, &self.stop, &delivery.lost, Duration::ZERO);
        let effects = loop {
            match self.call::<E>(delivery, &body).await {
                Call::Effects(effects) => break effects,
                Call::Fault(why) => {
                    if pause.backoff.is_worth_telling() {
                        tracing::warn!(messaging.queue = self.queue, %why, "fault");
                    }
                    pause.take().await?;
                }
                Call::Park(reason, detail) => return self.park(delivery, body, reason, &detail).await,
            }
        };
        drop(pause);
        match self.publish(effects, delivery, OWED).await? {
            None => Ok(()),
            Some(error) => self.park(delivery, body, Reason::Effect, &error.to_string()).await,
        }
    }

    /// Decodes (each time anew: events need not be cloneable) and calls the handler once.
    async fn call<E: Event>(&self, delivery: &Delivery, body: &[u8]) -> Call
    where
        H: Handler<E>,
    {
        let event = match decode::<E>(body) {
            Ok(Ok(event)) => event,
            Ok(Err(error)) => return Call::Park(Reason::Undecodable, error.to_string()),
            Err(Panicked) => return Call::Park(Reason::Panicked, "while decoding".to_owned()),
        };
        match timeout(self.handler_timeout, caught(self.handler.handle(event, delivery))).await {
            Ok(Ok(Ok(effects))) => Call::Effects(effects),
            Ok(Ok(Err(fault))) => Call::Fault(with_causes(&fault)),
            // What the panic said may quote the message; where it happened is in the panic hook's line.
            Ok(Err(Panicked)) => Call::Park(Reason::Panicked, String::new()),
            Err(_) => Call::Fault("the handler outlasted its time and was cut".to_owned()),
        }
    }

    /// Publishes until everything is confirmed, for `owed` after the delivery was lost. Returns the error of a message that can never be
    /// published.
    async fn publish(
        &self,
        effects: Effects,
        delivery: &Delivery,
        owed: Duration,
    ) -> Result<Option<PublishError>, Abandon> {
        let mut left = effects;
        let mut pause = Pause::new(&self.gate, &self.stop, &delivery.lost, owed);
        while !left.is_empty() {
            let results = self.publisher.publish_all(left.clone()).await;
            let mut again = Vec::new();
            for (outgoing, result) in left.into_iter().zip(results) {
                match result {
                    Ok(()) => {}
                    Err(error) if !error.is_retryable() => return Ok(Some(error)),
                    Err(error) => {
                        if again.is_empty() && pause.backoff.is_worth_telling() {
                            tracing::warn!(messaging.queue = self.queue, message.id = outgoing.id(), %error, "not confirmed");
                        }
                        let known = !matches!(error, PublishError::Unknown(_));
                        again.push(if known { outgoing } else { outgoing.again() });
                    }
                }
            }
            left = again;
            if !left.is_empty() {
                pause.take().await?;
            }
        }
        Ok(None)
    }

    async fn park(&self, delivery: &Delivery, body: Bytes, reason: Reason, detail: &str) -> Result<(), Abandon> {
        tracing::error!(
            messaging.queue = self.queue,
            message.id = delivery.message_id.as_deref().unwrap_or(""),
            reason = reason.as_str(),
            "message parked"
        );
        let outgoing = park(self.parked, self.queue, delivery, body, reason, detail, unix_seconds());
        match self.publish(vec![outgoing], delivery, Duration::ZERO).await? {
            None => Ok(()),
            // Cannot be: it came through the broker, so its properties fit. Left to the delivery limit.
            Some(_) => Err(Abandon),
        }
    }
}

/// The waits of one message between attempts; the consumer takes nothing new from the first one to the last.
struct Pause<'a> {
    gate: &'a Gate,
    stop: &'a CancellationToken,
    lost: &'a CancellationToken,
    /// How long the message is still worked on once its delivery is lost, and until when that is.
    owed: Duration,
    until: Option<Instant>,
    backoff: Backoff,
    shut: Option<Shut>,
}

impl<'a> Pause<'a> {
    fn new(gate: &'a Gate, stop: &'a CancellationToken, lost: &'a CancellationToken, owed: Duration) -> Self {
        Self { gate, stop, lost, owed, until: None, backoff: Backoff::default(), shut: None }
    }

    async fn take(&mut self) -> Result<(), Abandon> {
        if self.shut.is_none() {
            self.shut = Some(self.gate.shut());
        }
        if self.lost.is_cancelled() && *self.until.get_or_insert_with(|| Instant::now() + self.owed) <= Instant::now() {
            return Err(Abandon);
        }
        tokio::select! {
            biased;
            () = self.lost.cancelled(), if self.owed.is_zero() => Err(Abandon),
            () = self.stop.cancelled() => Err(Abandon),
            () = tokio::time::sleep(self.backoff.next()) => Ok(()),
        }
    }
}

/// An error and what caused it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

struct Panicked;

fn decode<E: Event>(body: &[u8]) -> Result<Result<E, DecodeError>, Panicked> {
    std::panic::catch_unwind(AssertUnwindSafe(|| E::decode(body))).map_err(|_| Panicked)
}

/// The handler keeps nothing across a panic that it shares with this shell but itself, and it is `Sync`.
async fn caught<T>(handling: impl Future<Output = T>) -> Result<T, Panicked> {
    AssertUnwindSafe(handling).catch_unwind().await.map_err(|_| Panicked)
}

#[allow(clippy::disallowed_methods, reason = "a stamp for the operator's eyes; nothing is decided by it")]
fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
