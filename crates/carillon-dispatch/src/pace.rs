//! Token buckets: how fast messages may go. Pure, `now` is an argument.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::provider::Quota;

/// Keys that are remembered; a key that is forgotten starts with a full bucket.
const MOST_KEYS: usize = 4096;

/// A bucket that fills at a steady rate.
#[derive(Debug)]
pub(crate) struct Bucket {
    rate: f64,
    burst: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    /// A full bucket. `rate` per second and `burst` are at least a thousandth and one.
    pub(crate) fn new(rate: f64, burst: f64, now: Instant) -> Self {
        let (rate, burst) = (rate.max(0.001), burst.max(1.0));
        Self { rate, burst, level: burst, at: now }
    }

    /// Changes how fast it fills; what is in it stays.
    pub(crate) fn set_rate(&mut self, rate: f64, burst: f64) {
        self.rate = rate.max(0.001);
        self.burst = burst.max(1.0);
        self.level = self.level.min(self.burst);
    }

    /// Takes one, or says how long to wait for it.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Duration> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.level = (self.level + passed * self.rate).min(self.burst);
        if self.level >= 1.0 {
            self.level -= 1.0;
            return None;
        }
        Some(Duration::from_secs_f64((1.0 - self.level) / self.rate))
    }
}

/// The buckets of all quotas, by what the provider counts by: two apps may share a project.
#[derive(Debug, Default)]
pub(crate) struct Paces(Mutex<HashMap<String, Arc<Pace>>>);

/// One quota's bucket.
#[derive(Debug)]
pub(crate) struct Pace(Mutex<Bucket>);

impl Paces {
    /// The bucket of this quota, with this process's share: `claimers` live dispatchers, this one included.
    pub(crate) fn of(&self, quota: &Quota, claimers: u32, now: Instant) -> Arc<Pace> {
        let share = f64::from(claimers.max(1));
        let (rate, burst) = (quota.per_second / share, quota.burst / share);
        let mut paces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pace) = paces.get(&quota.key) {
            pace.0.lock().unwrap_or_else(PoisonError::into_inner).set_rate(rate, burst);
            return Arc::clone(pace);
        }
        if paces.len() >= MOST_KEYS {
            paces.retain(|_, pace| Arc::strong_count(pace) > 1);
        }
        let pace = Arc::new(Pace(Mutex::new(Bucket::new(rate, burst, now))));
        paces.insert(quota.key.clone(), Arc::clone(&pace));
        pace
    }
}

impl Pace {
    /// Takes one, or says how long to wait for it.
    pub(crate) fn take(&self, now: Instant) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quota(key: &str) -> Quota {
        Quota { key: key.to_owned(), per_second: 100.0, burst: 10.0 }
    }

    #[test]
    fn two_apps_of_one_project_share_a_bucket_and_another_project_has_its_own() {
        let (paces, now) = (Paces::default(), Instant::now());
        let (a, b, c) = (paces.of(&quota("p"), 1, now), paces.of(&quota("p"), 1, now), paces.of(&quota("q"), 1, now));
        assert_eq!((0..10).filter(|_| a.take(now).is_none()).count(), 10);
        assert!(b.take(now).is_some());
        assert!(c.take(now).is_none());
    }

    #[test]
    fn live_dispatchers_share_a_quota() {
        let (paces, now) = (Paces::default(), Instant::now());
        let pace = paces.of(&quota("p"), 2, now);
        assert_eq!((0..10).filter(|_| pace.take(now).is_none()).count(), 5);
    }

    proptest! {
        #[test]
        fn no_more_goes_than_the_rate_and_one_burst(steps in proptest::collection::vec(0u64..200, 1..200)) {
            let start = Instant::now();
            let mut bucket = Bucket::new(50.0, 5.0, start);
            let (mut now, mut taken) = (start, 0u32);
            for ms in steps {
                now += Duration::from_millis(ms);
                taken += u32::from(bucket.take(now).is_none());
            }
            let most = now.duration_since(start).as_secs_f64() * 50.0 + 5.0;
            prop_assert!(f64::from(taken) <= most + 1e-6);
        }

        #[test]
        fn the_wait_it_names_is_enough(ms in 0u64..100) {
            let start = Instant::now();
            let mut bucket = Bucket::new(20.0, 1.0, start);
            bucket.take(start);
            let now = start + Duration::from_millis(ms);
            if let Some(wait) = bucket.take(now) {
                prop_assert_eq!(bucket.take(now + wait + Duration::from_nanos(100)), None);
            }
        }
    }
}
