//! Names of things. Public ids are what callers write; keys are the short numbers tables and events use inside.

use crate::fault::Faults;
use uuid::Uuid;

macro_rules! key {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);
    };
}

key!(
    /// A tenant inside the platform.
    TenantKey(i32)
);
key!(
    /// An app inside the platform.
    AppKey(i32)
);
key!(
    /// One installation in one person's hands, for life: a device that changes hands gets a new key.
    DeviceKey(i64)
);
key!(
    /// A notification: UUIDv7, made when it is accepted.
    NotificationId(Uuid)
);
key!(
    /// One sending of a notification: UUIDv7, minted when sending starts, so that its time says in which partition its rows lie.
    RunId(Uuid)
);

impl NotificationId {
    /// A notification that is sent at once is its own run.
    pub fn as_run(self) -> RunId {
        RunId(self.0)
    }
}

/// A chunk: a run and a number counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId {
    /// The run it belongs to.
    pub run: RunId,
    /// Its number in the run.
    pub number: u32,
}

/// Whether `text` is a slug: `[a-z0-9][a-z0-9_-]{0,62}` (tenants, apps, gateways, senders ...).
pub fn is_slug(text: &str) -> bool {
    let bytes = text.as_bytes();
    let lower = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=63).contains(&bytes.len()) && lower(&bytes[0]) && bytes.iter().all(|b| lower(b) || *b == b'_' || *b == b'-')
}

/// Whether `text` is a device id: 1-128 of `A-Za-z0-9._:@+-`.
pub fn is_device_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| IN_DEVICE_ID[usize::from(b)])
}

/// Which bytes a device id may have: asked for each byte of thousands of ids.
const IN_DEVICE_ID: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        allowed[byte] = b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'@' | b'+' | b'-');
        byte += 1;
    }
    allowed
};

/// Whether `text` is a user id: 1-128 printable characters.
pub fn is_user_id(text: &str) -> bool {
    // Most are ASCII, whose characters are bytes.
    match text.is_ascii() {
        true => (1..=128).contains(&text.len()) && text.bytes().all(|b| !b.is_ascii_control()),
        false => text.chars().count() <= 128 && text.chars().all(|c| !c.is_control()),
    }
}

/// Adds a fault unless `text` is a slug.
pub fn check_slug(faults: &mut Faults, pointer: &str, text: &str) {
    if !is_slug(text) {
        faults.add(pointer, "must match [a-z0-9][a-z0-9_-]{0,62}");
    }
}

/// Adds a fault unless `text` is a device id.
pub fn check_device_id(faults: &mut Faults, pointer: &str, text: &str) {
    if !is_device_id(text) {
        faults.add(pointer, "must be 1-128 characters of A-Za-z0-9._:@+-");
    }
}

/// Adds a fault unless `text` is a user id.
pub fn check_user_id(faults: &mut Faults, pointer: &str, text: &str) {
    if !is_user_id(text) {
        faults.add(pointer, "must be 1-128 printable characters");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_lower_case_and_bounded() {
        assert!(is_slug("shop-2_x"));
        for bad in ["", "-a", "_a", "A", "a b", &"a".repeat(64)] {
            assert!(!is_slug(bad), "{bad:?}");
        }
    }

    #[test]
    fn device_ids_need_no_escaping_anywhere() {
        assert!(is_device_id("d1.A_:@+-"));
        for bad in ["", "a/b", "a\"b", "a b", "ä", &"a".repeat(129)] {
            assert!(!is_device_id(bad), "{bad:?}");
        }
    }

    #[test]
    fn user_ids_are_any_printable_characters() {
        assert!(is_user_id("Zoë / 17"));
        assert!(!is_user_id("a\nb") && !is_user_id("") && !is_user_id(&"ä".repeat(129)));
        assert!(is_user_id(&"ä".repeat(128)) && is_user_id(&"a".repeat(128)) && !is_user_id(&"a".repeat(129)));
        assert!(!is_user_id("a\u{7f}") && !is_user_id("a\u{85}") && !is_user_id("ä\n"));
    }
}
