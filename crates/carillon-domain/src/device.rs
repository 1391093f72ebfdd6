//! A device's registration: what may be said about an installation.

use crate::content::is_locale;
use crate::fault::{Faults, check_text};
use crate::ids::{check_device_id, check_user_id};
use crate::limits;
use crate::phone::Phone;
use crate::platform::{Os, Platform, closed_list};
use crate::push_token::PushToken;

closed_list! {
    /// Which of Apple's two worlds a token belongs to.
    Environment {
        /// The App Store's.
        Production = 1, "production";
        /// Xcode's.
        Sandbox = 2, "sandbox";
        /// Not said: production is tried first, the other once on BadDeviceToken.
        Unknown = 3, "unknown";
    }
}

closed_list! {
    /// Whether the person lets the app show notifications.
    Permission {
        /// Yes.
        Granted = 1, "granted";
        /// No: what would be shown is suppressed, silent content still goes.
        Denied = 2, "denied";
        /// Not said.
        Unknown = 3, "unknown";
    }
}

closed_list! {
    /// Where a device stands.
    DeviceState {
        /// Can be sent to.
        Active = 1, "active";
        /// Switched off, by itself or by a `push_enabled` switch.
        Inactive = 2, "inactive";
        /// Its token is dead or moved; revived by registering again.
        Invalid = 3, "invalid";
        /// Deleted by the tenant: kept without its data until no message can name it.
        Forgotten = 5, "forgotten";
    }
}

/// A change to a device (RFC 7396): `None` = unchanged, `Some(None)` = cleared.
pub type Change<T> = Option<Option<T>>;

/// What a caller says about a device, merged into what is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceChange {
    /// Whose token; must agree with the token.
    pub platform: Option<Platform>,
    /// Operating system.
    pub os: Option<Os>,
    /// The token, when it is (re-)registered.
    pub token: Option<PushToken>,
    /// Apple's environment.
    pub environment: Option<Environment>,
    /// The tenant's user.
    pub user_id: Change<String>,
    /// The person's phone.
    pub phone: Change<Phone>,
    /// A name for people.
    pub name: Change<String>,
    /// BCP 47 tag.
    pub locale: Change<String>,
    /// IANA zone.
    pub timezone: Change<String>,
    /// The person's main device in the app.
    pub primary: Option<bool>,
    /// Switched on.
    pub active: Option<bool>,
    /// Permission to show.
    pub permission: Option<Permission>,
    /// Tags, replaced as a whole.
    pub tags: Option<Vec<String>>,
    /// All attributes that are known go, before the ones below are set.
    pub clear_attributes: bool,
    /// Attributes by name, merged; the value is JSON text of a string, number or boolean.
    pub attributes: Vec<(String, Option<String>)>,
    /// The app's version.
    pub app_version: Change<String>,
    /// The system's version.
    pub os_version: Change<String>,
}

impl DeviceChange {
    /// Checks ids, forms and bounds.
    pub fn check(&self, device: &str, faults: &mut Faults) {
        check_device_id(faults, "", device);
        if let Some(token) = &self.token {
            token.check(faults);
            if self.platform.is_some_and(|p| p != token.platform()) {
                faults.add("/platform", format!("the token given is one of {}", token.platform().as_str()));
            }
        }
        if let Some(Some(user)) = &self.user_id {
            check_user_id(faults, "/user_id", user);
        }
        let texts = [
            ("/name", &self.name),
            ("/app_version", &self.app_version),
            ("/os_version", &self.os_version),
            ("/timezone", &self.timezone),
        ];
        for (at, change) in texts {
            if let Some(Some(text)) = change {
                check_text(faults, at, text, limits::DEVICE_TEXT_BYTES);
            }
        }
        if let Some(Some(locale)) = &self.locale
            && !is_locale(locale)
        {
            faults.add("/locale", "is not a BCP 47 language tag");
        }
        if let Some(Some(zone)) = &self.timezone
            && jiff::tz::TimeZone::get(zone).is_err()
        {
            faults.add("/timezone", "is not a zone of the IANA time zone database");
        }
        self.check_tags(faults);
    }

    fn check_tags(&self, faults: &mut Faults) {
        if let Some(tags) = &self.tags {
            if tags.len() > limits::TAGS {
                faults.add("/tags", format!("at most {} tags", limits::TAGS));
            }
            for (i, tag) in tags.iter().enumerate() {
                if tag.is_empty() {
                    faults.add(format!("/tags/{i}"), "must not be empty");
                }
                check_text(faults, &format!("/tags/{i}"), tag, limits::TAG_BYTES);
            }
        }
        if self.attributes.len() > limits::ATTRIBUTES {
            faults.add("/attributes", format!("at most {} attributes", limits::ATTRIBUTES));
        }
        for (name, value) in &self.attributes {
            let at = format!("/attributes/{}", crate::content::escape_pointer(name));
            check_text(faults, &at, name, limits::TAG_BYTES);
            check_text(faults, &at, value.as_deref().unwrap_or(""), limits::METADATA_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_names_every_fault() {
        let change = DeviceChange {
            platform: Some(Platform::Fcm),
            token: Some(PushToken::Apns("zz".into())),
            user_id: Some(Some("\n".into())),
            locale: Some(Some("x_y".into())),
            timezone: Some(Some("Mars/Base".into())),
            tags: Some(vec![String::new()]),
            ..Default::default()
        };
        let mut faults = Faults::new();
        change.check("bad id", &mut faults);
        let at: Vec<_> = faults.as_slice().iter().map(|f| f.pointer.as_str()).collect();
        assert_eq!(at, ["", "/token", "/platform", "/user_id", "/locale", "/timezone", "/tags/0"]);
    }

    #[test]
    fn a_cleared_field_is_no_fault() {
        let mut faults = Faults::new();
        DeviceChange { user_id: Some(None), phone: Some(None), ..Default::default() }.check("d1", &mut faults);
        assert!(faults.is_empty());
    }
}
