//! For operators: how full the queues are, what is parked, and sending it back.

use std::sync::Arc;

use bytes::Bytes;
use lapin::message::BasicGetMessage;
use lapin::options::{BasicGetOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::door;
use crate::link::{STEP, StepError, step};
use crate::message::Delivery;
use crate::parked::{ParkedMessage, read, replayed};
use crate::publisher::Publisher;
use crate::topology::Topology;

/// The broker could not be asked.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct InspectError(String);

impl From<StepError> for InspectError {
    fn from(error: StepError) -> Self {
        Self(error.to_string())
    }
}

/// How full a queue is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueCount {
    /// The queue's name.
    pub queue: String,
    /// Messages that wait to be handed out; None if the queue does not exist. What is handed out and unacknowledged is not in it.
    pub ready: Option<u32>,
    /// Consumers of all processes.
    pub consumers: u32,
}

/// Which parked messages are meant; what is None is not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParkedFilter {
    /// Only from this queue.
    pub origin: Option<String>,
    /// Only this message.
    pub message_id: Option<String>,
}

impl ParkedFilter {
    fn admits(&self, message: &ParkedMessage) -> bool {
        let is = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        is(&self.origin, &message.origin) && is(&self.message_id, &message.message_id)
    }
}

/// What came of a replay or of discarding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Left the parked queue.
    pub moved: usize,
    /// Looked at and left where they are: not meant, of unknown origin, or not taken by their queue.
    pub left: usize,
}

/// Looks at queues without changing them, and moves parked messages.
#[derive(Clone)]
pub struct Inspector {
    topology: Arc<Topology>,
    connections: watch::Receiver<Option<Arc<Connection>>>,
    publisher: Publisher,
}

impl Inspector {
    pub(crate) fn new(
        topology: Arc<Topology>,
        connections: watch::Receiver<Option<Arc<Connection>>>,
        publisher: Publisher,
    ) -> Self {
        Self { topology, connections, publisher }
    }

    /// Counts every queue of the topology.
    ///
    /// # Errors
    /// If there is no connection for 10 seconds or the broker does not answer.
    pub async fn queues(&self) -> Result<Vec<QueueCount>, InspectError> {
        let mut counts = Vec::new();
        let mut channel = self.channel().await?;
        for name in self.topology.queue_names() {
            let options = QueueDeclareOptions { passive: true, durable: true, ..QueueDeclareOptions::default() };
            let asking = channel.queue_declare(name.into(), options, FieldTable::default());
            let (ready, consumers) = match step("counting", asking).await {
                Ok(queue) => (Some(queue.message_count()), queue.consumer_count()),
                Err(StepError::Amqp(_, error)) if error.is_amqp_soft_error() => {
                    // The refusal closed the channel.
                    channel = self.channel().await?;
                    (None, 0)
                }
                Err(error) => return Err(error.into()),
            };
            counts.push(QueueCount { queue: name.to_owned(), ready, consumers });
        }
        close(&channel).await;
        Ok(counts)
    }

    /// The oldest parked messages, at most `limit`. They stay where they are; while they are looked at nobody else sees them.
    ///
    /// # Errors
    /// If there is no connection for 10 seconds or the broker does not answer.
    pub async fn parked(&self, limit: usize) -> Result<Vec<ParkedMessage>, InspectError> {
        let channel = self.channel().await?;
        let mut messages = Vec::new();
        while messages.len() < limit {
            let Some(got) = self.get(&channel).await? else { break };
            messages.push(describe(&got).1);
        }
        give_back(&channel).await;
        Ok(messages)
    }

    /// Sends parked messages back to the queues they came from, each acknowledged only when its queue has confirmed it.
    /// Looks at no more than `limit` messages, and at none that is parked after it began: what cannot be handled comes back to the
    /// end of the parked queue, and is not sent round again.
    ///
    /// # Errors
    /// If the broker stops answering midway; what was not moved is still parked.
    pub async fn replay(&self, filter: &ParkedFilter, limit: usize) -> Result<Moved, InspectError> {
        self.each(filter, limit, async |delivery, message, body| {
            let Some(origin) = &message.origin else { return Ok(false) };
            match self.publisher.publish(replayed(origin, delivery, body)).await {
                Ok(()) => Ok(true),
                Err(error) => {
                    tracing::warn!(messaging.queue = %origin, %error, "a parked message is not taken back");
                    Ok(false)
                }
            }
        })
        .await
    }

    /// Drops parked messages for good. Looks at no more than `limit` messages, and at none that is parked after it began.
    ///
    /// # Errors
    /// If the broker stops answering midway; what was not dropped is still parked.
    pub async fn discard(&self, filter: &ParkedFilter, limit: usize) -> Result<Moved, InspectError> {
        self.each(filter, limit, async |_, _, _| Ok(true)).await
    }

    /// Takes messages one by one; `act` says whether one is to leave the queue.
    async fn each(
        &self,
        filter: &ParkedFilter,
        limit: usize,
        act: impl AsyncFn(&Delivery, &ParkedMessage, Bytes) -> Result<bool, InspectError>,
    ) -> Result<Moved, InspectError> {
        let channel = self.channel().await?;
        let mut moved = Moved::default();
        let mut limit = limit;
        while moved.moved + moved.left < limit {
            let Some(got) = self.get(&channel).await? else { break };
            if moved == Moved::default() {
                // The queue is first in, first out: these are the ones that were there at the beginning.
                limit = limit.min(usize::try_from(got.message_count).unwrap_or(usize::MAX).saturating_add(1));
            }
            let (delivery, message) = describe(&got);
            let tag = got.delivery.delivery_tag;
            if filter.admits(&message) && act(&delivery, &message, Bytes::from(got.delivery.data)).await? {
                door::acknowledge(channel.clone(), tag, false).await?;
                moved.moved += 1;
            } else {
                moved.left += 1;
            }
        }
        give_back(&channel).await;
        Ok(moved)
    }

    async fn channel(&self) -> Result<Channel, InspectError> {
        let mut connections = self.connections.clone();
        let connection = match timeout(STEP, connections.wait_for(Option::is_some)).await {
            Ok(Ok(connection)) => connection.clone(),
            _ => None,
        };
        let connection = connection.ok_or_else(|| InspectError("the broker is not reachable".to_owned()))?;
        Ok(step("opening a channel", connection.create_channel()).await?)
    }

    async fn get(&self, channel: &Channel) -> Result<Option<BasicGetMessage>, InspectError> {
        let getting = channel.basic_get(self.topology.parked.into(), BasicGetOptions::default());
        Ok(step("reading the parked queue", getting).await?)
    }
}

fn describe(got: &BasicGetMessage) -> (Delivery, ParkedMessage) {
    let message = &got.delivery;
    let delivery = Delivery::read(
        &message.properties,
        &message.exchange,
        &message.routing_key,
        message.redelivered,
        tokio_util::sync::CancellationToken::new(),
    );
    let parked = read(&delivery, &message.properties, &message.data);
    (delivery, parked)
}

/// Everything still unacknowledged goes back to its place in the queue. If that fails, the end of the channel does it.
async fn give_back(channel: &Channel) {
    let _ = door::give_back(channel.clone(), 0, true).await;
    close(channel).await;
}

async fn close(channel: &Channel) {
    let _ = timeout(STEP, channel.close(200, "".into())).await;
}
