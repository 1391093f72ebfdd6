//! Wake-ups: what was committed is published at once, and again from memory when the broker did not take it. What is lost with the
//! process, or does not fit, is found by the scan for due rows.

mod line;

use carillon_broker::{Outgoing, PublishError, Publisher};
use carillon_domain::ids::{AppKey, NotificationId, TenantKey};
use carillon_domain::platform::Lane;
use carillon_runtime::CancellationToken;
use carillon_telemetry::RemoteContext;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use line::Lines;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Groups that wait for the publisher, and as many messages that wait for their confirm.
const WAITING: usize = 256;
/// Pauses between attempts; together about the time after which the scan looks for what nobody woke.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(600),
    Duration::from_secs(1),
    Duration::from_secs(3),
];

/// A committed notification that is due now, with its request's position in its trace.
pub(super) type News = (NotificationId, TenantKey, AppKey, Lane, RemoteContext);

/// How often it is said that wake-ups were left to the scan.
const TELL: Duration = Duration::from_secs(10);

/// Wake-ups that were left to the scan since it was said last: while the broker is away there may be hundreds a second.
#[derive(Default)]
struct Left(AtomicU64);

impl Left {
    fn one_more(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Says how many there were, if there were any.
    fn tell(&self) -> u64 {
        let left = self.0.swap(0, Ordering::Relaxed);
        if left > 0 {
            tracing::warn!(left, "the broker does not take or confirm wake-ups: they are left to the scan");
        }
        left
    }
}

/// Hands wake-ups to the publisher without waiting.
pub(super) struct Wakeups {
    queue: mpsc::Sender<Vec<News>>,
    left: Arc<Left>,
}

/// What was handed over, for [`publish`].
pub(super) struct Handed {
    queue: mpsc::Receiver<Vec<News>>,
    left: Arc<Left>,
}

impl Wakeups {
    pub(super) fn new() -> (Self, Handed) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let left = Arc::<Left>::default();
        (Self { queue: sender, left: Arc::clone(&left) }, Handed { queue: receiver, left })
    }

    /// What one group of acceptances committed.
    pub(super) fn wake(&self, news: Vec<News>) {
        if !news.is_empty() && self.queue.try_send(news).is_err() {
            self.left.one_more();
        }
    }
}

/// Publishes until the last sender is gone and everything is confirmed or given up.
pub(super) async fn publish(handed: Handed, publisher: Publisher, stopping: CancellationToken) {
    let Handed { queue: mut groups, left } = handed;
    let mut lines = Lines::default();
    let (mut first, mut again) = (FuturesUnordered::new(), FuturesUnordered::new());
    let mut tell = tokio::time::interval(TELL);
    let mut open = true;
    while open || !first.is_empty() || !again.is_empty() {
        let now = Instant::now();
        while first.len() + again.len() < WAITING
            && let Some((lane, message)) = lines.next(now)
        {
            first.push(try_once(&publisher, lane, message));
        }
        let (room, late) = (first.len() + again.len() < WAITING, lines.goes_at());
        tokio::select! {
            group = groups.recv(), if open && room => match group {
                Some(group) => lines.push(group, Instant::now()),
                None => open = false,
            },
            Some((lane, refused)) = first.next() => {
                lines.landed(lane);
                again.extend(refused.map(|message| try_again(&publisher, message, &stopping, &left)));
            }
            Some(()) = again.next() => {}
            () = sleep_until(late.unwrap_or(now)), if room && late.is_some() => {}
            _ = tell.tick() => {
                left.tell();
            }
        }
    }
    left.tell();
}

/// Publishes a lane's message, and gives it back if that is to be tried again.
async fn try_once(publisher: &Publisher, lane: Lane, message: Outgoing) -> (Lane, Option<Outgoing>) {
    let sent = attempt(publisher, &message).await;
    (lane, (sent == Sent::Refused).then_some(message))
}

/// Publishes what was refused once more after each pause; what is refused to the end is left to the scan.
async fn try_again(publisher: &Publisher, message: Outgoing, stopping: &CancellationToken, left: &Left) {
    for pause in PAUSES {
        if stopping.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            break;
        }
        if attempt(publisher, &message).await != Sent::Refused {
            return;
        }
    }
    left.one_more();
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    Confirmed,
    /// It will never be taken.
    Never,
    /// It may be taken later.
    Refused,
}

async fn attempt(publisher: &Publisher, message: &Outgoing) -> Sent {
    match publisher.publish(message.clone()).await {
        Ok(()) => Sent::Confirmed,
        Err(error) if !error.is_retryable() || error == PublishError::Closed => {
            tracing::error!(%error, message.id = message.id(), "a wake-up cannot be published");
            Sent::Never
        }
        Err(error) => {
            tracing::debug!(%error, message.id = message.id(), "a wake-up was not confirmed");
            Sent::Refused
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn how_many_were_left_is_said_together_and_once() {
        let (wakeups, handed) = Wakeups::new();
        // Nobody publishes: the queue is full soon.
        for n in 0..WAITING as u128 + 3 {
            let id = NotificationId(Uuid::from_u128(n));
            wakeups.wake(vec![(id, TenantKey(1), AppKey(2), Lane::Bulk, RemoteContext::none())]);
        }
        handed.left.one_more();
        assert_eq!((handed.left.tell(), handed.left.tell()), (4, 0));
    }
}
