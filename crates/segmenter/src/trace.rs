//! Whose trace the work on a notification belongs to: a wake-up may name notifications of many callers.

use carillon_domain::ids::NotificationId;
use carillon_telemetry::RemoteContext;
use carillon_telemetry::names::field;
use carillon_wire::events::AcceptedNotification;
use tracing::Span;
use uuid::Uuid;

/// The part of a wake-up's work that belongs to one notification. Nothing unless the notification's trace is recorded.
pub(crate) struct Trace {
    notification: NotificationId,
    /// Its own, or none: the wake-up's goes on with the same trace.
    span: Span,
    traceparent: String,
}

impl Trace {
    /// To be called inside the wake-up's span, which is the notification's too if it is `alone` in it.
    pub(crate) fn of(accepted: &AcceptedNotification, alone: bool) -> Option<Self> {
        if accepted.traceparent.is_empty() && !alone {
            return None;
        }
        let notification = NotificationId(Uuid::from_slice(&accepted.id).ok()?);
        let here = RemoteContext::current();
        let theirs = RemoteContext::from_traceparent(&accepted.traceparent);
        let (span, position) = if !here.is_present() {
            // Where this process exports no traces the callers' go on all the same.
            (Span::none(), theirs)
        } else if !theirs.is_present() || theirs.is_with(&here) {
            (Span::none(), here)
        } else {
            let span = own(notification);
            theirs.continue_in(&span);
            let position = RemoteContext::of(&span);
            (span, position)
        };
        Some(Self { notification, span, traceparent: position.traceparent() })
            .filter(|trace| !trace.traceparent.is_empty())
    }

    /// The traces of all notifications of a wake-up.
    pub(crate) fn of_all(accepted: &[AcceptedNotification]) -> Vec<Self> {
        accepted.iter().filter_map(|one| Self::of(one, accepted.len() == 1)).collect()
    }

    /// What work on this notification alone is to be done in.
    pub(crate) fn into_span(self) -> Span {
        self.span
    }
}

fn own(notification: NotificationId) -> Span {
    tracing::info_span!(
        parent: None,
        "segment",
        otel.kind = "consumer",
        { field::NOTIFICATION_ID } = %notification.0,
    )
}

/// Where a notification's trace goes on; empty if it is not recorded.
pub(crate) fn traceparent(traces: &[Trace], notification: NotificationId) -> String {
    let own = traces.iter().find(|trace| trace.notification == notification);
    own.map(|trace| trace.traceparent.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn accepted(n: u128, traceparent: &str) -> AcceptedNotification {
        AcceptedNotification {
            id: Uuid::from_u128(n).as_bytes().to_vec(),
            traceparent: traceparent.to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn each_notification_of_a_wake_up_goes_on_in_its_own_trace() {
        let other = TRACEPARENT.replace("4bf9", "5bf9");
        let declined = TRACEPARENT.replace("-01", "-00");
        let group = [accepted(1, TRACEPARENT), accepted(2, ""), accepted(3, &other), accepted(4, &declined)];
        let traces = Trace::of_all(&group);
        let of = |n| traceparent(&traces, NotificationId(Uuid::from_u128(n)));
        assert_eq!([of(1), of(2), of(3), of(4)], [TRACEPARENT, "", &other, ""]);
    }
}
