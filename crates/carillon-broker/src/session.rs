//! One channel with one consumer on it, from `basic.consume` to its end.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::acks::{Ack, Unacked};
use crate::consumer::Workers;
use crate::door;
use crate::event::Event;
use crate::handler::Handler;
use crate::link::{StepError, step};
use crate::message::Delivery;
use crate::work::Outcome;

/// How long a finished message may wait for others to be acknowledged with it.
const ACK_DELAY: Duration = Duration::from_millis(5);
/// For a step of the goodbye that the broker does not answer.
const GOODBYE: Duration = Duration::from_secs(2);
/// Most finished messages that wait.
const ACK_BATCH: usize = 64;

/// How a session ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The process drains and everything is settled or given back.
    Drained,
    /// The channel or the connection is gone.
    Lost {
        why: String,
        /// Whether anything was delivered: then the next attempt need not wait long.
        worked: bool,
    },
}

type Writing = FuturesUnordered<Pin<Box<dyn Future<Output = Result<(), StepError>> + Send>>>;

/// A consumer on a channel of its own.
pub(crate) struct Session {
    number: u64,
    channel: Channel,
    stream: lapin::Consumer,
    unacked: Unacked,
    /// Acknowledgements on their way; awaited together, never one by one.
    writing: Writing,
    ack_at: Option<Instant>,
    batch: usize,
    worked: bool,
    lost: CancellationToken,
    /// Tells the handlers when this session is over, however it ends.
    _over: DropGuard,
}

impl Session {
    pub(crate) async fn open(
        connection: &Connection,
        queue: &str,
        prefetch: u16,
        number: u64,
    ) -> Result<Self, StepError> {
        let channel = step("opening a channel", connection.create_channel()).await?;
        step("setting the prefetch", channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
        let consuming =
            channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
        let stream = step("consuming", consuming).await?;
        let lost = CancellationToken::new();
        Ok(Self {
            number,
            channel,
            stream,
            unacked: Unacked::default(),
            writing: Writing::new(),
            ack_at: None,
            batch: ACK_BATCH.min(usize::from(prefetch).div_ceil(4)),
            worked: false,
            _over: lost.clone().drop_guard(),
            lost,
        })
    }

    /// Hands messages to the workers and acknowledges what they finish.
    pub(crate) async fn run<E: Event, H: Handler<E>>(
        mut self,
        workers: &mut Workers<E, H>,
        stop: &CancellationToken,
        grace: Duration,
    ) -> Ended {
        let mut faults = workers.faults();
        loop {
            let open = *faults.borrow_and_update();
            tokio::select! {
                biased;
                () = stop.cancelled() => return self.drain(workers, grace).await,
                Some(written) = self.writing.next(), if !self.writing.is_empty() => {
                    if let Err(error) = written {
                        return self.ended(error.to_string());
                    }
                }
                finished = workers.finished() => {
                    self.settle(finished);
                    self.acknowledge_if_due(workers.is_idle());
                }
                () = due(self.ack_at) => self.acknowledge(),
                _ = faults.changed() => {}
                next = self.stream.next(), if workers.may_start(open) => match next {
                    Some(Ok(message)) => self.start(message, workers),
                    Some(Err(error)) => return self.ended(error.to_string()),
                    None => return self.ended("the broker cancelled the consumer".to_owned()),
                },
                // While nothing may start the stream is not read, so the channel's state is looked at instead.
                () = tokio::time::sleep(Duration::from_millis(250)), if !workers.may_start(open) => {
                    if !self.channel.status().connected() {
                        return self.ended("the channel is closed".to_owned());
                    }
                }
            }
        }
    }

    fn ended(&self, why: String) -> Ended {
        Ended::Lost { why, worked: self.worked }
    }

    fn start<E: Event, H: Handler<E>>(&mut self, message: lapin::message::Delivery, workers: &mut Workers<E, H>) {
        self.worked = true;
        self.unacked.delivered(message.delivery_tag);
        let delivery = Delivery::read(
            &message.properties,
            &message.exchange,
            &message.routing_key,
            message.redelivered,
            self.lost.clone(),
        );
        workers.start(self.number, message.delivery_tag, delivery, Bytes::from(message.data));
    }

    /// Takes note of a finished message. Those of earlier sessions are out again already.
    fn settle(&mut self, finished: Option<(u64, u64, Outcome)>) {
        match finished {
            Some((session, tag, Outcome::Done)) if session == self.number => self.unacked.done(tag),
            Some((session, tag, Outcome::Abandoned)) if session == self.number => self.give_back(tag),
            _ => {}
        }
    }

    /// At once when there is nothing to wait for, else together with what finishes in the next few milliseconds.
    fn acknowledge_if_due(&mut self, idle: bool) {
        if self.unacked.waiting() == 0 {
            return;
        }
        if idle || self.unacked.waiting() >= self.batch {
            self.acknowledge();
        } else if self.ack_at.is_none() {
            self.ack_at = Some(Instant::now() + ACK_DELAY);
        }
    }

    fn acknowledge(&mut self) {
        self.ack_at = None;
        for Ack { tag, multiple } in self.unacked.take() {
            self.writing.push(Box::pin(door::acknowledge(self.channel.clone(), tag, multiple)));
        }
    }

    fn give_back(&mut self, tag: u64) {
        self.unacked.returned(tag);
        self.writing.push(Box::pin(door::give_back(self.channel.clone(), tag, false)));
    }

    /// No new messages; what was delivered and not started goes back at once; what is in work gets the grace; then the rest
    /// goes back with the channel's end.
    async fn drain<E: Event, H: Handler<E>>(mut self, workers: &mut Workers<E, H>, grace: Duration) -> Ended {
        let deadline = Instant::now() + grace;
        let cancelling = self.channel.basic_cancel(self.stream.tag(), BasicCancelOptions::default());
        let _ = timeout(GOODBYE, cancelling).await;
        while let Some(Some(Ok(message))) = self.stream.next().now_or_never() {
            self.give_back(message.delivery_tag);
        }
        while !workers.is_idle() {
            tokio::select! {
                biased;
                Some(_) = self.writing.next(), if !self.writing.is_empty() => {}
                finished = workers.finished() => {
                    self.settle(finished);
                    self.acknowledge_if_due(workers.is_idle());
                }
                () = due(self.ack_at) => self.acknowledge(),
                () = sleep_until(deadline) => {
                    tracing::warn!("the grace is over; messages in work go back to the broker");
                    workers.abort().await;
                }
            }
        }
        self.acknowledge();
        let _ = timeout(GOODBYE, async { while self.writing.next().await.is_some() {} }).await;
        let _ = timeout(GOODBYE, self.channel.close(200, "".into())).await;
        Ended::Drained
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
