//! Exchanges, queues and bindings as data.
//!
//! The choices, for RabbitMQ 3.10 to 4.x:
//! - Every queue is a durable quorum queue. Its arguments hold only what safety rests on, because arguments can never be
//!   changed on a queue that exists; bounds that an operator may want to tune are policies ([`Topology::definitions`]).
//! - `x-delivery-limit` is always set: 3.10 has no limit, 4.x takes 20 when nothing is said and then **drops** what has no
//!   dead-letter exchange. Messages above the limit go to the parked queue at least once. This is the last net only:
//!   undecodable messages and panics are parked by the consumer, retries are counted by the ledger.
//! - At-least-once dead-lettering needs `x-overflow=reject-publish`; that setting also means that a full queue refuses
//!   (the publisher hears it) and never drops its head.
//! - The parked and the unroutable queue have no dead-letter target (no circles) and a delivery limit that looking at them
//!   cannot reach.
//! - An exchange of our own has the alternate exchange: a message whose queue is missing waits in the unroutable queue
//!   rather than vanish. An exchange on which strangers publish should have none: with `mandatory` they get their message
//!   back at once and learn of their mistake, and what they put into headers is not stored. An exchange on which we
//!   publish for whoever listens (status events) should have none either: nobody listening is no fault.

use std::marker::PhantomData;

use crate::event::Event;

/// Deliveries of one message, counted by the broker, before it goes to the parked queue.
pub const DELIVERY_LIMIT: u32 = 100;

/// How an exchange routes (AMQP 0-9-1, section 3.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeKind {
    /// By the routing key, exactly.
    Direct,
    /// By patterns of dot-separated words: `*` is one word, `#` any number.
    Topic,
    /// To every bound queue.
    Fanout,
}

impl ExchangeKind {
    /// The AMQP name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Topic => "topic",
            Self::Fanout => "fanout",
        }
    }
}

/// A durable exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// Its name, at most 255 bytes.
    pub name: &'static str,
    /// How it routes.
    pub kind: ExchangeKind,
    /// Where what it cannot route goes: [`Topology::unroutable`]'s name, or nowhere (see the module's text).
    pub alternate: Option<&'static str>,
}

/// One way into a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// The exchange's name; it must be in the same [`Topology`].
    pub exchange: &'static str,
    /// The routing key, or a topic pattern.
    pub key: &'static str,
}

/// A durable quorum queue that carries events of type `E` and nothing else; only a handler of `E` can consume it.
pub struct Queue<E> {
    spec: QueueSpec,
    event: PhantomData<fn() -> E>,
}

impl<E: Event> Queue<E> {
    /// A queue called `name` (`<consumer>.<what>[.<lane>]`, at most 255 bytes) that `bindings` fill. Without bindings it is
    /// reached by its name through the default exchange.
    pub const fn new(name: &'static str, bindings: &'static [Binding]) -> Self {
        Self { spec: QueueSpec { name, bindings, event: E::NAME, net: true }, event: PhantomData }
    }

    /// The queue's name.
    pub const fn name(&self) -> &'static str {
        self.spec.name
    }

    /// Where to publish for this queue: its first binding. A first binding with a pattern is nowhere to publish to; name the
    /// route then.
    pub const fn route(&self) -> Binding {
        match self.spec.bindings {
            [first, ..] => *first,
            [] => Binding { exchange: "", key: self.spec.name },
        }
    }

    /// The queue without its type, for a [`Topology`].
    pub const fn spec(&self) -> QueueSpec {
        self.spec
    }
}

impl<E> std::fmt::Debug for Queue<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.spec.fmt(f)
    }
}

/// A queue as a row of the topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueSpec {
    /// Its name.
    pub name: &'static str,
    /// What fills it.
    pub bindings: &'static [Binding],
    /// The name of the event it carries.
    pub event: &'static str,
    /// Whether the last net is under it; false only for the two nets themselves.
    pub(crate) net: bool,
}

/// Every exchange, queue and binding of the platform. Declared at every connect, so a broker that lost its disk heals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) queues: Vec<QueueSpec>,
    pub(crate) parked: &'static str,
    pub(crate) unroutable: &'static str,
}

impl Topology {
    /// The given exchanges and queues, and the two nets: the queue `parked` and the fanout exchange `unroutable` with its
    /// queue of the same name.
    pub fn new(exchanges: &[Exchange], queues: &[QueueSpec]) -> Self {
        Self::with_nets("parked", "unroutable", exchanges, queues)
    }

    /// As [`Topology::new`], with other names for the nets: for several platforms in one vhost.
    pub fn with_nets(
        parked: &'static str,
        unroutable: &'static str,
        exchanges: &[Exchange],
        queues: &[QueueSpec],
    ) -> Self {
        let mut all_exchanges = vec![Exchange { name: unroutable, kind: ExchangeKind::Fanout, alternate: None }];
        all_exchanges.extend_from_slice(exchanges);
        let net = |name| QueueSpec { name, bindings: &[], event: "any", net: false };
        let mut all_queues = vec![net(parked), net(unroutable)];
        all_queues.extend_from_slice(queues);
        Self { exchanges: all_exchanges, queues: all_queues, parked, unroutable }
    }

    /// The queue of messages that could not be handled.
    pub fn parked(&self) -> &'static str {
        self.parked
    }

    /// The alternate exchange, and the queue of messages that no queue was bound for.
    pub fn unroutable(&self) -> &'static str {
        self.unroutable
    }

    /// The names of all queues, the nets first.
    pub fn queue_names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.queues.iter().map(|queue| queue.name)
    }
}
