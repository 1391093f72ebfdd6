//! Section `telemetry` of every service's configuration.

use serde::Deserialize;

use crate::{Error, filter};

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

impl Config {
    /// What is wrong although every value by itself is well-formed, as `(key, what to do)`.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let filter = filter::from_directives(&self.log).err().map(|error| ("telemetry.log", error.to_string()));
        let ratio = self.judge_ratio().err().map(|error| ("telemetry.sample_ratio", error.to_string()));
        filter.into_iter().chain(ratio).collect()
    }

    pub(crate) fn judge_ratio(&self) -> Result<(), Error> {
        if (0.0..=1.0).contains(&self.sample_ratio) { Ok(()) } else { Err(Error::SampleRatio) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound_and_a_bad_filter_or_ratio_is_named() {
        assert_eq!(Config::default().faults(), []);
        let bad = Config { log: "a=b=c".to_owned(), sample_ratio: 1.5, ..Config::default() };
        let keys: Vec<_> = bad.faults().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["telemetry.log", "telemetry.sample_ratio"]);
    }
}
