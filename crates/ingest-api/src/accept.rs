//! Accepting: 202 means committed, in groups.
//!
//! Every intake hands its notifications to one writer. The writer takes what is queued when its last commit returned, and under load
//! waits a moment for more, so that many share a commit; at rest nobody waits for company. The committed rows are the outbox: the
//! wake-ups that follow only save the segmenter its scan, and may be lost.

mod admit;
mod company;
mod fingerprint;
mod group;
mod keys;
mod steer;
mod wakeups;
mod writer;

pub(crate) use admit::{Accepted, Api, Rehearsed, Warning, rehearse, send, send_all};
pub(crate) use steer::{Wish, steer};

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
        let trace = carillon_telemetry::RemoteContext::current();
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

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_domain::ids::{AppKey, TenantKey};
    use carillon_domain::platform::Lane;
    use uuid::Uuid;

    /// An acceptor whose writer takes nothing.
    fn stuck(queue: usize, kib: usize) -> (Acceptor, mpsc::Receiver<Job>) {
        let (jobs, taken) = mpsc::channel(queue);
        (Acceptor { jobs, room: Arc::new(Semaphore::new(kib)), keys: KeysInFlight::default() }, taken)
    }

    fn item(bytes: usize, key: Option<&str>) -> NewNotification {
        NewNotification {
            notification_id: NotificationId(Uuid::now_v7()),
            tenant_key: TenantKey(1),
            app_key: AppKey(1),
            reference: None,
            body: vec![0; bytes],
            lane: Lane::Bulk,
            scheduled_at: None,
            idempotency: key.map(|key| (key.to_owned(), [0; 32])),
            traceparent: String::new(),
        }
    }

    #[test]
    fn what_the_writer_cannot_take_is_refused_at_once() {
        let (full, _taken) = stuck(2, 1_000);
        assert!(full.submit(item(1, None)).is_ok() && full.submit(item(1, None)).is_ok());
        assert_eq!(full.submit(item(1, None)).err(), Some(Answer::Busy));
        let (heavy, mut taken) = stuck(100, 10);
        assert!(heavy.submit(item(9 * 1024, None)).is_ok());
        assert_eq!(heavy.submit(item(1, None)).err(), Some(Answer::Busy));
        drop(taken.try_recv());
        assert!(heavy.submit(item(1, None)).is_ok(), "what is done makes room");
    }

    #[test]
    fn a_key_is_in_flight_until_its_job_is_done_even_if_nobody_waits() {
        let (acceptor, mut taken) = stuck(10, 1_000);
        drop(acceptor.submit(item(1, Some("k"))));
        assert_eq!(acceptor.submit(item(1, Some("k"))).err(), Some(Answer::InProgress));
        assert!(acceptor.submit(item(1, Some("j"))).is_ok());
        drop(taken.try_recv());
        assert!(acceptor.submit(item(1, Some("k"))).is_ok());
    }

    #[test]
    fn a_refused_call_gives_its_key_back() {
        let (acceptor, _taken) = stuck(10, 1);
        assert_eq!(acceptor.submit(item(5_000, Some("k"))).err(), Some(Answer::Busy));
        assert!(acceptor.submit(item(1, Some("k"))).is_ok());
    }

    #[tokio::test]
    async fn when_the_process_ends_nobody_waits_in_vain() {
        let (acceptor, taken) = stuck(10, 1_000);
        let waiting = acceptor.accept(item(1, None));
        drop(taken);
        assert!(matches!(waiting.await, Answer::Unavailable | Answer::Busy));
    }
}
