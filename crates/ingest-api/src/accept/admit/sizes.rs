//! Whether the platforms that a notification is meant for would take it.

use crate::refusal::Refusal;
use carillon_domain::fault::{ErrorCode, Faults};
use carillon_domain::ids::NotificationId;
use carillon_domain::notification::Notification;
use carillon_domain::platform::Platform;
use carillon_payload::{CheckError, Facts, TooLarge};
use carillon_store::App;
use jiff::Timestamp;

/// Refuses what a platform would not take: its content, or its bytes.
///
/// # Errors
/// `invalid_request`, `payload_too_large`.
pub(super) fn check(
    notification: &Notification,
    id: NotificationId,
    app: &App,
    platforms: &[Platform],
    now: Timestamp,
) -> Result<(), Refusal> {
    let facts = Facts {
        notification_id: id,
        link: 0,
        expires_at: now,
        icon_url: app.settings.icon_url.as_deref(),
        default_locale: app.settings.default_locale.as_deref(),
    };
    match carillon_payload::check(notification, platforms, &facts) {
        Ok(()) => Ok(()),
        Err(CheckError::Content(errors)) => {
            let mut faults = Faults::new();
            for error in errors {
                faults.add(error.pointer, error.problem.to_string());
            }
            Err(faults.into())
        }
        Err(CheckError::TooLarge(all)) => Err(too_large(&all)),
    }
}

/// The first platform speaks for all in the members that the contract names; each has its fault.
fn too_large(all: &[TooLarge]) -> Refusal {
    let mut faults = Faults::new();
    for one in all {
        faults.add_code(ErrorCode::PayloadTooLarge, "/content", one.to_string());
    }
    let mut refusal = Refusal::from(faults);
    if let Some(first) = all.first() {
        let members = &mut refusal.members;
        members.insert("platform".into(), first.platform.as_str().into());
        members.insert("bytes".into(), first.bytes.into());
        members.insert("limit".into(), first.limit.into());
    }
    refusal
}
