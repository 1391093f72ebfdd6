//! Making the broker agree with the topology.

use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ErrorKind};
use tokio::time::timeout;

use crate::link::{STEP, StepError, step};
use crate::topology::{DELIVERY_LIMIT, Exchange, ExchangeKind, QueueSpec, Topology};

/// For the whole of it: a broker that creates all quorum queues anew takes some tens of milliseconds for each.
const WHOLE: Duration = Duration::from_secs(60);
/// 3.10 refuses -1 for "no limit", 4.x takes 20 when nothing is said.
const NO_LIMIT: i64 = 1_000_000_000;

/// Declares everything. What exists is left as it is: a queue with other arguments (an older release made it) or one that
/// this user may not declare is used as it stands, with a word in the log.
pub(crate) async fn declare(connection: &Connection, topology: &Topology) -> Result<(), StepError> {
    timeout(WHOLE, all(connection, topology)).await.map_err(|_| StepError::Late("declaring the topology"))?
}

async fn all(connection: &Connection, topology: &Topology) -> Result<(), StepError> {
    let mut channel = step("opening a channel", connection.create_channel()).await?;
    for entry in entries(topology) {
        match declare_entry(&channel, topology, entry).await {
            Ok(()) => {}
            Err(StepError::Amqp(_, error)) if is_refusal(&error) => {
                tracing::error!(broker.entry = entry.name(), %error, "the broker refuses a declaration; what is there is used");
                // The refusal closed the channel.
                channel = step("opening a channel", connection.create_channel()).await?;
            }
            Err(error) => return Err(error),
        }
    }
    let _ = timeout(STEP, channel.close(200, "".into())).await;
    Ok(())
}

/// One declaration; exchanges come before the queues that are bound to them.
#[derive(Clone, Copy)]
enum Entry<'a> {
    Exchange(&'a Exchange),
    Queue(&'a QueueSpec),
    Bind { queue: &'a str, exchange: &'a str, key: &'a str },
}

impl<'a> Entry<'a> {
    fn name(&self) -> &'a str {
        match self {
            Self::Exchange(exchange) => exchange.name,
            Self::Queue(queue) => queue.name,
            Self::Bind { queue, .. } => queue,
        }
    }
}

fn entries(topology: &Topology) -> impl Iterator<Item = Entry<'_>> {
    let net = Entry::Bind { queue: topology.unroutable, exchange: topology.unroutable, key: "" };
    let binds = topology.queues.iter().flat_map(|queue| {
        queue.bindings.iter().map(|bind| Entry::Bind { queue: queue.name, exchange: bind.exchange, key: bind.key })
    });
    topology
        .exchanges
        .iter()
        .map(Entry::Exchange)
        .chain(topology.queues.iter().map(Entry::Queue))
        .chain(std::iter::once(net))
        .chain(binds)
}

async fn declare_entry(channel: &Channel, topology: &Topology, entry: Entry<'_>) -> Result<(), StepError> {
    match entry {
        Entry::Exchange(exchange) => {
            let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            let mut arguments = FieldTable::default();
            if let Some(alternate) = exchange.alternate {
                arguments.insert("alternate-exchange".into(), text(alternate));
            }
            let declaring = channel.exchange_declare(exchange.name.into(), kind(exchange.kind), options, arguments);
            step("declaring an exchange", declaring).await
        }
        Entry::Queue(queue) => {
            let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            let declaring = channel.queue_declare(queue.name.into(), options, queue_arguments(queue, topology));
            step("declaring a queue", declaring).await.map(drop)
        }
        Entry::Bind { queue, exchange, key } => {
            let binding = channel.queue_bind(
                queue.into(),
                exchange.into(),
                key.into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            );
            step("binding a queue", binding).await
        }
    }
}

fn queue_arguments(queue: &QueueSpec, topology: &Topology) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    if queue.net {
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(i64::from(DELIVERY_LIMIT)));
        arguments.insert("x-dead-letter-exchange".into(), text(""));
        arguments.insert("x-dead-letter-routing-key".into(), text(topology.parked));
        arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        arguments.insert("x-overflow".into(), text("reject-publish"));
    } else {
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(NO_LIMIT));
    }
    arguments
}

fn kind(kind: ExchangeKind) -> lapin::ExchangeKind {
    match kind {
        ExchangeKind::Direct => lapin::ExchangeKind::Direct,
        ExchangeKind::Topic => lapin::ExchangeKind::Topic,
        ExchangeKind::Fanout => lapin::ExchangeKind::Fanout,
    }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

/// 403 and 406: the broker understood and will not. Trying again would change nothing.
fn is_refusal(error: &lapin::Error) -> bool {
    let ErrorKind::ProtocolError(error) = error.kind() else { return false };
    matches!(error.get_id(), 403 | 406)
}
