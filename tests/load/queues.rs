//! Queues as the floors use them: a bare channel with confirms, and nothing around it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use carillon_broker::Broker;
use carillon_runtime::CancellationToken;
use carillon_wire::topology;
use futures::StreamExt as _;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions, QueueDeclareOptions,
    QueuePurgeOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

/// Messages that may wait for their confirm.
const WINDOW: usize = 256;
const PATIENCE: Duration = Duration::from_secs(60);

/// Every queue that the bench's services read.
pub(crate) const ALL: [&str; 6] = [
    topology::RUNS_TRANSACTIONAL.name(),
    topology::RUNS_BULK.name(),
    topology::APNS_TRANSACTIONAL.name(),
    topology::APNS_BULK.name(),
    topology::FCM_TRANSACTIONAL.name(),
    topology::FCM_BULK.name(),
];

/// Our own client, with the topology declared.
pub(crate) async fn broker(url: &str) -> Result<Broker> {
    let config = carillon_broker::Config::new(url.to_owned());
    let broker = Broker::connect(&config, "bench", topology::topology(), CancellationToken::new())?;
    let mut status = broker.status();
    tokio::time::timeout(PATIENCE, status.wait_for(|status| status.accepts() && status.consuming))
        .await
        .context("the broker is not there")??;
    Ok(broker)
}

/// A bare channel in confirm mode.
pub(crate) struct Bare {
    channel: Channel,
    _connection: Connection,
}

impl Bare {
    pub(crate) async fn open(url: &str) -> Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { channel, _connection: connection })
    }

    /// A quorum queue of the bench's own, bound to nothing.
    pub(crate) async fn declare(&self, queue: &str) -> Result<()> {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), lapin::types::AMQPValue::LongString("quorum".into()));
        self.channel.queue_declare(queue.into(), options, arguments).await?;
        Ok(())
    }

    /// Removes what is in a queue.
    pub(crate) async fn purge(&self, queue: &str) -> Result<()> {
        self.channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await?;
        Ok(())
    }

    /// Messages that wait in a queue.
    pub(crate) async fn depth(&self, queue: &str) -> Result<u64> {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = self.channel.queue_declare(queue.into(), options, FieldTable::default()).await?;
        Ok(queue.message_count().into())
    }

    /// Publishes all, persistent and mandatory, and awaits every confirm.
    #[allow(clippy::disallowed_methods, reason = "it feeds a queue that a service reads, and is none")]
    pub(crate) async fn publish(&self, exchange: &str, key: &str, bodies: &[Bytes]) -> Result<()> {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let mut unconfirmed = std::collections::VecDeque::with_capacity(WINDOW);
        for body in bodies {
            if unconfirmed.len() == WINDOW
                && let Some(confirm) = unconfirmed.pop_front()
            {
                confirmed(confirm).await?;
            }
            let properties = BasicProperties::default().with_delivery_mode(2);
            unconfirmed
                .push_back(self.channel.basic_publish(exchange.into(), key.into(), options, body, properties).await?);
        }
        for confirm in unconfirmed {
            confirmed(confirm).await?;
        }
        Ok(())
    }

    /// Reads a queue; every message is acknowledged by whoever takes it.
    pub(crate) async fn consume(&self, queue: &str, prefetch: u16) -> Result<lapin::Consumer> {
        self.channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions::default();
        let consuming = self.channel.basic_consume(queue.into(), queue.into(), options, FieldTable::default());
        consuming.await.map_err(Into::into)
    }

    /// Ends what [`Self::consume`] began.
    pub(crate) async fn cancel(&self, queue: &str) -> Result<()> {
        self.channel.basic_cancel(queue.into(), Default::default()).await.map_err(Into::into)
    }

    /// Takes `count` messages out of a queue that nobody fills meanwhile: what comes on top of them is gone.
    pub(crate) async fn take(&self, queue: &str, count: u64) -> Result<Vec<Vec<u8>>> {
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consuming = self.channel.basic_consume(queue.into(), "bench".into(), options, FieldTable::default());
        let mut consumer = consuming.await?;
        let mut bodies = Vec::new();
        while (bodies.len() as u64) < count {
            let next = tokio::time::timeout(PATIENCE, consumer.next()).await;
            let delivery = next.with_context(|| format!("{} of {count} messages", bodies.len()))?;
            bodies.push(delivery.context("the consumer was cancelled")??.data);
        }
        self.channel.basic_cancel("bench".into(), Default::default()).await?;
        Ok(bodies)
    }
}

async fn confirmed(confirm: lapin::PublisherConfirm) -> Result<()> {
    let confirmation = tokio::time::timeout(PATIENCE, confirm).await.context("no confirm")??;
    ensure!(confirmation.is_ack(), "a message was refused");
    Ok(())
}
