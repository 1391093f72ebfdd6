//! Why a value was refused; never with the value, which may be a secret.

use std::fmt::{self, Display};

use serde::de::{self, Expected, Unexpected};

use super::Path;
use crate::config::faults::nearest;

/// Why a value was refused, and where it sits.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) path: Option<Path>,
    pub(super) missing: bool,
    pub(super) message: String,
    /// The field that is missing in the struct at hand, until the struct adds its own path.
    field: Option<&'static str>,
}

impl Refusal {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { path: None, missing: false, message: message.into(), field: None }
    }

    /// Says where the value sits, unless something further inside has said so.
    pub(super) fn at(mut self, path: &Path) -> Self {
        if self.path.is_none() {
            let field = self.field.take().map(str::to_owned);
            self.path = Some(path.iter().cloned().chain(field).collect());
        }
        self
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

impl de::Error for Refusal {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("must be {expected}, not {}", kind(found)))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("must be {expected}"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let hint = nearest(variant, expected.iter().copied()).unwrap_or_default();
        Self::new(format!("must be one of {}; the nearest is `{hint}`", expected.join(", ")))
    }

    fn missing_field(field: &'static str) -> Self {
        Self { path: None, missing: true, message: "is missing".to_owned(), field: Some(field) }
    }
}

fn kind(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
        Unexpected::Float(_) => "a number",
        Unexpected::Char(_) | Unexpected::Str(_) => "a text",
        Unexpected::Unit | Unexpected::Option => "nothing",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a table",
        _ => "something else",
    }
}
