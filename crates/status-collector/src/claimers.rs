//! Who is claiming: live dispatchers share their providers' quotas.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A claimer that was not heard of for this long is gone.
const ALIVE: Duration = Duration::from_secs(15);
/// Claimers remembered; more are counted but not kept.
const MOST: usize = 10_000;

/// Claimers by platform, as this process has heard of them.
#[derive(Default)]
pub(crate) struct Claimers(Mutex<HashMap<(String, String), Instant>>);

impl Claimers {
    /// Notes a call, and says how many claimers of the platform are alive, the caller included.
    pub(crate) fn heard(&self, platform: &str, claimer: &str, now: Instant) -> u32 {
        let mut all = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.retain(|_, seen| now.duration_since(*seen) < ALIVE);
        if all.len() < MOST {
            all.insert((platform.to_owned(), claimer.to_owned()), now);
        }
        all.keys().filter(|(p, _)| p == platform).count().max(1) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimer_that_falls_silent_is_not_counted_any_more() {
        let claimers = Claimers::default();
        let start = Instant::now();
        assert_eq!(claimers.heard("apns", "a", start), 1);
        assert_eq!(claimers.heard("apns", "b", start), 2);
        assert_eq!(claimers.heard("fcm", "c", start), 1);
        assert_eq!(claimers.heard("apns", "b", start + Duration::from_secs(14)), 2);
        assert_eq!(claimers.heard("apns", "b", start + Duration::from_secs(16)), 1);
    }
}
