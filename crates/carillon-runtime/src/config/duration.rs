//! Durations as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, de};

/// Longer than any setting needs; guards sums of durations against overflow.
const MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// A duration written with its unit: `200ms`, `5s`, `1m30s`, `36h`. A bare number is refused, because nobody can tell
/// its unit. At most ten years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HumanDuration(Duration);

impl HumanDuration {
    /// So many seconds; for defaults.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// So many milliseconds; for defaults.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// The duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<HumanDuration> for Duration {
    fn from(duration: HumanDuration) -> Self {
        duration.0
    }
}

impl FromStr for HumanDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.trim()
            .parse::<SignedDuration>()
            .ok()
            .and_then(|signed| Duration::try_from(signed).ok())
            .filter(|duration| *duration <= MAX)
            .map(Self)
            .ok_or_else(|| "is not a duration with a unit, such as 200ms, 5s or 1m30s".to_owned())
    }
}

impl fmt::Debug for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_units() {
        for (text, millis) in [("200ms", 200), ("5s", 5_000), ("1m", 60_000), ("1m30s", 90_000), ("36h", 129_600_000)] {
            assert_eq!(text.parse(), Ok(HumanDuration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn a_bare_number_a_negative_and_an_endless_duration_are_refused() {
        for text in ["5", "", "-5s", "5 parsecs", "9000000h"] {
            assert!(text.parse::<HumanDuration>().is_err(), "{text}");
        }
    }
}
