//! How a process reaches the broker, and its bounds.

use std::fmt;
use std::time::Duration;

use lapin::uri::AMQPUri;
use serde::Deserialize;

/// What is asked for as the largest frame unless the URL says another (`frame_max`), in bytes. The client keeps 64 of them in memory a connection, used or not; a larger message takes several.
const FRAME_BYTES: u32 = 16 * 1024;

/// The section `amqp` of a service's configuration. Only `url` has no default.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `amqp://user:password@host:port/vhost`, or `amqps://`; the vhost `/` is written `%2f`.
    pub url: Url,
    /// Most messages of this process that wait for a confirm at once; more callers wait. 1 to 65535.
    #[serde(default = "defaults::window")]
    pub window: usize,
    /// Milliseconds a message may wait for its confirm, and for a connection before that.
    #[serde(default = "defaults::confirm_timeout_ms")]
    pub confirm_timeout_ms: u64,
    /// Milliseconds for one attempt to connect, from TCP to the end of the AMQP handshake.
    #[serde(default = "defaults::connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// Milliseconds that handlers get to finish when the process drains.
    #[serde(default = "defaults::drain_grace_ms")]
    pub drain_grace_ms: u64,
    /// Milliseconds after which one call of a handler is cut and counted as a fault; far below the broker's own limit for an
    /// acknowledgement (30 minutes).
    #[serde(default = "defaults::handler_timeout_ms")]
    pub handler_timeout_ms: u64,
    /// Seconds between AMQP heartbeats; a dead peer is noticed after twice as much.
    #[serde(default = "defaults::heartbeat_seconds")]
    pub heartbeat_seconds: u16,
    /// Most bytes in the body of a message that this process publishes.
    #[serde(default = "defaults::max_message_bytes")]
    pub max_message_bytes: usize,
}

mod defaults {
    pub(super) fn window() -> usize {
        1000
    }
    pub(super) fn confirm_timeout_ms() -> u64 {
        5_000
    }
    pub(super) fn connect_timeout_ms() -> u64 {
        10_000
    }
    pub(super) fn drain_grace_ms() -> u64 {
        10_000
    }
    pub(super) fn handler_timeout_ms() -> u64 {
        120_000
    }
    pub(super) fn heartbeat_seconds() -> u16 {
        10
    }
    pub(super) fn max_message_bytes() -> usize {
        256 * 1024
    }
}

impl Config {
    /// The defaults around `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Url(url.into()),
            window: defaults::window(),
            confirm_timeout_ms: defaults::confirm_timeout_ms(),
            connect_timeout_ms: defaults::connect_timeout_ms(),
            drain_grace_ms: defaults::drain_grace_ms(),
            handler_timeout_ms: defaults::handler_timeout_ms(),
            heartbeat_seconds: defaults::heartbeat_seconds(),
            max_message_bytes: defaults::max_message_bytes(),
        }
    }

    pub(crate) fn confirm_timeout(&self) -> Duration {
        Duration::from_millis(self.confirm_timeout_ms)
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(crate) fn drain_grace(&self) -> Duration {
        Duration::from_millis(self.drain_grace_ms)
    }

    pub(crate) fn handler_timeout(&self) -> Duration {
        Duration::from_millis(self.handler_timeout_ms)
    }

    /// The parsed URL; what has a setting of its own wins over the URL's own parameters.
    pub(crate) fn uri(&self) -> Result<AMQPUri, ConfigError> {
        // The parser's message may quote the URL, and with it the password.
        let mut uri: AMQPUri = self.url.0.parse().map_err(|_| ConfigError::Url)?;
        uri.query.heartbeat = Some(self.heartbeat_seconds);
        uri.query.frame_max.get_or_insert(FRAME_BYTES);
        if !(1..=65_535).contains(&self.window) {
            return Err(ConfigError::Bound("window", "1 to 65535"));
        }
        if self.confirm_timeout_ms == 0 || self.connect_timeout_ms == 0 || self.handler_timeout_ms == 0 {
            return Err(ConfigError::Bound("a timeout", "at least 1 ms"));
        }
        if self.max_message_bytes == 0 || self.max_message_bytes > 16 * 1024 * 1024 {
            return Err(ConfigError::Bound("max_message_bytes", "1 byte to 16 MiB, what RabbitMQ 4 takes"));
        }
        Ok(uri)
    }
}

/// A broker URL. It holds a password, so it shows nothing of itself.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Url(String);

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Url(***)")
    }
}

/// A configuration that can never work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The URL is not `amqp://` or `amqps://` or is malformed.
    #[error("amqp.url is not a broker URL (amqp://user:password@host:port/vhost)")]
    Url,
    /// A value is out of its bounds.
    #[error("amqp: {0} must be {1}")]
    Bound(&'static str, &'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Config, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn only_the_url_has_no_default() {
        let config = read(r#"{"url": "amqp://a:b@127.0.0.1:5672/%2f"}"#).unwrap();
        assert_eq!((config.window, config.confirm_timeout_ms, config.drain_grace_ms), (1000, 5_000, 10_000));
        assert!(read("{}").is_err());
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(read(r#"{"url": "amqp://h", "prefetch": 3}"#).unwrap_err().to_string().contains("prefetch"));
    }

    #[test]
    fn the_password_shows_neither_in_debug_nor_in_an_error() {
        let config = Config::new("amqp://user:hunter2@host:port/%2f");
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(!config.uri().unwrap_err().to_string().contains("hunter2"));
    }

    #[test]
    fn bounds_are_checked_before_anything_starts() {
        let config = Config { window: 0, ..Config::new("amqp://h") };
        assert_eq!(config.uri().unwrap_err(), ConfigError::Bound("window", "1 to 65535"));
    }
}
