//! From a notification to one platform's template.

use crate::error::{PayloadError, Problem};
use crate::json::{Json, Object, Writer};
use crate::locale::Texts;
use crate::template::Template;
use crate::{apns, fcm, webpush};
use carillon_domain::content::{Content, escape_pointer};
use carillon_domain::ids::NotificationId;
use carillon_domain::notification::Notification;
use carillon_domain::platform::Platform;
use jiff::Timestamp;

/// What a body says beside the content.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The notification.
    pub notification_id: NotificationId,
    /// The link of the cascade that this push is; 0 for the first.
    pub link: u16,
    /// When the message is no longer worth delivering.
    pub expires_at: Timestamp,
    /// The app's icon, shown by browsers.
    pub icon_url: Option<&'a str>,
    /// BCP 47 tag that devices fall to whose own locale has no texts.
    pub default_locale: Option<&'a str>,
}

/// Renders one variant for one platform: compact JSON with its splice points. `locale` is one of
/// [`crate::Variants::locales`] (any other tag gives what a device of that locale falls to). Does not look at the size: see
/// [`crate::check`] and [`Template::most_bytes`].
///
/// # Errors
/// When a value of `data` is not JSON, or the platform's overrides are not an object or name a reserved place.
pub fn render(
    n: &Notification,
    platform: Platform,
    locale: Option<&str>,
    facts: &Facts<'_>,
) -> Result<Template, PayloadError> {
    let texts = Texts::of(&n.draft().content, locale, facts.default_locale);
    let mut writer = Writer::default();
    match platform {
        Platform::Apns => writer.value(&Json::Object(apns::root(n, &texts, facts)?)),
        Platform::Fcm => fcm::write(&fcm::message(n, &texts, facts)?, &mut writer),
        Platform::Webpush => writer.value(&Json::Object(webpush::body(n, &texts, facts)?)),
    }
    Ok(writer.finish())
}

/// The app's data as an object, for platforms that carry any JSON.
pub(crate) fn object_of_data(content: &Content) -> Result<Json, PayloadError> {
    let mut object = Object::default();
    for (key, value) in &content.data {
        let at = || PayloadError::new(format!("/content/data/{}", escape_pointer(key)), Problem::NotJson);
        object.put(key, Json::raw(value).ok_or_else(at)?);
    }
    Ok(Json::Object(object))
}
