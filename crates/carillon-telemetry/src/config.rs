//! Section `telemetry` of every service's configuration.

use serde::Deserialize;

/// Section `telemetry`. Where traces go is not here: that is said by the standard `OTEL_*` variables.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Filter directives of `tracing-subscriber` (`info`, `info,segmenter=debug`). Crates that print secrets at their
    /// lower levels stay capped whatever this says.
    pub log: String,
    /// JSON for machines (default), text for a terminal.
    pub log_format: LogFormat,
    /// Share of new traces that are recorded, 0.0 to 1.0; a caller's decision in `traceparent` wins. Ignored when
    /// `OTEL_TRACES_SAMPLER` is set.
    pub sample_ratio: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self { log: "info".to_owned(), log_format: LogFormat::Json, sample_ratio: 0.05 }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object per line.
    #[default]
    Json,
    /// A line for people.
    Text,
}
