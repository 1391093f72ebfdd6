//! The simulators' time: the machine's, plus what a test pushed it ahead by.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

/// Lets a test make credentials expire without waiting for it.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    ahead_ms: AtomicI64,
}

impl Clock {
    pub(crate) fn advance(&self, milliseconds: i64) {
        self.ahead_ms.fetch_add(milliseconds, Ordering::Relaxed);
    }

    /// Milliseconds since 1970.
    pub(crate) fn millis(&self) -> i64 {
        Timestamp::now().as_millisecond() + self.ahead_ms.load(Ordering::Relaxed)
    }

    /// Seconds since 1970.
    pub(crate) fn seconds(&self) -> i64 {
        self.millis().div_euclid(1000)
    }
}
