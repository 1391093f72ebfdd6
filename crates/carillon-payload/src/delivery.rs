//! What a provider wants to know beside the body.

use crate::render::Facts;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carillon_domain::content::InterruptionLevel;
use carillon_domain::notification::{Notification, Priority};
use carillon_domain::platform::Platform;
use uuid::Uuid;

/// The facts of a push that go into headers, the same for every device of a platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Whether the push does something that the person notices: APNs push type `alert`, else `background`.
    pub shown: bool,
    /// APNs priority 10 or 5, FCM's HIGH or NORMAL (in the body already), Web Push urgency. Never high for an APNs background
    /// push, which Apple refuses.
    pub priority: Priority,
    /// What hides a repeated copy, never empty: `apns-collapse-id` (at most 64 bytes of ASCII), FCM's notification tag (in the
    /// body already), Web Push `Topic` (at most 32 characters of base64url, RFC 8030, section 5.4).
    pub collapse_id: String,
    /// Whether the caller chose the key behind it; only then is there an FCM `collapseKey`.
    pub collapse_chosen: bool,
    /// How much it may interrupt, where the caller said so.
    pub interruption_level: Option<InterruptionLevel>,
}

/// The facts beside the body for one platform.
pub fn delivery(n: &Notification, platform: Platform, facts: &Facts<'_>) -> Delivery {
    let content = &n.draft().content;
    // Silent content with a badge wakes the app and changes its icon: Apple takes a badge in alerts only.
    let shown = content.is_shown() || (platform == Platform::Apns && content.badge.is_some());
    let priority = if platform == Platform::Apns && !shown { Priority::Normal } else { n.priority() };
    let collapse_id = match platform {
        Platform::Apns | Platform::Fcm => collapse_key(n).map_or_else(|| own_id(facts), str::to_owned),
        Platform::Webpush => topic(n, facts),
    };
    Delivery {
        shown,
        priority,
        collapse_id,
        collapse_chosen: collapse_key(n).is_some(),
        interruption_level: content.interruption_level,
    }
}

pub(crate) fn collapse_key(n: &Notification) -> Option<&str> {
    n.draft().options.collapse_key.as_deref()
}

/// Names one push of a notification: its id, with the link where it is not the first. At most 42 bytes.
pub(crate) fn own_id(facts: &Facts<'_>) -> String {
    match facts.link {
        0 => facts.notification_id.0.to_string(),
        link => format!("{}.{link}", facts.notification_id.0),
    }
}

/// 22 characters: the notification's id, or a hash of whatever names the push otherwise.
fn topic(n: &Notification, facts: &Facts<'_>) -> String {
    let id = match collapse_key(n) {
        Some(key) => Uuid::new_v5(&Uuid::nil(), key.as_bytes()),
        None if facts.link == 0 => facts.notification_id.0,
        None => Uuid::new_v5(&Uuid::nil(), own_id(facts).as_bytes()),
    };
    URL_SAFE_NO_PAD.encode(id.as_bytes())
}
