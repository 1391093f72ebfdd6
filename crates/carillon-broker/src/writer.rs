//! The task that owns the publishing connection and its one channel.
//!
//! One task, because lapin numbers a message and queues its frames in two steps: two tasks on one channel could swap them,
//! and a confirm would be taken for another message's.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use lapin::message::BasicReturnMessage;
use lapin::options::ConfirmSelectOptions;
use lapin::{Channel, Confirmation};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::config::Config;
use crate::declare::declare;
use crate::door::{Sending, publish};
use crate::inflight::InFlight;
use crate::link::{Link, LinkEvent, STEP, StepError, step};
use crate::publisher::{PublishError, Request};
use crate::status::StatusBoard;
use crate::topology::Topology;
use crate::waiting::Waiting;

const BATCH: usize = 64;
/// A queue that went missing is declared again, but not more often than this.
const HEAL_EVERY: Duration = Duration::from_secs(1);

type Confirming = FuturesUnordered<Pin<Box<dyn Future<Output = (u64, lapin::Result<Confirmation>)> + Send>>>;

/// Everything the task needs.
pub(crate) struct Writer {
    pub(crate) config: Config,
    pub(crate) name: String,
    pub(crate) topology: Arc<Topology>,
    pub(crate) status: StatusBoard,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) closing: CancellationToken,
}

/// How a connection's time ended.
enum End {
    Closed,
    Lost(String),
}

impl Writer {
    /// Connects, publishes, reconnects, until it is told to close and everything handed over is answered.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut waiting = Waiting::new(self.config.confirm_timeout());
        loop {
            let Some(opened) = self.open(&mut waiting).await else { return };
            match opened {
                Ok((link, channel)) => {
                    tracing::info!("publishing connection is up");
                    self.status.set(|status| (status.publishing, status.blocked) = (true, false));
                    waiting.connected();
                    backoff.reset();
                    let end = self.serve(link, channel, &mut waiting).await;
                    self.status.set(|status| (status.publishing, status.blocked) = (false, false));
                    match end {
                        End::Closed => return,
                        End::Lost(why) => tracing::warn!(%why, "publishing connection is lost"),
                    }
                    waiting.disconnected();
                }
                Err(error) if backoff.is_worth_telling() => tracing::warn!(%error, "no publishing connection"),
                Err(error) => tracing::debug!(%error, "no publishing connection"),
            }
            let pause = backoff.next();
            if self.while_away(&mut waiting, tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// Opens the connection; None if the task is to end.
    async fn open(&mut self, waiting: &mut Waiting) -> Option<Result<(Link, Channel), StepError>> {
        let (config, name, topology) = (self.config.clone(), self.name.clone(), Arc::clone(&self.topology));
        let opening = async move {
            let link = Link::open(&config, &name, &topology).await?;
            let channel = step("opening a channel", link.connection.create_channel()).await?;
            step("asking for confirms", channel.confirm_select(ConfirmSelectOptions::default())).await?;
            Ok((link, channel))
        };
        self.while_away(waiting, opening).await
    }

    /// Runs `doing` while there is no connection, and answers callers whose patience ends. None if the task is to end.
    async fn while_away<T>(&mut self, waiting: &mut Waiting, doing: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(doing);
        loop {
            let next = waiting.next_deadline();
            tokio::select! {
                done = &mut doing => return Some(done),
                request = self.requests.recv(), if !self.closing.is_cancelled() => match request {
                    Some(request) => waiting.push(request),
                    None => return None,
                },
                () = sleep_until_some(next) => waiting.expire(Instant::now()),
                () = self.closing.cancelled() => {
                    self.requests.close();
                    while let Ok(request) = self.requests.try_recv() {
                        let _ = request.answer.send(Err(PublishError::Closed));
                    }
                    waiting.fail_all(&PublishError::Closed);
                    return None;
                }
            }
        }
    }

    /// Publishes over one connection until it ends.
    async fn serve(&mut self, mut link: Link, channel: Channel, waiting: &mut Waiting) -> End {
        let mut confirming = Confirming::new();
        let mut in_flight = InFlight::new(self.config.confirm_timeout());
        let mut batch = Vec::with_capacity(BATCH);
        let (mut blocked, mut closing) = (false, false);
        let mut healed = Instant::now();
        for request in waiting.drain() {
            confirming.push(send(&channel, in_flight.add(request)));
        }
        let end = loop {
            if closing && in_flight.is_empty() {
                break End::Closed;
            }
            tokio::select! {
                biased;
                event = link.event() => match event {
                    LinkEvent::Lost(why) => break End::Lost(why),
                    LinkEvent::Blocked => {
                        blocked = true;
                        tracing::warn!("the broker takes no messages: it is short of memory or disk");
                        self.status.set(|status| status.blocked = true);
                    }
                    LinkEvent::Unblocked => {
                        blocked = false;
                        self.status.set(|status| status.blocked = false);
                        for request in waiting.drain() {
                            confirming.push(send(&channel, in_flight.add(request)));
                        }
                    }
                },
                Some(first) = confirming.next(), if !confirming.is_empty() => {
                    match settle(first, &mut confirming, &mut in_flight) {
                        Ok(0) => {}
                        Ok(_) if healed.elapsed() < HEAL_EVERY => {}
                        Ok(_) => {
                            healed = Instant::now();
                            let healing = timeout(STEP, declare(&link.connection, &self.topology));
                            if !matches!(healing.await, Ok(Ok(()))) {
                                break End::Lost("the topology cannot be declared".to_owned());
                            }
                        }
                        Err(why) => break End::Lost(why),
                    }
                }
                count = self.requests.recv_many(&mut batch, BATCH), if !closing => {
                    closing = count == 0;
                    let alive = channel.status().connected();
                    for request in batch.drain(..) {
                        if blocked || !alive {
                            waiting.push(request);
                        } else {
                            confirming.push(send(&channel, in_flight.add(request)));
                        }
                    }
                    if !alive {
                        break End::Lost("the channel is closed".to_owned());
                    }
                }
                () = sleep_until_some(in_flight.next_deadline()) => {
                    // A blocked connection is alive, so it stays; the late confirms of these will find nobody.
                    in_flight.fail_all("no confirm in time");
                    if !blocked {
                        break End::Lost("no confirm in time".to_owned());
                    }
                }
                () = sleep_until_some(waiting.next_deadline()) => waiting.expire(Instant::now()),
                () = self.closing.cancelled(), if !closing => self.requests.close(),
            }
        };
        let why = if let End::Lost(why) = &end { why } else { "closed" };
        in_flight.fail_all(why);
        if matches!(end, End::Closed) {
            waiting.fail_all(&PublishError::Closed);
        }
        drop((confirming, channel));
        link.close().await;
        end
    }
}

/// Takes every confirm that has come. Returns how many messages came back unroutable, or why the channel is no good.
///
/// A returned message rides on whatever confirm lapin resolves first, never on one later than its own; so all that is ready
/// is collected before anything is answered, and a return is matched by the message's id.
fn settle(
    first: (u64, lapin::Result<Confirmation>),
    confirming: &mut Confirming,
    in_flight: &mut InFlight,
) -> Result<usize, String> {
    let mut ready = vec![first];
    while let Some(Some(next)) = confirming.next().now_or_never() {
        ready.push(next);
    }
    let mut broken = None;
    let mut taken = Vec::with_capacity(ready.len());
    let mut returned = 0;
    for (number, result) in ready {
        match result {
            Ok(confirmation) => {
                let stored = confirmation.is_ack();
                if let Some(id) = confirmation.take_message().and_then(returned_id) {
                    returned += in_flight.unroutable(&id);
                }
                taken.push((number, stored));
            }
            Err(error) => broken = Some(error.to_string()),
        }
    }
    for (number, stored) in taken {
        in_flight.confirm(number, if stored { Ok(()) } else { Err(PublishError::Refused) });
    }
    broken.map_or(Ok(returned), Err)
}

fn returned_id(message: BasicReturnMessage) -> Option<String> {
    message.delivery.properties.message_id().as_ref().map(|id| id.as_str().to_owned())
}

/// The message's whole way through the channel, under its number.
fn send(
    channel: &Channel,
    (number, outgoing): (u64, Sending),
) -> Pin<Box<dyn Future<Output = (u64, lapin::Result<Confirmation>)> + Send>> {
    let channel = channel.clone();
    Box::pin(async move { (number, publish(channel, outgoing).await) })
}

async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
