//! The door: two connections, their supervisors, and what a service asks of them.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use lapin::Connection;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backoff::Backoff;
use crate::config::{Config, ConfigError};
use crate::consumer::Consumer;
use crate::event::Event;
use crate::gate::Gate;
use crate::handler::Handler;
use crate::inspector::Inspector;
use crate::link::{Link, LinkEvent};
use crate::publisher::Publisher;
use crate::status::{Status, StatusBoard};
use crate::topology::{Queue, Topology};
use crate::work::Bench;
use crate::writer::Writer;

/// One of the broker's own tasks panicked: the process should end and be started anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a task of the broker client died")]
pub struct Died;

/// A process's way to the broker; cheap to clone.
///
/// Two connections, because a broker that is short of memory stops reading the one that publishes, and acknowledgements
/// must go on. Both are rebuilt for ever, with everything on them.
#[derive(Clone)]
pub struct Broker {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    topology: Arc<Topology>,
    publisher: Publisher,
    status: StatusBoard,
    connections: watch::Receiver<Option<Arc<Connection>>>,
    /// Consumers stop at this; given by the caller.
    stop: CancellationToken,
    /// The connections close at this, after the consumers.
    closing: CancellationToken,
    died: CancellationToken,
    consumers: TaskTracker,
    links: TaskTracker,
}

impl Broker {
    /// Starts connecting, in the background and for ever: a broker that is away is no error. `name` is what the broker's own
    /// tools show. When `stop` is cancelled the consumers drain. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// Only a configuration that can never work.
    pub fn connect(
        config: &Config,
        name: &str,
        topology: Topology,
        stop: CancellationToken,
    ) -> Result<Self, ConfigError> {
        config.uri()?;
        let topology = Arc::new(topology);
        let status = StatusBoard::new();
        let (publisher, requests) = Publisher::new(config);
        let (shown, connections) = watch::channel(None);
        let inner = Inner {
            config: config.clone(),
            topology: Arc::clone(&topology),
            publisher,
            status: status.clone(),
            connections,
            stop,
            closing: CancellationToken::new(),
            died: CancellationToken::new(),
            consumers: TaskTracker::new(),
            links: TaskTracker::new(),
        };
        let writer = Writer {
            config: config.clone(),
            name: format!("{name} publish"),
            topology: Arc::clone(&topology),
            status: status.clone(),
            requests,
            closing: inner.closing.clone(),
        };
        let keeper = Keeper {
            config: config.clone(),
            name: format!("{name} consume"),
            topology,
            status,
            shown,
            closing: inner.closing.clone(),
        };
        let broker = Self { inner: Arc::new(inner) };
        broker.spawn(&broker.inner.links, writer.run());
        broker.spawn(&broker.inner.links, keeper.run());
        Ok(broker)
    }

    /// Publishes over this process's channel.
    pub fn publisher(&self) -> Publisher {
        self.inner.publisher.clone()
    }

    /// The connections' state, as it changes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.inner.status.watch()
    }

    /// The topology that is declared at every connect.
    pub fn topology(&self) -> &Topology {
        &self.inner.topology
    }

    /// Looks at queues, for operators.
    pub fn inspector(&self) -> Inspector {
        Inspector::new(Arc::clone(&self.inner.topology), self.inner.connections.clone(), self.publisher())
    }

    /// Consumes a queue until the process drains. `prefetch` is how many messages the broker hands out ahead (about twice
    /// `concurrency`); `concurrency` is how many are handled at once. Both are at least 1.
    pub fn consume<E: Event, H: Handler<E>>(&self, queue: &Queue<E>, prefetch: u16, concurrency: usize, handler: H) {
        let inner = &self.inner;
        let bench = Bench {
            handler,
            queue: queue.name(),
            parked: inner.topology.parked,
            publisher: self.publisher(),
            gate: Gate::new(),
            handler_timeout: inner.config.handler_timeout(),
            stop: inner.stop.clone(),
        };
        let grace = inner.config.drain_grace();
        let consumer =
            Consumer::new(bench, Arc::clone(&inner.topology), inner.connections.clone(), prefetch, concurrency, grace);
        self.spawn(&inner.consumers, consumer.run());
    }

    /// Waits until `stop` is cancelled and the consumers have drained, then lets the publisher finish what it was given and
    /// closes both connections. Publish nothing after calling it. Takes at most the drain grace and the confirm timeout, and
    /// some seconds for the goodbyes.
    ///
    /// # Errors
    /// [`Died`], at once, if a task of the client died.
    pub async fn drained(&self) -> Result<(), Died> {
        let inner = &self.inner;
        let draining = async {
            inner.stop.cancelled().await;
            inner.consumers.close();
            inner.consumers.wait().await;
            inner.closing.cancel();
            inner.links.close();
            inner.links.wait().await;
        };
        tokio::select! {
            biased;
            () = inner.died.cancelled() => Err(Died),
            () = draining => if inner.died.is_cancelled() { Err(Died) } else { Ok(()) },
        }
    }

    fn spawn(&self, tracker: &TaskTracker, task: impl Future<Output = ()> + Send + 'static) {
        let died = self.inner.died.clone();
        tracker.spawn(async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                died.cancel();
            }
        });
    }
}

/// Keeps the consuming connection alive and shows it to consumers and inspectors.
struct Keeper {
    config: Config,
    name: String,
    topology: Arc<Topology>,
    status: StatusBoard,
    shown: watch::Sender<Option<Arc<Connection>>>,
    closing: CancellationToken,
}

impl Keeper {
    async fn run(self) {
        let mut backoff = Backoff::default();
        loop {
            let opened = tokio::select! {
                opened = Link::open(&self.config, &self.name, &self.topology) => opened,
                () = self.closing.cancelled() => return,
            };
            match opened {
                Ok(link) => {
                    backoff.reset();
                    match self.keep(link).await {
                        Some(why) => tracing::warn!(%why, "consuming connection is lost"),
                        None => return,
                    }
                }
                Err(error) if backoff.is_worth_telling() => tracing::warn!(%error, "no consuming connection"),
                Err(error) => tracing::debug!(%error, "no consuming connection"),
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next()) => {}
                () = self.closing.cancelled() => return,
            }
        }
    }

    /// Shows the connection while it lives. Returns why it ended, or None if it was closed because the process ends.
    async fn keep(&self, mut link: Link) -> Option<String> {
        tracing::info!("consuming connection is up");
        self.shown.send_replace(Some(Arc::clone(&link.connection)));
        self.status.set(|status| status.consuming = true);
        let why = tokio::select! {
            why = lost(&mut link) => Some(why),
            () = self.closing.cancelled() => None,
        };
        self.status.set(|status| status.consuming = false);
        self.shown.send_replace(None);
        link.close().await;
        why
    }
}

/// A connection that only consumes is never blocked.
async fn lost(link: &mut Link) -> String {
    loop {
        if let LinkEvent::Lost(why) = link.event().await {
            return why;
        }
    }
}
