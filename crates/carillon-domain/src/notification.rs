//! A notification: draft -> validate, one way for REST, gRPC and AMQP.

use crate::audience::{Audience, Deliver};
use crate::cascade::CascadeLink;
use crate::content::Content;
use crate::fault::{ErrorCode, Faults, check_text};
use crate::ids::check_slug;
use crate::limits;
use crate::platform::{Kind, closed_list};
use crate::span::Seconds;
use jiff::Timestamp;

closed_list! {
    /// How urgently a provider should deliver.
    Priority {
        /// At once.
        High = 1, "high";
        /// When it suits the device's battery.
        Normal = 2, "normal";
    }
}

closed_list! {
    /// Where a notification stands.
    State {
        /// Waits for its time.
        Scheduled = 1, "scheduled";
        /// Is being sent.
        Sending = 2, "sending";
        /// Nothing more is sent, and no cascade goes on, until it is resumed.
        Paused = 3, "paused";
        /// Was cancelled.
        Cancelled = 4, "cancelled";
        /// Nothing is queued and no cascade waits.
        Finished = 5, "finished";
    }
}

/// Delivery options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Time to live from when the message is due; 28 days when absent.
    pub ttl: Option<Seconds>,
    /// High for what is shown, normal for silent data, when absent.
    pub priority: Option<Priority>,
    /// Later notifications with the same key replace this one.
    pub collapse_key: Option<String>,
}

/// What a caller asks for, as it came: every intake makes one, [`Draft::validate`] decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// The app.
    pub app: String,
    /// The caller's own name for it, echoed in statuses.
    pub reference: Option<String>,
    /// The caller's own values, echoed in statuses; in the order of the keys.
    pub metadata: Vec<(String, String)>,
    /// Who.
    pub to: Audience,
    /// Which devices of each person; every device when absent.
    pub deliver: Option<Deliver>,
    /// Traffic type; transactional when absent.
    pub kind: Option<Kind>,
    /// What it says.
    pub content: Content,
    /// How.
    pub options: Options,
    /// When; at once when absent.
    pub send_at: Option<Timestamp>,
    /// What follows for who did not react.
    pub cascade: Vec<CascadeLink>,
}

/// A draft that was found valid and normalised: equal requests are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification(Draft);

impl Draft {
    /// Checks everything that can be known without asking anybody, and normalises. `now` decides about `schedule.at`.
    ///
    /// # Errors
    /// All faults at once, each with the pointer of its place.
    pub fn validate(mut self, now: Timestamp) -> Result<Notification, Faults> {
        let mut faults = Faults::new();
        check_slug(&mut faults, "/app", &self.app);
        self.check_labels(&mut faults);
        self.to.check(&mut faults, "/to");
        self.content.check(&mut faults, "/content");
        self.check_options(&mut faults);
        self.check_schedule(&mut faults, now);
        crate::cascade::check(&mut faults, &self.cascade, &self.content);
        self.to.normalize();
        self.metadata.sort_unstable();
        self.content.data.sort_by(|a, b| a.0.cmp(&b.0));
        self.content.localized.sort_by(|a, b| a.locale.cmp(&b.locale));
        self.content.localized.iter_mut().for_each(|one| one.buttons.sort_unstable());
        self.cascade.iter_mut().for_each(|link| link.sms.localized.sort_unstable());
        faults.into_result(Notification(self))
    }

    fn check_labels(&self, faults: &mut Faults) {
        if let Some(reference) = &self.reference {
            check_text(faults, "/reference", reference, limits::REFERENCE_BYTES);
        }
        if self.metadata.len() > limits::METADATA_KEYS {
            faults.add("/metadata", format!("at most {} keys", limits::METADATA_KEYS));
        }
        for (key, value) in &self.metadata {
            let at = format!("/metadata/{}", crate::content::escape_pointer(key));
            check_text(faults, &at, key, limits::METADATA_BYTES);
            check_text(faults, &at, value, limits::METADATA_BYTES);
        }
    }

    fn check_options(&self, faults: &mut Faults) {
        match self.options.ttl {
            Some(ttl) if ttl.0 > limits::TTL_SECONDS => faults.add("/options/ttl", "at most 28 days (4w)"),
            _ => {}
        }
        if let Some(key) = &self.options.collapse_key
            && (key.is_empty() || key.len() > limits::COLLAPSE_KEY_BYTES || !key.bytes().all(|b| b.is_ascii_graphic()))
        {
            faults.add("/options/collapse_key", "must be 1-64 visible ASCII characters");
        }
    }

    fn check_schedule(&self, faults: &mut Faults, now: Timestamp) {
        let Some(at) = self.send_at else { return };
        let ahead = at.as_second() - now.as_second();
        if ahead < -limits::SCHEDULE_PAST_SECONDS {
            faults.add_code(ErrorCode::ScheduleInPast, "/schedule/at", "lies more than 5 minutes in the past");
        } else if ahead > limits::SCHEDULE_AHEAD_SECONDS {
            faults.add("/schedule/at", "lies more than a year ahead");
        }
    }
}

impl Notification {
    /// Takes a draft that was validated before, when the notification was accepted (from our own tables and events).
    pub fn accepted(draft: Draft) -> Self {
        Self(draft)
    }

    /// The normalised draft.
    pub fn draft(&self) -> &Draft {
        &self.0
    }

    /// The normalised draft, to be taken apart.
    pub fn into_draft(self) -> Draft {
        self.0
    }

    /// Time to live.
    pub fn ttl(&self) -> Seconds {
        self.0.options.ttl.unwrap_or(Seconds(limits::TTL_SECONDS))
    }

    /// Whether its time to live is nothing: providers keep it for nobody, and it is tried for a moment only.
    pub fn is_now_or_never(&self) -> bool {
        self.ttl().0 == 0
    }

    /// How long after it is due it is tried: its time to live, or the moment of one that goes now or never.
    pub fn lives_for(&self) -> Seconds {
        if self.is_now_or_never() { Seconds(limits::NOW_OR_NEVER_SECONDS) } else { self.ttl() }
    }

    /// Priority: what is shown is urgent, silent data is not.
    pub fn priority(&self) -> Priority {
        let default = if self.0.content.silent { Priority::Normal } else { Priority::High };
        self.0.options.priority.unwrap_or(default)
    }

    /// Traffic type.
    pub fn kind(&self) -> Kind {
        self.0.kind.unwrap_or(Kind::Transactional)
    }

    /// Which devices of each person.
    pub fn deliver(&self) -> Deliver {
        self.0.deliver.unwrap_or(Deliver::EveryDevice)
    }

    /// Whether it waits for a time after `now`.
    pub fn is_scheduled(&self, now: Timestamp) -> bool {
        self.0.send_at.is_some_and(|at| at > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-01T12:00:00Z".parse().unwrap()
    }

    fn hello() -> Draft {
        Draft {
            app: "shop".into(),
            to: Audience { users: ["u2", "u1", "u2"].into(), ..Default::default() },
            content: Content { title: Some("Hello".into()), ..Default::default() },
            ..Default::default()
        }
    }

    #[test]
    fn equal_requests_are_equal_after_validation() {
        let mut other = hello();
        other.to.users = ["u1", "u2"].into();
        assert_eq!(hello().validate(now()), other.validate(now()));
    }

    #[test]
    fn all_faults_come_at_once() {
        let draft = Draft {
            app: "Shop!".into(),
            options: Options {
                ttl: Some(Seconds(limits::TTL_SECONDS + 1)),
                collapse_key: Some("ä".into()),
                ..Default::default()
            },
            send_at: Some("2026-11-01T11:00:00Z".parse().unwrap()),
            ..Default::default()
        };
        let faults = draft.validate(now()).unwrap_err();
        let at: Vec<_> = faults.as_slice().iter().map(|f| f.pointer.as_str()).collect();
        assert_eq!(at, ["/app", "/to", "/content", "/options/ttl", "/options/collapse_key", "/schedule/at"]);
    }

    #[test]
    fn a_schedule_a_little_in_the_past_is_sent_at_once() {
        let mut draft = hello();
        draft.send_at = Some("2026-11-01T11:56:00Z".parse().unwrap());
        assert!(!draft.validate(now()).unwrap().is_scheduled(now()));
    }
}
