//! One consumer of one queue, for the life of the process: sessions come and go with the connection, the work in hand stays.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lapin::Connection;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::declare::declare;
use crate::event::Event;
use crate::handler::Handler;
use crate::message::Delivery;
use crate::session::{Ended, Session};
use crate::topology::Topology;
use crate::work::{Bench, Outcome, work};

/// What came of one started message: the session it came in, its tag there, its outcome.
pub(crate) type Finished = (u64, u64, Outcome);

/// The messages in work. They outlive the session they came in, so that a lost connection does not multiply the work.
pub(crate) struct Workers<E, H> {
    bench: Arc<Bench<H>>,
    tasks: JoinSet<Finished>,
    concurrency: usize,
    event: std::marker::PhantomData<fn(E)>,
}

impl<E: Event, H: Handler<E>> Workers<E, H> {
    /// Whether one more may start: there is room, and no fault.
    pub(crate) fn may_start(&self, faults: usize) -> bool {
        faults == 0 && self.tasks.len() < self.concurrency
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }

    pub(crate) fn start(&mut self, session: u64, tag: u64, delivery: Delivery, body: Bytes) {
        let bench = Arc::clone(&self.bench);
        self.tasks.spawn(async move { (session, tag, work::<E, H>(bench, delivery, body).await) });
    }

    /// The next one that ends; never while there is none.
    pub(crate) async fn finished(&mut self) -> Option<Finished> {
        match self.tasks.join_next().await {
            Some(Ok(finished)) => Some(finished),
            // Only the shell itself can have panicked: handlers are caught. The broker hands the message out again.
            Some(Err(error)) => {
                tracing::error!(%error, "a consumer's task ended badly");
                None
            }
            None => std::future::pending().await,
        }
    }

    /// Drops what is in work.
    pub(crate) async fn abort(&mut self) {
        self.tasks.shutdown().await;
    }

    pub(crate) fn faults(&self) -> watch::Receiver<usize> {
        self.bench.gate.watch()
    }
}

/// A consumer and what it needs to come back.
pub(crate) struct Consumer<E, H> {
    pub(crate) topology: Arc<Topology>,
    pub(crate) connections: watch::Receiver<Option<Arc<Connection>>>,
    pub(crate) prefetch: u16,
    pub(crate) stop: CancellationToken,
    pub(crate) grace: Duration,
    workers: Workers<E, H>,
}

impl<E: Event, H: Handler<E>> Consumer<E, H> {
    pub(crate) fn new(
        bench: Bench<H>,
        topology: Arc<Topology>,
        connections: watch::Receiver<Option<Arc<Connection>>>,
        prefetch: u16,
        concurrency: usize,
        grace: Duration,
    ) -> Self {
        let stop = bench.stop.clone();
        let workers = Workers {
            bench: Arc::new(bench),
            tasks: JoinSet::new(),
            concurrency: concurrency.max(1),
            event: std::marker::PhantomData,
        };
        Self { topology, connections, prefetch: prefetch.max(1), stop, grace, workers }
    }

    /// Consumes until told to stop, then drains.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::default();
        let queue = self.workers.bench.queue;
        let mut number = 0;
        let mut last: Option<Arc<Connection>> = None;
        while let Some(connection) = self.connection().await {
            number += 1;
            let again = last.as_ref().is_some_and(|last| Arc::ptr_eq(last, &connection));
            last = Some(Arc::clone(&connection));
            match self.session(&connection, number, again).await {
                Ok(Ended::Drained) => return,
                Ok(Ended::Lost { why, worked }) => {
                    tracing::warn!(messaging.queue = queue, %why, "consumer is lost");
                    if worked {
                        backoff.reset();
                    }
                }
                Err(error) if backoff.is_worth_telling() => {
                    tracing::warn!(messaging.queue = queue, %error, "no consumer")
                }
                Err(error) => tracing::debug!(messaging.queue = queue, %error, "no consumer"),
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next()) => {}
                () = self.stop.cancelled() => {}
            }
        }
        self.finish_without_connection().await;
    }

    /// Waits for a live connection; None once the process drains.
    async fn connection(&mut self) -> Option<Arc<Connection>> {
        loop {
            let live = self.connections.borrow_and_update().clone();
            if self.stop.is_cancelled() {
                return None;
            }
            if let Some(connection) = live.filter(|connection| connection.status().connected()) {
                return Some(connection);
            }
            tokio::select! {
                // The sender lives as long as the process's connections; without it there is nothing to wait for.
                changed = self.connections.changed() => changed.ok()?,
                // A connection that died a moment ago is still shown.
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
                () = self.stop.cancelled() => return None,
            }
        }
    }

    /// A second session on the same connection means that its channel was closed: the queue may be gone, so it is declared.
    async fn session(
        &mut self,
        connection: &Connection,
        number: u64,
        again: bool,
    ) -> Result<Ended, crate::link::StepError> {
        let queue = self.workers.bench.queue;
        let opening = async {
            if again {
                declare(connection, &self.topology).await?;
            }
            Session::open(connection, queue, self.prefetch, number).await
        };
        let session = tokio::select! {
            opened = opening => opened?,
            () = self.stop.cancelled() => {
                return Ok(Ended::Lost { why: "the process drains".to_owned(), worked: false });
            }
        };
        tracing::debug!(messaging.queue = queue, "consuming");
        Ok(session.run(&mut self.workers, &self.stop, self.grace).await)
    }

    /// Drains while there is nothing to acknowledge over: what is in work may finish, the broker hands it out again.
    async fn finish_without_connection(&mut self) {
        let deadline = Instant::now() + self.grace;
        while !self.workers.is_idle() {
            if timeout_at(deadline, self.workers.finished()).await.is_err() {
                break;
            }
        }
        self.workers.abort().await;
    }
}
