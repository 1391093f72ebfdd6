//! The settings that a world's services are started with.

use std::collections::BTreeMap;

/// Variables as a process has them.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Sets a variable, without its prefix `CARILLON_`.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.0.insert(format!("CARILLON_{key}"), value.into());
    }

    /// Sets a variable that is not ours by its whole name.
    pub fn set_foreign(&mut self, name: &str, value: impl Into<String>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// With one more variable.
    pub fn with(&self, key: &str, value: impl Into<String>) -> Self {
        let mut other = self.clone();
        other.set(key, value);
        other
    }

    /// All of them.
    pub(crate) fn variables(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

/// The URL of a server, by the variable in which `make test` says where it is.
#[allow(clippy::disallowed_methods, reason = "tests find their servers where `make test` says they are")]
pub fn server(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run the tests with `make test`"))
}
