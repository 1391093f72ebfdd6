//! Names of things. Public ids are what callers write; keys are the short numbers tables and events use inside.

use crate::fault::Faults;
use crate::names::Names;
use std::ops::RangeInclusive;
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

/// Bytes of a device id, and characters of a user id.
const ID: RangeInclusive<usize> = 1..=128;

/// Whether `text` is a device id: 1-128 of `A-Za-z0-9._:@+-`.
pub fn is_device_id(text: &str) -> bool {
    ID.contains(&text.len()) && in_device_ids(text)
}

/// Whether each of these is a device id.
pub fn are_device_ids(names: &Names) -> bool {
    names.lengths().all(|bytes| ID.contains(&bytes)) && in_device_ids(names.joined())
}

/// Whether all bytes may stand in a device id. Of thousands of ids: so all are looked at, many at once, where stopping at the first bad one would
/// mean one by one.
fn in_device_ids(text: &str) -> bool {
    text.bytes().fold(true, |good, b| {
        let letter = (b | 0x20).wrapping_sub(b'a') < 26;
        // The colon follows the nine.
        let digit_or_colon = b.wrapping_sub(b'0') < 11;
        let other = (b == b'.') | (b == b'_') | (b == b'@') | (b == b'+') | (b == b'-');
        good & (letter | digit_or_colon | other)
    })
}

/// Whether `text` is a user id: 1-128 printable characters.
pub fn is_user_id(text: &str) -> bool {
    // Most are ASCII, whose characters are bytes.
    match is_plain(text) {
        true => ID.contains(&text.len()),
        false => ID.contains(&text.chars().count()) && text.chars().all(|c| !c.is_control()),
    }
}

/// Whether each of these is a user id.
pub fn are_user_ids(names: &Names) -> bool {
    match is_plain(names.joined()) {
        true => names.lengths().all(|bytes| ID.contains(&bytes)),
        false => names.iter().all(is_user_id),
    }
}

/// Whether all characters are ASCII's printable ones.
fn is_plain(text: &str) -> bool {
    text.bytes().fold(true, |good, b| good & (b.wrapping_sub(b' ') < 95))
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
    fn every_byte_is_one_of_a_device_id_or_none_and_a_list_is_as_good_as_its_worst() {
        for b in 0..128u8 {
            let text = char::from(b).to_string();
            let listed = b.is_ascii_alphanumeric() || b"._:@+-".contains(&b);
            assert_eq!(is_device_id(&text), listed, "{text:?}");
            assert_eq!(is_user_id(&text), !b.is_ascii_control(), "{text:?}");
            let names: Names = ["good", &text, "too"].into();
            assert_eq!((are_device_ids(&names), are_user_ids(&names)), (is_device_id(&text), is_user_id(&text)));
        }
        for bad in ["", &"a".repeat(129)] {
            let names: Names = ["good", bad].into();
            assert!(!are_device_ids(&names) && !are_user_ids(&names));
        }
        assert!(are_user_ids(&["Zoë", "b"].into()) && !are_user_ids(&["Zoë", ""].into()));
        assert!(are_device_ids(&Names::default()) && are_user_ids(&Names::default()));
    }

    #[test]
    fn user_ids_are_any_printable_characters() {
        assert!(is_user_id("Zoë / 17"));
        assert!(!is_user_id("a\nb") && !is_user_id("") && !is_user_id(&"ä".repeat(129)));
        assert!(is_user_id(&"ä".repeat(128)) && is_user_id(&"a".repeat(128)) && !is_user_id(&"a".repeat(129)));
        assert!(!is_user_id("a\u{7f}") && !is_user_id("a\u{85}") && !is_user_id("ä\n"));
    }
}
