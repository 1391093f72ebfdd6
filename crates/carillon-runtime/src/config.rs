//! Configuration: defaults, then a TOML file, then variables `CARILLON_<SECTION>__<KEY>`; whatever is unknown or wrong
//! is refused, all of it at once.
//!
//! All services read one environment, so a service names its sections and leaves the others alone. In an own section an
//! unknown key refuses to start: a typo in a security setting must not pass for its default. Lists are comma lists in
//! the environment, numbers and booleans are read from their text.
//!
//! A section must be a plain struct: with `#[serde(flatten)]` unknown keys would go unseen.

mod duration;
mod faults;
mod settings;
mod strict;
#[cfg(test)]
mod tests;

pub use carillon_telemetry::Secret;
pub use duration::HumanDuration;
pub use faults::{Fault, Faults};
pub use settings::Settings;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::Path;

use serde::de::DeserializeOwned;

/// Every section there is. A section that no service reads does not belong here.
pub const KNOWN_SECTIONS: &[&str] = &[
    "admin",
    "amqp",
    "apns",
    "cascade",
    "database",
    "dispatch",
    "failpoints",
    "fcm",
    "grpc",
    "http",
    "internal",
    "ledger",
    "operator",
    "runtime",
    "secrets",
    "segmenter",
    "smsapi",
    "telemetry",
    "tls",
    "webpush",
];

/// The configuration of a service: a struct with one field per section, each section a struct.
pub trait ServiceConfig: DeserializeOwned {
    /// The sections this service reads, in the spelling of [`KNOWN_SECTIONS`]; the fields of the struct.
    const SECTIONS: &'static [&'static str];

    /// Threads of the event loop where the settings do not say; `None` means one per core. A service whose tasks pass much to each other and
    /// that one core is plenty for has one: waking another thread costs more than the work that it is woken for.
    const WORKER_THREADS: Option<NonZeroUsize> = None;

    /// What is wrong although every value by itself is well-formed: `(key, what to do)`, for instance
    /// `("tls.key", "is needed when tls.certificate is set")`.
    fn faults(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// Reads a service's configuration from a file (optional) and variables (the process' or a test's own).
///
/// # Errors
/// [`Faults`]: every fault found, each with the key it is about. Values are never quoted.
pub fn load<C: ServiceConfig>(
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
) -> Result<C, Faults> {
    let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
    Settings::read(file, variables)?.extract()
}
