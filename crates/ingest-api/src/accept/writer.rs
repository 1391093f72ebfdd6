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
use tokio::time::{Instant, timeout_at};

/// Most notifications of one commit.
const GROUP: usize = 1_000;
/// After a group so large the next one waits for company: what a group costs is shared by all in it, here, in the broker and in the segmenter.
const LOAD: usize = 8;
/// It waits as long as somebody comes within this time (the runtime's clock has no smaller steps, and may take two of them),
const TICK: Duration = Duration::from_millis(1);
/// and no longer than this.
const COMPANY: Duration = Duration::from_millis(4);

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
        if before >= LOAD {
            gather(&mut queue, &mut jobs, before.min(GROUP)).await;
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

/// Waits while others come, until they are as many as last time. Those who were just answered come back together, and without a wait they would
/// find many small groups. Who calls alone, or with few, waits for nobody.
async fn gather(queue: &mut mpsc::Receiver<Job>, jobs: &mut Vec<Job>, before: usize) {
    let last = Instant::now() + COMPANY;
    while jobs.len() < before {
        let now = Instant::now();
        let room = GROUP - jobs.len();
        if now >= last || !matches!(timeout_at(last.min(now + TICK), queue.recv_many(jobs, room)).await, Ok(1..)) {
            return;
        }
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
    use tokio::time::sleep;

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

    /// How long a group waits for as many as there were `before`, and how many it then has, while one job comes in each of so many ticks.
    async fn gathered(ticks: usize, before: usize) -> (Duration, usize) {
        let (sender, mut queue) = mpsc::channel(100);
        let (began, mut jobs) = (Instant::now(), vec![job()]);
        let coming = async {
            for _ in 0..ticks {
                assert!(sender.send(job()).await.is_ok());
                sleep(TICK / 2).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = coming => unreachable!("it never ends"),
            () = gather(&mut queue, &mut jobs, before) => {}
        }
        (began.elapsed(), jobs.len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_waits_as_long_as_others_come_and_not_for_ever() {
        let (nobody, two, everybody) = (gathered(0, 90).await, gathered(2, 90).await, gathered(50, 90).await);
        assert!(nobody.0 <= 2 * TICK && nobody.1 == 1, "{nobody:?}");
        assert!(nobody.0 < two.0 && two.0 <= everybody.0 && two.1 == 3, "{two:?}");
        assert!(everybody.0 <= COMPANY + 2 * TICK && everybody.1 > 3, "{everybody:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_does_not_wait_for_more_than_there_were_before() {
        assert_eq!(gathered(50, 1).await, (Duration::ZERO, 1));
        assert_eq!(gathered(50, 2).await, (Duration::ZERO, 2));
        let (waited, jobs) = gathered(50, 4).await;
        assert!(waited < COMPANY && jobs == 4, "{waited:?}");
    }
}
