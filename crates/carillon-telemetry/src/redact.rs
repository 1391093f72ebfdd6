//! What must never be printed, and what is printed in its place.

use std::borrow::Cow;
use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

/// A string that is wiped when dropped and never shows in logs, Debug output or error texts.
///
/// The only way to its content is [`Secret::expose`], so that a search for that word finds every use.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes over a string as a secret.
    pub fn new(content: impl Into<String>) -> Self {
        Self(SecretString::from(content.into()))
    }

    /// The content, for the one place that needs it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Wraps a value whose content must not be printed; Debug and Display show `***`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Redacted<T>(T);

impl<T> Redacted<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for the one place that needs it.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// Unwraps the value.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<T> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Country prefix and last four digits of a phone number in E.164 form (`+48***2503`): enough to recognise one's own
/// number in a log, too little to call it. What is not E.164, or too short to hide anything, becomes `***`.
pub fn mask_phone(number: &str) -> Cow<'static, str> {
    let digits = match number.strip_prefix('+') {
        Some(digits) if digits.len() >= 8 && digits.bytes().all(|b| b.is_ascii_digit()) => digits,
        _ => return Cow::Borrowed("***"),
    };
    Cow::Owned(format!("+{}***{}", &digits[..2], &digits[digits.len() - 4..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_three_stars_and_nothing_else() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(secret.expose(), "hunter2");
        assert_eq!(format!("{:?} {}", Redacted::new("hunter2"), Redacted::new("hunter2")), "*** ***");
    }

    #[test]
    fn a_phone_number_keeps_its_country_and_last_four_digits() {
        assert_eq!(mask_phone("+48501502503"), "+48***2503");
        assert_eq!(mask_phone("+12025550123"), "+12***0123");
    }

    #[test]
    fn what_is_not_a_phone_number_is_hidden_whole() {
        for text in ["", "+", "501502503", "+4850150", "+48 501 502 503", "+48501502503x", "+ąąąąąąąą"] {
            assert_eq!(mask_phone(text), "***", "{text}");
        }
    }
}
