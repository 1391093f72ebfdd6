//! Groups: whatever is waiting when the last commit returned goes into the next one.

use std::future::Future;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Calls waiting for a group; more are told to come again.
const QUEUE: usize = 4_096;
/// How long a call waits for its group's commit.
const PATIENCE: Duration = Duration::from_secs(5);

/// One call and where its answer goes.
pub(crate) struct Waiting<Q, A> {
    pub question: Q,
    pub answer: oneshot::Sender<Result<A, Status>>,
}

/// The callers' side of a group.
pub(crate) struct Group<Q, A>(mpsc::Sender<Waiting<Q, A>>);

impl<Q: Send + 'static, A: Send + 'static> Group<Q, A> {
    /// A group and the queue that its worker reads.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Waiting<Q, A>>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    /// Asks, and waits for the commit.
    pub(crate) async fn ask(&self, question: Q) -> Result<A, Status> {
        let (answer, wait) = oneshot::channel();
        self.0
            .try_send(Waiting { question, answer })
            .map_err(|_| Status::resource_exhausted("too many calls wait for the ledger"))?;
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Status::unavailable("the ledger is stopping")),
            Err(_) => Err(Status::deadline_exceeded("the commit did not return in time")),
        }
    }
}

/// Works groups off, each of at most `most` calls, until the process stops and nothing waits.
pub(crate) async fn work<Q, A, F>(
    mut queue: mpsc::Receiver<Waiting<Q, A>>,
    most: usize,
    stop: CancellationToken,
    mut commit: impl FnMut(Vec<Waiting<Q, A>>) -> F,
) where
    F: Future<Output = ()>,
{
    let mut group = Vec::with_capacity(most);
    loop {
        let taken = tokio::select! {
            biased;
            taken = queue.recv_many(&mut group, most) => taken,
            () = stop.cancelled() => {
                queue.close();
                queue.recv_many(&mut group, most).await
            }
        };
        if taken == 0 {
            return;
        }
        commit(std::mem::take(&mut group)).await;
    }
}
