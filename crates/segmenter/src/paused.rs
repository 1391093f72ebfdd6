//! Paused notifications whose look is due: what has expired and waits for nothing else need not be resumed to end.

use carillon_domain::notification::Notification;
use carillon_store::{DuePaused, Error, Store};
use jiff::{SignedDuration, Timestamp};

/// Paused notifications seen to in one look.
const MOST: i64 = 100;

/// Dispatchers still send what is to go at once or never for half a minute after it expired.
const GRACE: SignedDuration = SignedDuration::from_mins(1);

/// How often one that expired and still waits for its resume is looked at.
const WAITING: SignedDuration = SignedDuration::from_hours(24);

/// What becomes of one.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It may be resumed and sent until then.
    Look(Timestamp),
    /// All that was not sent has expired.
    Expire,
    /// Text messages may follow, and these wait for the resume.
    Wait,
}

/// Looks at those that are due.
pub(crate) async fn look(store: &Store) -> Result<(), Error> {
    for paused in store.due_paused(MOST).await? {
        let fate = match carillon_wire::decode_body(&paused.body) {
            Ok(notification) => fate(&paused, &notification),
            Err(error) => {
                tracing::error!(notification.id = %paused.notification_id.0, %error, "a paused notification does not read; it is left alone");
                Fate::Wait
            }
        };
        match fate {
            Fate::Look(at) => store.look_later(&paused, at).await?,
            Fate::Expire => store.let_expire(&paused).await?,
            Fate::Wait => {
                // Its texts may not be waited for any more: their persons have read.
                store.finish_runs(paused.run.as_slice()).await?;
                store.look_later(&paused, paused.now + WAITING).await?;
            }
        }
    }
    Ok(())
}

fn fate(paused: &DuePaused, notification: &Notification) -> Fate {
    let ttl = SignedDuration::from_secs(i64::from(notification.lives_for().0));
    let expires_at = paused.expires_at.unwrap_or(paused.released_at + ttl);
    let over = expires_at + GRACE;
    if paused.now < over {
        Fate::Look(over)
    } else if notification.draft().cascade.is_empty() {
        Fate::Expire
    } else {
        Fate::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_domain::cascade::{CascadeLink, Sms, Unless};
    use carillon_domain::ids::NotificationId;
    use carillon_domain::notification::{Draft, Options};
    use carillon_domain::span::Seconds;
    use uuid::Uuid;

    /// Of one that lives an hour, so long after it was to be sent.
    fn after(seconds: i64, cascade: bool) -> Fate {
        let released_at: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let link = CascadeLink { unless: Unless::Read, within: Seconds(60), sms: Sms::default() };
        let notification = Notification::accepted(Draft {
            options: Options { ttl: Some(Seconds(3_600)), ..Default::default() },
            cascade: if cascade { vec![link] } else { Vec::new() },
            ..Default::default()
        });
        let paused = DuePaused {
            notification_id: NotificationId(Uuid::nil()),
            epoch: 1,
            body: Vec::new(),
            released_at,
            expires_at: None,
            now: released_at + SignedDuration::from_secs(seconds),
            run: None,
        };
        fate(&paused, &notification)
    }

    #[test]
    fn a_paused_notification_is_looked_at_when_it_expires_and_ends_unless_texts_may_follow() {
        let over = "2026-11-22T13:01:00Z".parse().unwrap();
        assert_eq!(after(0, false), Fate::Look(over));
        assert_eq!(after(3_659, true), Fate::Look(over));
        assert_eq!(after(3_660, false), Fate::Expire);
        assert_eq!(after(3_660, true), Fate::Wait);
    }
}
