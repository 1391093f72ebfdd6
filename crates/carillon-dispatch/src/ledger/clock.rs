//! The ledger's clock, as far as its answers tell: deadlines that several processes share are decided by it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// What an answer said is believed for this long; clocks drift and databases fail over.
const BELIEVED: Duration = Duration::from_secs(60);

/// Never behind the ledger: the time on the way counts as passed, so a lease is never thought longer than it is.
#[derive(Debug, Default)]
pub(crate) struct LedgerClock(Mutex<Option<(Instant, i64)>>);

impl LedgerClock {
    /// An answer to a question asked at `asked` carried `now_ms`.
    pub(crate) fn learn(&self, asked: Instant, now_ms: i64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((asked, now_ms));
    }

    /// Milliseconds since the epoch by the ledger's clock; `None` while nothing recent is known.
    pub(crate) fn at(&self, now: Instant) -> Option<i64> {
        let (asked, now_ms) = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        let passed = now.saturating_duration_since(asked);
        (passed <= BELIEVED).then(|| now_ms.saturating_add(i64::try_from(passed.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The time by the ledger's clock, else by this machine's.
    pub(crate) fn or(&self, now: Instant, local: impl FnOnce() -> Timestamp) -> Timestamp {
        self.at(now).and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_else(local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_runs_on_from_the_last_answer_and_is_unknown_before_and_long_after_it() {
        let (clock, asked) = (LedgerClock::default(), Instant::now());
        assert_eq!(clock.at(asked), None);
        clock.learn(asked, 1_000);
        assert_eq!(clock.at(asked + Duration::from_millis(250)), Some(1_250));
        assert_eq!(clock.at(asked + BELIEVED + Duration::from_millis(1)), None);
    }
}
