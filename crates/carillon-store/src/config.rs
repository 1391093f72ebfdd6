//! How to reach PostgreSQL.

use secrecy::SecretString;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// Section `database` of the settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `postgres://user:password@host:port/database`. Never shown. With `?sslmode=require` the connection is encrypted and the server's
    /// certificate is verified; without, it is neither.
    pub url: SecretString,
    /// PEM file with the authority of the server's certificate, trusted beside the system's; only with `sslmode=require`.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Connections of this process, 1-100. All processes together must stay below PostgreSQL's `max_connections` by ten.
    #[serde(default = "default_connections")]
    pub connections: usize,
    /// How long to wait for a free connection, in milliseconds, before the caller is told `Unavailable`.
    #[serde(default = "default_wait_ms")]
    pub wait_ms: u64,
    /// How long one statement may run in the server, in milliseconds.
    #[serde(default = "default_statement_ms")]
    pub statement_ms: u64,
}

fn default_connections() -> usize {
    8
}

fn default_wait_ms() -> u64 {
    2_000
}

fn default_statement_ms() -> u64 {
    10_000
}

impl Config {
    /// The defaults around a URL.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: SecretString::from(url.into()),
            ca: None,
            connections: default_connections(),
            wait_ms: default_wait_ms(),
            statement_ms: default_statement_ms(),
        }
    }

    /// The wait for a connection.
    pub(crate) fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms)
    }
}
