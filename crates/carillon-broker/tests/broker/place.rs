//! A corner of the broker for one test, and the events and handlers of these tests.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use carillon_broker::{
    Binding, Broker, Config, DecodeError, Delivery, Effects, Event, Exchange, ExchangeKind, Fault, Handler, Outgoing,
    Queue, Status, Topology,
};
use lapin::options::{BasicGetOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(30);

/// A numbered job; `job:7` on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job(pub(crate) u32);

impl Event for Job {
    const NAME: &'static str = "job";

    fn encode(&self) -> Bytes {
        format!("job:{}", self.0).into()
    }

    fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        assert_ne!(body, b"panic", "a decoder that panics");
        let number = std::str::from_utf8(body).ok().and_then(|text| text.strip_prefix("job:"));
        number.and_then(|text| text.parse().ok()).map(Self).ok_or_else(|| DecodeError::new("not a job"))
    }
}

#[allow(clippy::disallowed_methods, reason = "tests are told their broker by the environment")]
pub(crate) fn url() -> String {
    std::env::var("CARILLON_AMQP__URL")
        .expect("CARILLON_AMQP__URL is not set: run `make test`, which starts a broker, or point it at one")
}

/// The names of one test and a plain connection beside the crate's own.
pub(crate) struct Place {
    /// With the alternate exchange; carries `jobs` and `done`.
    pub(crate) work: &'static str,
    /// Without one; nothing is bound.
    pub(crate) open: &'static str,
    pub(crate) jobs: Queue<Job>,
    pub(crate) done: Queue<Job>,
    pub(crate) topology: Topology,
    pub(crate) stop: CancellationToken,
    connection: Connection,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let tag = Uuid::new_v4().simple().to_string();
        let name = |what: &str| -> &'static str { Box::leak(format!("t.{tag}.{what}").into_boxed_str()) };
        let (work, open, parked, unroutable) = (name("work"), name("open"), name("parked"), name("unroutable"));
        let bind = |key| -> &'static [Binding] { Box::leak(Box::new([Binding { exchange: work, key }])) };
        let (jobs, done) = (Queue::new(name("jobs"), bind("jobs")), Queue::new(name("done"), bind("done")));
        let exchanges = [
            Exchange { name: work, kind: ExchangeKind::Direct, alternate: Some(unroutable) },
            Exchange { name: open, kind: ExchangeKind::Topic, alternate: None },
        ];
        let topology = Topology::with_nets(parked, unroutable, &exchanges, &[jobs.spec(), done.spec()]);
        let connection = Connection::connect(&url(), Default::default()).await.expect("no broker");
        Self { work, open, jobs, done, topology, stop: CancellationToken::new(), connection }
    }

    pub(crate) fn config(&self) -> Config {
        Config { heartbeat_seconds: 5, ..Config::new(url()) }
    }

    /// A client that is connected.
    pub(crate) async fn broker(&self) -> Broker {
        self.broker_with(&self.config()).await
    }

    pub(crate) async fn broker_with(&self, config: &Config) -> Broker {
        let broker = Broker::connect(config, "test", self.topology.clone(), self.stop.clone()).unwrap();
        until(&broker, Status::connected).await;
        broker
    }

    pub(crate) async fn channel(&self) -> Channel {
        self.connection.create_channel().await.unwrap()
    }

    /// Messages that wait in a queue; None if there is no such queue.
    pub(crate) async fn ready(&self, queue: &str) -> Option<u32> {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let channel = self.channel().await;
        channel
            .queue_declare(queue.into(), options, FieldTable::default())
            .await
            .ok()
            .map(|queue| queue.message_count())
    }

    pub(crate) async fn ready_is(&self, queue: &str, expected: u32) {
        eventually(&format!("{expected} ready in {queue}"), async || self.ready(queue).await == Some(expected)).await;
    }

    /// Publishes bytes as a stranger would.
    #[allow(clippy::disallowed_methods, reason = "a stranger has no failpoints")]
    pub(crate) async fn publish_bytes(&self, queue: &str, body: &[u8], properties: lapin::BasicProperties) {
        let channel = self.channel().await;
        channel.confirm_select(Default::default()).await.unwrap();
        let publishing = channel.basic_publish("".into(), queue.into(), Default::default(), body, properties);
        assert!(publishing.await.unwrap().await.unwrap().is_ack());
    }

    /// Puts a job into its queue as a stranger would: it passes no point that another test has armed.
    #[allow(dead_code, reason = "for those who arm points")]
    pub(crate) async fn put_job(&self, number: u32) {
        let job = Outgoing::to(&self.jobs, &Job(number));
        self.publish_bytes(self.jobs.name(), job.body(), lapin::BasicProperties::default()).await;
    }

    /// Takes one message out of a queue.
    pub(crate) async fn take(&self, queue: &str) -> Option<lapin::message::Delivery> {
        let options = BasicGetOptions { no_ack: true };
        self.channel().await.basic_get(queue.into(), options).await.unwrap().map(|got| got.delivery)
    }

    /// What is still in a queue, bodies in order: everything that comes out before a last message put in now. What is given
    /// back to a queue comes out first.
    pub(crate) async fn left(&self, queue: &str) -> Vec<String> {
        self.publish_bytes(queue, b"last", lapin::BasicProperties::default()).await;
        let mut left = Vec::new();
        loop {
            let message = self.take(queue).await.expect("the last message");
            if message.data == b"last" {
                return left;
            }
            left.push(String::from_utf8_lossy(&message.data).into_owned());
        }
    }

    pub(crate) async fn publish_jobs(&self, broker: &Broker, numbers: std::ops::Range<u32>) {
        let messages = numbers.map(|n| Outgoing::to(&self.jobs, &Job(n)).with_id(format!("job-{n}"))).collect();
        for result in broker.publisher().publish_all(messages).await {
            result.unwrap();
        }
    }

    /// Drains the client and leaves nothing on the broker.
    pub(crate) async fn finish(self, broker: Broker) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, broker.drained()).await.expect("drains in time").unwrap();
        self.remove().await;
    }

    pub(crate) async fn remove(self) {
        let channel = self.channel().await;
        for queue in self.topology.queue_names() {
            channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
        }
        for exchange in [self.work, self.open, self.topology.unroutable()] {
            channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await.unwrap();
        }
        self.connection.close(200, "".into()).await.unwrap();
    }
}

/// Waits until the status is as wanted.
pub(crate) async fn until(broker: &Broker, wanted: fn(&Status) -> bool) {
    let mut status = broker.status();
    tokio::time::timeout(PATIENCE, status.wait_for(wanted)).await.expect("the status in time").unwrap();
}

/// Asks the broker again and again until it is so, as it announces nothing.
pub(crate) async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let asking = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("never: {what}"));
}

type Handling = Pin<Box<dyn Future<Output = Result<Effects, Fault>> + Send>>;

/// A handler from a closure, that keeps what it saw.
pub(crate) struct Script {
    seen: Seen,
    act: Box<dyn Fn(Job, Delivery) -> Handling + Send + Sync>,
}

/// The jobs that a [`Script`] was called with, in order, with `redelivered`.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<watch::Sender<Vec<(u32, bool)>>>);

impl Seen {
    pub(crate) fn all(&self) -> Vec<(u32, bool)> {
        self.0.borrow().clone()
    }

    pub(crate) fn numbers(&self) -> Vec<u32> {
        self.all().into_iter().map(|(number, _)| number).collect()
    }

    pub(crate) fn distinct(&self) -> std::collections::BTreeSet<u32> {
        self.numbers().into_iter().collect()
    }

    pub(crate) async fn count_is(&self, expected: usize) {
        self.until(&format!("{expected} calls"), |seen| seen.all().len() == expected).await;
    }

    /// Looks at each call until it is so.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let mut calls = self.0.subscribe();
        let looking = async {
            while !is_so(self) {
                calls.changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("never: {what}"));
    }
}

impl Script {
    pub(crate) fn new<F>(act: impl Fn(Job, Delivery) -> F + Send + Sync + 'static) -> (Self, Seen)
    where
        F: Future<Output = Result<Effects, Fault>> + Send + 'static,
    {
        let seen = Seen::default();
        (Self { seen: seen.clone(), act: Box::new(move |job, delivery| Box::pin(act(job, delivery))) }, seen)
    }

    /// Takes everything and wants nothing.
    pub(crate) fn content() -> (Self, Seen) {
        Self::new(|_, _| async { Ok(Vec::new()) })
    }
}

impl Handler<Job> for Script {
    async fn handle(&self, job: Job, delivery: &Delivery) -> Result<Effects, Fault> {
        self.seen.0.send_modify(|calls| calls.push((job.0, delivery.redelivered)));
        (self.act)(job, delivery.clone()).await
    }
}
