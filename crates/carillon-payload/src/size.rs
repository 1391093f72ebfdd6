//! Whether content fits where it would go, said when it is accepted.

use crate::error::PayloadError;
use crate::fcm;
use crate::locale::Variants;
use crate::overrides;
use crate::render::{Facts, render};
use crate::{apns, webpush};
use carillon_domain::notification::Notification;
use carillon_domain::platform::Platform;

/// The most bytes of a body that a platform takes: APNs 4096 (providers page, section 1), FCM 4096 without the target
/// (section 2), Web Push 3993 before encryption (RFC 8291, section 4: one record in a body of 4096).
pub const fn limit(platform: Platform) -> usize {
    match platform {
        Platform::Apns | Platform::Fcm => 4096,
        Platform::Webpush => 3993,
    }
}

/// A body that a platform would refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} takes at most {limit} bytes, this would be {bytes}", platform.as_str())]
pub struct TooLarge {
    /// Whose limit.
    pub platform: Platform,
    /// The bytes of the largest variant with the longest values of a message.
    pub bytes: usize,
    /// The platform's limit.
    pub limit: usize,
}

/// Why content cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// Values that cannot be rendered, each once.
    #[error("{} values cannot be rendered", .0.len())]
    Content(Vec<PayloadError>),
    /// Platforms that would refuse it, in the order they were asked for.
    #[error("the body is too large for {} platforms", .0.len())]
    TooLarge(Vec<TooLarge>),
}

/// The bytes that a provider counts for the largest variant, with the longest device id, reference and time to live.
///
/// # Errors
/// As [`render`].
pub fn largest(n: &Notification, platform: Platform, facts: &Facts<'_>) -> Result<usize, PayloadError> {
    let mut most = 0;
    for locale in Variants::of(n, facts).locales() {
        most = most.max(render(n, platform, locale, facts)?.most_bytes());
    }
    Ok(most)
}

/// Checks at accept that every variant can be rendered and fits each of `platforms`: those that the app has credentials for
/// and the audience admits. Overrides are checked for all platforms, so that one that gets credentials later finds them good.
///
/// # Errors
/// Everything that is wrong, of one kind: what cannot be rendered has no size.
pub fn check(n: &Notification, platforms: &[Platform], facts: &Facts<'_>) -> Result<(), CheckError> {
    let content = &n.draft().content;
    let mut errors: Vec<PayloadError> = [
        overrides::read(content.overrides.apns.as_ref(), &apns::RULES).err(),
        fcm::patch(content).err(),
        overrides::read(content.overrides.webpush.as_ref(), &webpush::RULES).err(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut too_large = Vec::new();
    for platform in platforms {
        match largest(n, *platform, facts) {
            Ok(bytes) if bytes > limit(*platform) => {
                too_large.push(TooLarge { platform: *platform, bytes, limit: limit(*platform) });
            }
            Ok(_) => {}
            Err(error) if errors.contains(&error) => {}
            Err(error) => errors.push(error),
        }
    }
    match (errors.is_empty(), too_large.is_empty()) {
        (false, _) => Err(CheckError::Content(errors)),
        (true, false) => Err(CheckError::TooLarge(too_large)),
        (true, true) => Ok(()),
    }
}
