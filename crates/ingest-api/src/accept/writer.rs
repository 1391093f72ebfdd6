//! The writer: one task that turns the queue into commits.

use super::Answer;
use super::group::{Fate, commit};
use super::keys::InFlight;
use super::wakeups::Wakeups;
use carillon_domain::ids::NotificationId;
use carillon_domain::notification::State;
use carillon_store::{NewNotification, Store};
use carillon_telemetry::metrics::{self, Counter};
use carillon_telemetry::{RemoteContext, names};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, sleep};

/// Most notifications of one commit.
const GROUP: usize = 1_000;
/// After a group so large the next one waits for company: what a group costs is shared by all in it, here, in the broker and in the segmenter.
const LOAD: usize = 8;
/// It waits as long as somebody comes within this time (the runtime's clock has no smaller steps, and may take two of them),
const TICK: Duration = Duration::from_millis(1);
/// and for so long that no tick begins later.
const COMPANY: Duration = Duration::from_millis(3);

/// One notification on its way, with everything that ends when it is answered.
pub(super) struct Job {
    pub(super) item: NewNotification,
    pub(super) answer: oneshot::Sender<Answer>,
    /// The request's position in its trace.
    pub(super) trace: RemoteContext,
    pub(super) _key: Option<InFlight>,
    pub(super) _room: OwnedSemaphorePermit,
}

/// Writes until the last sender is gone and the queue is empty.
pub(super) async fn write(mut queue: mpsc::Receiver<Job>, store: Store, wakeups: Wakeups) {
    let sizes = metrics::histogram(&names::ACCEPT_BATCH, &[]);
    let hits = Hits::new();
    let mut jobs = Vec::with_capacity(GROUP);
    let mut before = 0;
    while queue.recv_many(&mut jobs, GROUP).await > 0 {
        if before >= LOAD && jobs.len() < GROUP {
            wait_for_company(&queue).await;
            let room = GROUP - jobs.len();
            if !queue.is_empty() {
                queue.recv_many(&mut jobs, room).await;
            }
        }
        before = jobs.len();
        sizes.record(jobs.len() as f64);
        // Two groups that lock the same keys must lock them in one order.
        jobs.sort_by(|a, b| order(&a.item).cmp(&order(&b.item)));
        let items: Vec<NewNotification> = jobs.iter_mut().map(|job| take(&mut job.item, &job.trace)).collect();
        let fates = commit(&store, &items).await;
        let mut news = Vec::new();
        for ((job, item), fate) in jobs.drain(..).zip(&items).zip(fates) {
            hits.count(&fate);
            if let Fate::New { state: State::Sending } = fate {
                news.push((item.notification_id, item.tenant_key, item.app_key, item.lane, job.trace));
            }
            // A caller that went away does not need the answer.
            let _ = job.answer.send(answer(item.notification_id, fate));
        }
        wakeups.wake(news);
    }
}

/// Waits while others come. Those who were just answered come back together, and without a wait they would find many small groups. Who calls alone, or
/// with few, waits for nobody.
async fn wait_for_company(queue: &mpsc::Receiver<Job>) {
    let began = Instant::now();
    let mut there = queue.len();
    while began.elapsed() < COMPANY {
        sleep(TICK).await;
        let now = queue.len();
        if now == there || now >= GROUP {
            return;
        }
        there = now;
    }
}

fn order(item: &NewNotification) -> (i32, Option<&str>) {
    (item.tenant_key.0, item.idempotency.as_ref().map(|(key, _)| key.as_str()))
}

/// The body is only needed by the statement, not by the answer. What happens later, or after a crash, goes on with the call's trace.
fn take(item: &mut NewNotification, trace: &RemoteContext) -> NewNotification {
    let body = std::mem::take(&mut item.body);
    let traceparent = trace.headers().into_iter().find(|(name, _)| name == "traceparent").map(|(_, value)| value);
    NewNotification { body, traceparent: traceparent.unwrap_or_default(), ..item.clone() }
}

fn answer(id: NotificationId, fate: Fate) -> Answer {
    match fate {
        Fate::New { state } => Answer::Accepted { id, state, replayed: false },
        Fate::Replayed { id, state } => Answer::Accepted { id, state, replayed: true },
        Fate::Conflict => Answer::Conflict,
        Fate::Unavailable => Answer::Unavailable,
        Fate::Refused => Answer::Refused,
    }
}

struct Hits {
    same: Counter,
    different: Counter,
}

impl Hits {
    fn new() -> Self {
        let of = |outcome| metrics::counter(&names::IDEMPOTENCY_HITS, &[("outcome", outcome)]);
        Self { same: of("same"), different: of("different") }
    }

    fn count(&self, fate: &Fate) {
        match fate {
            Fate::Replayed { .. } => self.same.inc(),
            Fate::Conflict => self.different.inc(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_domain::ids::{AppKey, TenantKey};
    use carillon_domain::platform::Lane;
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    fn job() -> Job {
        let item = NewNotification {
            notification_id: NotificationId(uuid::Uuid::now_v7()),
            tenant_key: TenantKey(1),
            app_key: AppKey(1),
            reference: None,
            body: Vec::new(),
            lane: Lane::Transactional,
            scheduled_at: None,
            idempotency: None,
            traceparent: String::new(),
        };
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        Job { item, answer: oneshot::channel().0, trace: RemoteContext::none(), _key: None, _room: room }
    }

    /// How long a group waits while one job comes in each of so many ticks.
    async fn waited(ticks: usize) -> Duration {
        let (sender, queue) = mpsc::channel(100);
        let began = Instant::now();
        let coming = async {
            for _ in 0..ticks {
                assert!(sender.send(job()).await.is_ok());
                sleep(TICK).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = coming => Duration::MAX,
            () = wait_for_company(&queue) => began.elapsed(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_waits_as_long_as_others_come_and_not_for_ever() {
        let (nobody, three, everybody) = (waited(0).await, waited(2).await, waited(50).await);
        assert!(nobody <= 2 * TICK, "{nobody:?}");
        assert!(nobody < three && three <= everybody, "{three:?}");
        assert!(everybody <= COMPANY + 2 * TICK, "{everybody:?}");
    }
}
