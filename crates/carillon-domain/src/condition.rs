//! `where`: what a device must be like to belong to an audience (contract, section 7).
//!
//! A condition is read here, and everything that can be wrong about it is said here; the database asks it of devices.

mod read;
mod token;
mod value;

use crate::fault::Faults;
use crate::limits;
use crate::platform::closed_list;
use jiff::{SignedDuration, Timestamp};
use std::fmt;

/// A condition that was read, with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    text: String,
    root: Expression,
}

/// A condition's parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// At least one of them.
    Any(Vec<Expression>),
    /// All of them.
    All(Vec<Expression>),
    /// The opposite.
    Not(Box<Expression>),
    /// One thing that is true of a device or is not.
    Term(Term),
}

/// One thing that is true of a device or is not. What compares is false of a device that has no such field, or has a value of another kind in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    /// `tags has 'vip'`.
    HasTag(String),
    /// `attributes.city exists`.
    Exists(Field),
    /// `attributes.age >= 18`. The value is of a kind that the field and the comparison can have.
    Compare(Field, Comparison, Value),
    /// `locale in ['pl', 'pl-PL']`: equal to one of them, of which there is at least one.
    In(Field, Vec<Value>),
}

/// What a device is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// One of those that every device may have.
    Known(KnownField),
    /// `attributes.NAME`.
    Attribute(String),
}

closed_list! {
    /// Fields that have a name of their own.
    KnownField {
        /// Whose token: apns, fcm, webpush.
        Platform = 1, "platform";
        /// Operating system.
        Os = 2, "os";
        /// Whether what is shown may be sent.
        Permission = 3, "permission";
        /// BCP 47 tag.
        Locale = 4, "locale";
        /// IANA name.
        Timezone = 5, "timezone";
        /// The tenant's user.
        UserId = 6, "user_id";
        /// The app's version, compared as a version.
        AppVersion = 7, "app_version";
        /// The system's version, compared as a version.
        OsVersion = 8, "os_version";
        /// When it was registered first.
        RegisteredAt = 9, "registered_at";
        /// When it was last heard of.
        LastSeenAt = 10, "last_seen_at";
        /// When it was last sent to.
        LastSentAt = 11, "last_sent_at";
    }
}

closed_list! {
    /// How a field is compared with a value. Texts are ordered by their code points.
    Comparison {
        /// The same.
        Equal = 1, "=";
        /// There, and not the same.
        NotEqual = 2, "!=";
        /// Less, or earlier.
        Less = 3, "<";
        /// Not more, or not later.
        AtMost = 4, "<=";
        /// More, or later.
        Greater = 5, ">";
        /// Not less, or not earlier.
        AtLeast = 6, ">=";
        /// A text that begins with this one.
        StartsWith = 7, "starts_with";
        /// A text with this one in it.
        Contains = 8, "contains";
    }
}

/// What a field is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `'text'`; a quote in it is written twice.
    Text(String),
    /// `31`, `-2.5`: the digits as they were written.
    Number(String),
    /// `true`, `false`.
    Boolean(bool),
    /// `2026-12-01T09:00:00Z`.
    Time(Timestamp),
    /// `now() - 30d`. Now is when sending began, for everybody in the audience.
    FromNow(SignedDuration),
}

impl Condition {
    /// Reads a condition: at most 4 KiB, 50 terms, 32 levels of parentheses and `not`.
    ///
    /// # Errors
    /// What was expected instead, and at which character.
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        if text.len() > limits::CONDITION_BYTES {
            let expected = format!("at most {} bytes; it has {}", limits::CONDITION_BYTES, text.len());
            return Err(ConditionError { character: 1, expected });
        }
        let root = read::expression(text)?;
        let terms = root.terms();
        if terms > limits::CONDITION_TERMS {
            let expected = format!("at most {} terms; there are {terms}", limits::CONDITION_TERMS);
            return Err(ConditionError { character: 1, expected });
        }
        Ok(Self { text: text.to_owned(), root })
    }

    /// Reads a condition that stands at a place of a request; what is wrong with it goes to `faults`.
    pub fn read(text: &str, faults: &mut Faults, at: &str) -> Option<Self> {
        Self::parse(text).map_err(|error| faults.add(at, error.to_string())).ok()
    }

    /// As the caller wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it says.
    pub fn root(&self) -> &Expression {
        &self.root
    }
}

impl Expression {
    fn terms(&self) -> usize {
        match self {
            Self::Any(all) | Self::All(all) => all.iter().map(Self::terms).sum(),
            Self::Not(one) => one.terms(),
            Self::Term(_) => 1,
        }
    }
}

impl KnownField {
    /// Whether it holds a version, such as `4.2.0`.
    pub fn is_version(self) -> bool {
        matches!(self, Self::AppVersion | Self::OsVersion)
    }

    /// Whether it holds a time.
    pub fn is_time(self) -> bool {
        matches!(self, Self::RegisteredAt | Self::LastSeenAt | Self::LastSentAt)
    }
}

/// Why a text is no condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionError {
    /// Where, counted in characters from 1.
    pub character: usize,
    /// What would be right there.
    pub expected: String,
}

impl fmt::Display for ConditionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "character {}: expected {}", self.character, self.expected)
    }
}

impl std::error::Error for ConditionError {}

#[cfg(test)]
mod tests;
