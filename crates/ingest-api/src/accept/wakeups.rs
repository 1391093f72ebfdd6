//! Wake-ups: what was committed is published at once, and again from memory when the broker did not take it. What is lost with the
//! process, or does not fit, is found by the scan for due rows.

use carillon_broker::{Outgoing, PublishError, Publisher};
use carillon_domain::ids::{AppKey, NotificationId, TenantKey};
use carillon_domain::limits;
use carillon_domain::platform::Lane;
use carillon_runtime::CancellationToken;
use carillon_telemetry::RemoteContext;
use carillon_wire::events::{AcceptedNotification, NotificationsAccepted};
use carillon_wire::topology;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// Messages that wait for the publisher, and as many again that wait for their confirm.
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
    queue: mpsc::Sender<Outgoing>,
    left: Arc<Left>,
}

/// What was handed over, for [`publish`].
pub(super) struct Handed {
    queue: mpsc::Receiver<Outgoing>,
    left: Arc<Left>,
}

impl Wakeups {
    pub(super) fn new() -> (Self, Handed) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let left = Arc::<Left>::default();
        (Self { queue: sender, left: Arc::clone(&left) }, Handed { queue: receiver, left })
    }

    /// One message per lane and 64 notifications.
    pub(super) fn wake(&self, news: Vec<News>) {
        for message in messages(news) {
            if self.queue.try_send(message).is_err() {
                self.left.one_more();
            }
        }
    }
}

fn messages(news: Vec<News>) -> Vec<Outgoing> {
    let mut messages = Vec::new();
    for lane in Lane::ALL {
        let of_lane: Vec<&News> = news.iter().filter(|one| one.3 == *lane).collect();
        messages.extend(of_lane.chunks(limits::WAKEUP_NOTIFICATIONS).filter_map(|group| message(*lane, group)));
    }
    messages
}

/// A group of many callers belongs to many traces: each notification carries its own, if it is recorded. The header names
/// one: the first that is recorded, else the first that there is, so that who goes on does not record either.
fn message(lane: Lane, group: &[&News]) -> Option<Outgoing> {
    let notifications = group
        .iter()
        .map(|(id, tenant, app, _, trace)| AcceptedNotification {
            id: id.0.as_bytes().to_vec(),
            tenant_key: tenant.0,
            app_key: app.0,
            traceparent: trace.traceparent(),
        })
        .collect();
    let event = NotificationsAccepted { notifications };
    let id = group.first()?.0.0.to_string();
    let mut message = Outgoing::to(topology::runs(lane), &event).with_id(id);
    for (name, value) in named_trace(group).headers() {
        message = message.with_header(name, value);
    }
    Some(message)
}

/// The trace that a message's header names.
fn named_trace(group: &[&News]) -> RemoteContext {
    let traces = || group.iter().map(|one| &one.4);
    let named = traces().find(|trace| trace.is_sampled()).or_else(|| traces().find(|trace| trace.is_present()));
    named.cloned().unwrap_or_else(RemoteContext::none)
}

/// Publishes until the last sender is gone and everything is confirmed or given up.
pub(super) async fn publish(handed: Handed, publisher: Publisher, stopping: CancellationToken) {
    let Handed { queue: mut messages, left } = handed;
    let mut unconfirmed = FuturesUnordered::new();
    let mut tell = tokio::time::interval(TELL);
    loop {
        tokio::select! {
            message = messages.recv(), if unconfirmed.len() < WAITING => match message {
                Some(message) => unconfirmed.push(deliver(&publisher, message, &stopping, &left)),
                None => break,
            },
            Some(()) = unconfirmed.next() => {}
            _ = tell.tick() => {
                left.tell();
            }
        }
    }
    while unconfirmed.next().await.is_some() {}
    left.tell();
}

async fn deliver(publisher: &Publisher, message: Outgoing, stopping: &CancellationToken, left: &Left) {
    for pause in PAUSES {
        match publisher.publish(message.clone()).await {
            Ok(()) => return,
            Err(error) if !error.is_retryable() || error == PublishError::Closed => {
                tracing::error!(%error, message.id = message.id(), "a wake-up cannot be published");
                return;
            }
            Err(error) => tracing::debug!(%error, message.id = message.id(), "a wake-up was not confirmed"),
        }
        if stopping.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            break;
        }
    }
    left.one_more();
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_broker::Event;
    use uuid::Uuid;

    const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn news(n: u128, lane: Lane, traceparent: &str) -> News {
        let trace = RemoteContext::from_traceparent(traceparent);
        (NotificationId(Uuid::from_u128(n)), TenantKey(1), AppKey(2), lane, trace)
    }

    #[test]
    fn notifications_of_many_callers_keep_their_own_traces_in_one_message() {
        let (declined, other) = (SAMPLED.replace("-01", "-00"), SAMPLED.replace("4bf9", "5bf9"));
        let all = ["", &declined, &other, SAMPLED].into_iter().zip(0..);
        let all: Vec<News> = all.map(|(trace, n)| news(n, Lane::Transactional, trace)).collect();
        assert_eq!(named_trace(&all.iter().collect::<Vec<_>>()).traceparent(), other);
        let message = messages(all).remove(0);
        let carried = NotificationsAccepted::decode(message.body()).unwrap().notifications;
        let carried: Vec<&str> = carried.iter().map(|one| one.traceparent.as_str()).collect();
        assert_eq!(carried, ["", "", &other, SAMPLED]);
    }

    #[test]
    fn that_no_trace_is_recorded_is_said_once() {
        let declined = SAMPLED.replace("-01", "-00");
        let (without, with) = (news(1, Lane::Bulk, ""), news(2, Lane::Bulk, &declined));
        assert_eq!(named_trace(&[&without, &with]).headers(), [("traceparent".to_owned(), declined)]);
        assert_eq!(named_trace(&[&without]).headers(), []);
    }

    #[test]
    fn a_group_becomes_one_message_per_lane_and_64_notifications() {
        let mut all: Vec<News> = (0..100).map(|n| news(n, Lane::Transactional, "")).collect();
        all.push(news(1000, Lane::Bulk, ""));
        let sizes: Vec<usize> = messages(all)
            .iter()
            .map(|m| NotificationsAccepted::decode(m.body()).unwrap().notifications.len())
            .collect();
        assert_eq!(sizes, [64, 36, 1]);
    }

    #[test]
    fn how_many_were_left_is_said_together_and_once() {
        let (wakeups, handed) = Wakeups::new();
        // Nobody publishes: the queue is full soon.
        for n in 0..WAITING as u128 + 3 {
            wakeups.wake(vec![news(n, Lane::Bulk, "")]);
        }
        handed.left.one_more();
        assert_eq!((handed.left.tell(), handed.left.tell()), (4, 0));
    }

    #[test]
    fn a_wake_up_is_named_by_its_first_notification_so_that_a_copy_is_known() {
        let message = messages(vec![news(7, Lane::Bulk, "")]).remove(0);
        assert_eq!(message.id(), Uuid::from_u128(7).to_string());
    }
}
