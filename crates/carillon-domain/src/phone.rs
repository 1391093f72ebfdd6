//! Phone numbers in E.164. A number never shows itself whole in a log.

use std::fmt;

/// A phone number in E.164: `+` and 7-15 digits. `Debug` and `Display` mask it; [`Phone::as_str`] is the only way to the whole.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Phone(String);

impl Phone {
    /// Reads an international number (`+48 501 502 503`, with spaces, dots or hyphens) and normalises it. `None` unless the
    /// numbering plan of its country knows such a number.
    pub fn parse(text: &str) -> Option<Self> {
        let number = phonenumber::parse(None, text).ok()?;
        number.is_valid().then(|| Self(number.format().mode(phonenumber::Mode::E164).to_string()))
    }

    /// Takes a number that was normalised before (from our own tables and events).
    pub fn from_e164(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The whole number, for gateways and tables only.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `+48***2503`: country prefix and the last four digits.
    pub fn masked(&self) -> String {
        let keep = self.0.len().saturating_sub(4).max(3.min(self.0.len()));
        format!("{}***{}", &self.0[..3.min(self.0.len())], &self.0[keep..])
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl fmt::Display for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_normalised_to_e164() {
        assert_eq!(Phone::parse("+48 501-502-503").map(|p| p.as_str().to_owned()), Some("+48501502503".into()));
        for bad in ["", "501502503", "+48", "+999123456", "hello", "+4850150250312345678"] {
            assert_eq!(Phone::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_number_never_shows_itself_whole() {
        let phone = Phone::from_e164("+48501502503");
        assert_eq!(format!("{phone:?} {phone}"), "+48***2503 +48***2503");
        assert_eq!(format!("{}", Phone::from_e164("+4")), "+4***");
    }
}
