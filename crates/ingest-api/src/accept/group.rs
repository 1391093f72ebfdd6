//! Committing a group, and finding out what happened when the answer did not come.

use carillon_domain::ids::NotificationId;
use carillon_domain::notification::State;
use carillon_store::{Accepted, NewNotification, Store};
use std::time::Duration;

/// Before a group is tried again: long enough for a switch of connections, short against a caller's patience.
const PAUSE: Duration = Duration::from_millis(50);

/// What became of one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    New { state: State },
    Replayed { id: NotificationId, state: State },
    Conflict,
    Unavailable,
    Refused,
}

/// Commits the items, together if that goes, else one by one, so that one that the database refuses takes no other with it.
/// The ids are the caller's own, so an attempt whose answer was lost is recognised by the next.
pub(super) async fn commit(store: &Store, items: &[NewNotification]) -> Vec<Fate> {
    let mut last = None;
    for attempt in 0..2 {
        match store.accept_group(items).await {
            Ok(accepted) => return items.iter().zip(accepted).map(|(item, a)| fate(item, a)).collect(),
            Err(error) if error.is_unavailable() => {
                tracing::warn!(%error, attempt, notifications = items.len(), "a group was not committed");
                last = Some(error);
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => {
                last = Some(error);
                break;
            }
        }
    }
    if last.is_some_and(|error| error.is_unavailable()) {
        return vec![Fate::Unavailable; items.len()];
    }
    one_by_one(store, items).await
}

async fn one_by_one(store: &Store, items: &[NewNotification]) -> Vec<Fate> {
    let mut fates = Vec::with_capacity(items.len());
    for item in items {
        let one = match store.accept_group(std::slice::from_ref(item)).await {
            Ok(accepted) => accepted.into_iter().next().map_or(Fate::Refused, |a| fate(item, a)),
            Err(error) if error.is_unavailable() => {
                tracing::warn!(%error, "a notification was not committed");
                // Each of the others would wait as long.
                fates.resize(items.len(), Fate::Unavailable);
                return fates;
            }
            Err(error) => {
                tracing::error!(%error, notification.id = %item.notification_id.0, "a notification was refused by the database");
                Fate::Refused
            }
        };
        fates.push(one);
    }
    fates
}

fn fate(item: &NewNotification, accepted: Accepted) -> Fate {
    match accepted {
        Accepted::New { state } => Fate::New { state },
        Accepted::Replayed { notification_id, state } if notification_id == item.notification_id => Fate::New { state },
        Accepted::Replayed { notification_id, state } => Fate::Replayed { id: notification_id, state },
        Accepted::Conflict => Fate::Conflict,
    }
}
