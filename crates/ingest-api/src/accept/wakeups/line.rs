//! Which news go together, and when.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use carillon_broker::Outgoing;
use carillon_domain::limits;
use carillon_domain::platform::Lane;
use carillon_telemetry::RemoteContext;
use carillon_wire::events::{AcceptedNotification, NotificationsAccepted};
use carillon_wire::topology;
use tokio::time::Instant;

use super::News;

/// How long news wait for the message before them: it may be one that is never confirmed.
const PATIENCE: Duration = Duration::from_millis(100);

/// News by lane, as each lane has a queue of its own.
#[derive(Default)]
pub(super) struct Lines(HashMap<Lane, Line>);

impl Lines {
    /// Takes news in.
    pub(super) fn push(&mut self, news: Vec<News>, now: Instant) {
        news.into_iter().for_each(|one| self.0.entry(one.3).or_default().push(one, now));
    }

    /// The next message, if one should go now, and its lane. [`Lines::landed`] is to be called when it is there, or is not.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Lane, Outgoing)> {
        self.0.iter_mut().find_map(|(lane, line)| Some((*lane, line.next(*lane, now)?)))
    }

    /// A lane's message is confirmed or refused.
    pub(super) fn landed(&mut self, lane: Lane) {
        if let Some(line) = self.0.get_mut(&lane) {
            line.under_way = line.under_way.saturating_sub(1);
        }
    }

    /// When the first of those that wait goes, whatever becomes of the message before it.
    pub(super) fn goes_at(&self) -> Option<Instant> {
        self.0.values().filter_map(Line::goes_at).min()
    }
}

/// While a message is on its way to the broker, news that come share the next one: it costs the broker and the segmenter the same whatever is in it.
/// What fills a message does not wait.
#[derive(Default)]
struct Line {
    waiting: VecDeque<News>,
    /// Since when the first of them does, or somebody who went before it did.
    since: Option<Instant>,
    /// Messages that were sent and neither confirmed nor refused.
    under_way: usize,
}

impl Line {
    fn push(&mut self, one: News, now: Instant) {
        self.since.get_or_insert(now);
        self.waiting.push_back(one);
    }

    fn next(&mut self, lane: Lane, now: Instant) -> Option<Outgoing> {
        let is_full = self.waiting.len() >= limits::WAKEUP_NOTIFICATIONS;
        if self.waiting.is_empty() || (self.under_way > 0 && !is_full && self.goes_at().is_some_and(|at| now < at)) {
            return None;
        }
        let most = self.waiting.len().min(limits::WAKEUP_NOTIFICATIONS);
        let group: Vec<News> = self.waiting.drain(..most).collect();
        self.since = if self.waiting.is_empty() { None } else { Some(now) };
        self.under_way += 1;
        message(lane, &group)
    }

    /// When those that wait go, whatever becomes of the message before them.
    fn goes_at(&self) -> Option<Instant> {
        self.since.map(|since| since + PATIENCE)
    }
}

/// A group of many callers belongs to many traces: each notification carries its own, if it is recorded. The header names
/// one: the first that is recorded, else the first that there is, so that who goes on does not record either.
fn message(lane: Lane, group: &[News]) -> Option<Outgoing> {
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
fn named_trace(group: &[News]) -> RemoteContext {
    let traces = || group.iter().map(|one| &one.4);
    let named = traces().find(|trace| trace.is_sampled()).or_else(|| traces().find(|trace| trace.is_present()));
    named.cloned().unwrap_or_else(RemoteContext::none)
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_broker::Event;
    use carillon_domain::ids::{AppKey, NotificationId, TenantKey};
    use uuid::Uuid;

    const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    const LANE: Lane = Lane::Transactional;

    fn news(n: u128, traceparent: &str) -> News {
        let trace = RemoteContext::from_traceparent(traceparent);
        (NotificationId(Uuid::from_u128(n)), TenantKey(1), AppKey(2), Lane::Transactional, trace)
    }

    fn carried(message: &Outgoing) -> Vec<AcceptedNotification> {
        NotificationsAccepted::decode(message.body()).unwrap().notifications
    }

    /// How many notifications each message has that goes now.
    fn go(lines: &mut Lines, now: Instant) -> Vec<usize> {
        std::iter::from_fn(|| lines.next(now)).map(|(_, message)| carried(&message).len()).collect()
    }

    #[test]
    fn lanes_share_no_message_and_do_not_wait_for_each_other() {
        let (mut lines, now) = (Lines::default(), Instant::now());
        let mut bulk = news(9, "");
        bulk.3 = Lane::Bulk;
        lines.push(vec![news(1, ""), bulk.clone(), news(2, "")], now);
        let gone: HashMap<Lane, usize> =
            std::iter::from_fn(|| lines.next(now)).map(|(lane, message)| (lane, carried(&message).len())).collect();
        assert_eq!(gone, HashMap::from([(LANE, 2), (Lane::Bulk, 1)]));
        lines.push(vec![news(3, ""), bulk], now);
        lines.landed(Lane::Bulk);
        assert_eq!(lines.next(now).map(|(lane, _)| lane), Some(Lane::Bulk));
        assert!(lines.next(now).is_none());
    }

    #[test]
    fn news_go_at_once_and_those_that_come_meanwhile_share_the_next_message() {
        let (mut lines, now) = (Lines::default(), Instant::now());
        lines.push(vec![news(1, "")], now);
        assert_eq!(go(&mut lines, now), [1]);
        (2..5).for_each(|n| lines.push(vec![news(n, "")], now));
        assert_eq!(go(&mut lines, now), [0; 0]);
        lines.landed(LANE);
        assert_eq!(go(&mut lines, now), [3]);
        assert_eq!(lines.goes_at(), None);
    }

    #[test]
    fn what_fills_a_message_does_not_wait() {
        let (mut lines, now) = (Lines::default(), Instant::now());
        (0..150).for_each(|n| lines.push(vec![news(n, "")], now));
        assert_eq!(go(&mut lines, now), [64, 64]);
        lines.landed(LANE);
        assert_eq!(go(&mut lines, now), [0; 0], "one is still under way");
        lines.landed(LANE);
        assert_eq!(go(&mut lines, now), [22]);
    }

    #[test]
    fn nobody_waits_for_long_for_a_message_that_is_never_confirmed() {
        let (mut lines, now) = (Lines::default(), Instant::now());
        lines.push(vec![news(1, "")], now);
        assert_eq!(go(&mut lines, now), [1]);
        let later = now + PATIENCE;
        lines.push(vec![news(2, "")], later);
        assert_eq!(go(&mut lines, later), [0; 0]);
        assert_eq!(lines.goes_at(), Some(later + PATIENCE));
        assert_eq!(go(&mut lines, later + PATIENCE), [1]);
    }

    #[test]
    fn notifications_of_many_callers_keep_their_own_traces_in_one_message() {
        let (declined, other) = (SAMPLED.replace("-01", "-00"), SAMPLED.replace("4bf9", "5bf9"));
        let all = ["", &declined, &other, SAMPLED].into_iter().zip(0..);
        let all: Vec<News> = all.map(|(trace, n)| news(n, trace)).collect();
        assert_eq!(named_trace(&all).traceparent(), other);
        let carried = carried(&message(Lane::Transactional, &all).unwrap());
        let carried: Vec<&str> = carried.iter().map(|one| one.traceparent.as_str()).collect();
        assert_eq!(carried, ["", "", &other, SAMPLED]);
    }

    #[test]
    fn that_no_trace_is_recorded_is_said_once() {
        let declined = SAMPLED.replace("-01", "-00");
        let (without, with) = (news(1, ""), news(2, &declined));
        assert_eq!(named_trace(&[without.clone(), with]).headers(), [("traceparent".to_owned(), declined)]);
        assert_eq!(named_trace(&[without]).headers(), []);
    }

    #[test]
    fn a_wake_up_is_named_by_its_first_notification_so_that_a_copy_is_known() {
        let message = message(Lane::Bulk, &[news(7, ""), news(8, "")]).unwrap();
        assert_eq!(message.id(), Uuid::from_u128(7).to_string());
    }
}
