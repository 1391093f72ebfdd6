//! Accepting: 202 means committed, in groups.
//!
//! Every intake hands its notifications to one writer. The writer takes what is queued when its last commit returned, so that
//! under load many share a commit and at rest nobody waits for company. The committed rows are the outbox: the wake-ups that
//! follow only save the segmenter its scan, and may be lost.

mod admit;
mod cancel;
mod fingerprint;
mod group;
mod keys;
mod wakeups;
mod writer;

pub(crate) use admit::{Accepted, Api, rehearse, send, send_all};
pub(crate) use cancel::cancel;

use carillon_broker::Publisher;
use carillon_domain::ids::NotificationId;
use carillon_domain::notification::State;
use carillon_runtime::{CancellationToken, Scope};
use carillon_store::{NewNotification, Store};
use keys::KeysInFlight;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use wakeups::Wakeups;
use writer::Job;

/// Most notifications that wait for the writer.
const QUEUE: usize = 8_192;
/// Most KiB of bodies that wait for the writer or are being written.
const QUEUE_KIB: usize = 64 * 1024;
/// Longest wait for an answer of the writer: two statements' time-outs. Whether it was committed is unknown then.
const PATIENCE: Duration = Duration::from_secs(25);

/// What became of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is committed, now or by an earlier call.
    Accepted {
        /// Its id.
        id: NotificationId,
        /// The state it was accepted in.
        state: State,
        /// By an earlier call with the same idempotency key.
        replayed: bool,
    },
    /// The idempotency key was used with another meaning.
    Conflict,
    /// The first call with the idempotency key has no answer yet.
    InProgress,
    /// Too many wait already.
    Busy,
    /// The database is away; it may have been committed all the same.
    Unavailable,
    /// The database refused it. Ours to mend.
    Refused,
}

/// Where intakes hand in. Cheap to clone; the writer ends when the last clone is gone.
#[derive(Clone)]
pub(crate) struct Acceptor {
    jobs: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
    keys: KeysInFlight,
}

impl Acceptor {
    /// Starts the writer and the publisher of wake-ups. The token is cancelled when both have ended, which they do once every
    /// clone of the acceptor is gone: only then may the broker's connections be closed.
    pub(crate) fn start(scope: &Scope, store: Store, publisher: Publisher) -> (Self, CancellationToken) {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (wakeups, messages) = Wakeups::new();
        let ended = CancellationToken::new();
        let ending = ended.clone();
        let stopping = scope.stopping();
        scope.spawn("wake-ups", async move {
            wakeups::publish(messages, publisher, stopping).await;
            ending.cancel();
            Ok::<_, std::convert::Infallible>(())
        });
        scope.spawn("accept", async move {
            writer::write(queue, store, wakeups).await;
            Ok::<_, std::convert::Infallible>(())
        });
        let room = Arc::new(Semaphore::new(QUEUE_KIB));
        (Self { jobs, room, keys: KeysInFlight::default() }, ended)
    }

    /// Commits one notification. Dropping the future does not stop it.
    pub(crate) async fn accept(&self, item: NewNotification) -> Answer {
        match self.submit(item) {
            Ok(answer) => wait(answer).await,
            Err(refused) => refused,
        }
    }

    /// Commits many, most of them together; the answers are in the order of the items.
    pub(crate) async fn accept_all(&self, items: Vec<NewNotification>) -> Vec<Answer> {
        let waiting: Vec<_> = items.into_iter().map(|item| self.submit(item)).collect();
        let mut answers = Vec::with_capacity(waiting.len());
        for one in waiting {
            answers.push(match one {
                Ok(answer) => wait(answer).await,
                Err(refused) => refused,
            });
        }
        answers
    }

    fn submit(&self, item: NewNotification) -> Result<oneshot::Receiver<Answer>, Answer> {
        let key = match &item.idempotency {
            Some((key, _)) => Some(self.keys.enter(item.tenant_key, key).ok_or(Answer::InProgress)?),
            None => None,
        };
        let kib = u32::try_from(item.body.len() / 1024 + 1).map_err(|_| Answer::Busy)?;
        let room = Arc::clone(&self.room).try_acquire_many_owned(kib).map_err(|_| Answer::Busy)?;
        let (answer, receiver) = oneshot::channel();
        let trace = carillon_telemetry::inject();
        self.jobs.try_send(Job { item, answer, trace, _key: key, _room: room }).map_err(|_| Answer::Busy)?;
        Ok(receiver)
    }
}

async fn wait(answer: oneshot::Receiver<Answer>) -> Answer {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(answer)) => answer,
        // The writer dropped the job (the process ends) or takes too long.
        Ok(Err(_)) | Err(_) => Answer::Unavailable,
    }
}
