//! Wake-ups: made in a trace, and for one page of a campaign.

use carillon_broker::{Delivery, Effects, Outgoing};
use carillon_domain::platform::Lane;
use carillon_telemetry::RemoteContext;
use carillon_wire::events::{AcceptedNotification, NotificationsAccepted};
use carillon_wire::topology;

/// Says in a campaign's wake-up how many pages were committed, and how often it was steered, when it was sent. Where that is more by now, another wake-up has overtaken
/// this one, and a campaign is walked by one at a time.
const EPOCH: &str = "carillon-epoch";

/// Which page a campaign's wake-up is for; nothing: whichever comes next. That is so for one that is handed out again: who had it before may
/// have committed pages and died, and then no other wake-up is under way.
pub(crate) fn epoch_of(delivery: &Delivery) -> Option<i32> {
    if delivery.redelivered {
        return None;
    }
    delivery.headers.iter().find(|(name, _)| name == EPOCH).and_then(|(_, value)| value.parse().ok())
}

/// A campaign's wake-up for its page number `epoch`.
pub(crate) fn wake_campaign(
    trace: &RemoteContext,
    notification: AcceptedNotification,
    epoch: i32,
    lane: Lane,
) -> Outgoing {
    wake_up_in(trace, lane, vec![notification]).with_header(EPOCH, epoch.to_string())
}

/// The same wake-up once more, for the same page.
pub(crate) fn wake_again(lane: Lane, event: NotificationsAccepted, epoch: Option<i32>) -> Outgoing {
    let message = wake_up(lane, event.notifications);
    epoch.into_iter().fold(message, |m, epoch| m.with_header(EPOCH, epoch.to_string()))
}

/// A wake-up to publish, as part of the current trace.
pub(crate) fn wake_up(lane: Lane, notifications: Vec<AcceptedNotification>) -> Outgoing {
    wake_up_in(&RemoteContext::current(), lane, notifications)
}

/// A wake-up to publish, as part of a trace.
pub(crate) fn wake_up_in(trace: &RemoteContext, lane: Lane, notifications: Vec<AcceptedNotification>) -> Outgoing {
    let message = Outgoing::to(topology::runs(lane), &NotificationsAccepted { notifications });
    trace.headers().into_iter().fold(message, |m, (name, value)| m.with_header(name, value))
}

/// A wake-up for each of a transactional one's notifications.
pub(crate) fn one_by_one(event: NotificationsAccepted) -> Effects {
    event.notifications.into_iter().map(|one| wake_up(Lane::Transactional, vec![one])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_wire::events::AcceptedNotification;

    #[test]
    fn a_group_that_is_taken_apart_loses_nobody_and_keeps_every_trace() {
        let one = |n: u8| AcceptedNotification { id: vec![n; 16], traceparent: n.to_string(), ..Default::default() };
        let apart = one_by_one(NotificationsAccepted { notifications: (0..3).map(one).collect() });
        let read = |body: &[u8]| <NotificationsAccepted as carillon_broker::Event>::decode(body).unwrap().notifications;
        assert_eq!(apart.iter().map(|out| read(out.body())).collect::<Vec<_>>(), [0, 1, 2].map(|n| vec![one(n)]));
    }
}
