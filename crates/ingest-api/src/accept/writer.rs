//! The writer: one task that turns the queue into commits.

use super::Answer;
use super::company::Company;
use super::group::{Fate, commit};
use super::keys::InFlight;
use super::wakeups::Wakeups;
use carillon_domain::ids::NotificationId;
use carillon_domain::notification::State;
use carillon_store::{NewNotification, Store};
use carillon_telemetry::metrics::{self, Counter};
use carillon_telemetry::{RemoteContext, names};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// Most notifications of one commit.
const GROUP: usize = 1_000;

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
    let mut company = Company::new();
    while queue.recv_many(&mut jobs, GROUP).await > 0 {
        company.gather(&mut queue, &mut jobs, GROUP).await;
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
