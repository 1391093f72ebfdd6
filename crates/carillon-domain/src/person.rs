//! Who a notification is for: the user, else the phone, else the device (contract, section 6).

use std::fmt;

/// A person, as the key that orders every audience: `u:<user id>`, `p:<E.164>` or `d:<device id>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Person(String);

impl Person {
    /// The person behind a device.
    pub fn of_device(user_id: Option<&str>, phone: Option<&str>, device: &str) -> Self {
        match (user_id, phone) {
            (Some(user), _) => Self::user(user),
            (None, Some(phone)) => Self::phone(phone),
            (None, None) => Self(format!("d:{device}")),
        }
    }

    /// A person named by the tenant's own user id.
    pub fn user(user_id: &str) -> Self {
        Self(format!("u:{user_id}"))
    }

    /// A person known only by a phone number in E.164.
    pub fn phone(e164: &str) -> Self {
        Self(format!("p:{e164}"))
    }

    /// Takes a key that was made before (from our own tables and events).
    pub fn from_key(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// The key, as tables keep and sort it (byte order).
    pub fn key(&self) -> &str {
        &self.0
    }

    /// The user id, if that is what names the person.
    pub fn user_id(&self) -> Option<&str> {
        self.0.strip_prefix("u:")
    }

    /// The device, if nothing else names the person.
    pub fn device_id(&self) -> Option<&str> {
        self.0.strip_prefix("d:")
    }

    /// The phone number, if that is all that names the person.
    pub fn phone_number(&self) -> Option<&str> {
        self.0.strip_prefix("p:")
    }
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.starts_with("p:") { "p:***" } else { &self.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_comes_before_the_phone_before_the_device() {
        assert_eq!(Person::of_device(Some("u"), Some("+481"), "d").key(), "u:u");
        assert_eq!(Person::of_device(None, Some("+481"), "d").key(), "p:+481");
        let device = Person::of_device(None, None, "d");
        assert_eq!((device.key(), device.device_id()), ("d:d", Some("d")));
        assert_eq!(Person::user("d:d").device_id(), None);
    }
}
