//! Logs, traces and metrics: set-up, propagation, every name, redaction.

mod config;
mod error;
mod filter;
mod redact;
mod setup;

pub use config::{Config, LogFormat};
pub use error::Error;
pub use redact::{Redacted, Secret, mask_phone};
pub use setup::{Guard, init};

/// Everything measured so far, in Prometheus' text format 0.0.4.
pub fn exposition() -> String {
    let mut text = String::new();
    // Writing to a String cannot fail; a family that cannot be encoded would be a bug in names.rs, caught by its test.
    if prometheus::TextEncoder::new().encode_utf8(&prometheus::gather(), &mut text).is_err() {
        tracing::error!("metrics could not be encoded");
    }
    text
}
