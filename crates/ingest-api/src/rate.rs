//! How many requests this process takes: what it can do is for the operator to say, and what is beyond it is refused before
//! anybody reads it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use carillon_domain::fault::ErrorCode;
use carillon_telemetry::metrics::{Counter, counter};
use carillon_telemetry::names::SHED;

use crate::refusal::Refusal;

/// What may come at once after a lull: so much time's worth, at least one.
const BURST: Duration = Duration::from_millis(250);

/// A token bucket over all requests of the process, REST and gRPC together; none without a limit.
#[derive(Debug)]
pub(crate) struct Rate {
    bucket: Option<Mutex<Bucket>>,
    shed: Counter,
}

#[derive(Debug)]
struct Bucket {
    per_second: f64,
    burst: f64,
    level: f64,
    at: Instant,
}

impl Rate {
    /// So many a second; 0: as many as come.
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        let burst = (f64::from(per_second) * BURST.as_secs_f64()).max(1.0);
        let bucket = Bucket { per_second: per_second.into(), burst, level: burst, at: now };
        let bucket = (per_second > 0).then(|| Mutex::new(bucket));
        Self { bucket, shed: counter(&SHED, &[("reason", "rate")]) }
    }

    /// Takes one request in.
    ///
    /// # Errors
    /// `rate_limited`, with a time to come back.
    pub(crate) fn admit(&self, now: Instant) -> Result<(), Refusal> {
        let Some(bucket) = &self.bucket else { return Ok(()) };
        if bucket.lock().unwrap_or_else(PoisonError::into_inner).take(now) {
            return Ok(());
        }
        self.shed.inc();
        Err(Refusal::new(ErrorCode::RateLimited, "More requests come than this service takes. Repeat this one later."))
    }
}

impl Bucket {
    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.level = (self.level + passed * self.per_second).min(self.burst);
        let enough = self.level >= 1.0;
        if enough {
            self.level -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(rate: &Rate, began: Instant, millis: std::ops::Range<u64>) -> usize {
        millis.filter(|ms| rate.admit(began + Duration::from_millis(*ms)).is_ok()).count()
    }

    #[test]
    fn of_ten_times_what_is_allowed_one_tenth_is_taken() {
        let began = Instant::now();
        let rate = Rate::new(100, began);
        assert_eq!(taken(&rate, began, 0..1_000), 124, "the burst, and what has come since");
        assert_eq!(taken(&rate, began, 1_000..2_000), 100);
        let refusal = rate.admit(began + Duration::from_secs(2)).and_then(|()| rate.admit(began)).unwrap_err();
        assert_eq!((refusal.code, refusal.retry_after), (Some(ErrorCode::RateLimited), Some(1)));
    }

    #[test]
    fn without_a_limit_everything_is_taken() {
        let began = Instant::now();
        let rate = Rate::new(0, began);
        assert!((0..10_000).all(|_| rate.admit(began).is_ok()));
    }

    #[test]
    fn one_a_second_is_one_a_second() {
        let began = Instant::now();
        assert_eq!(taken(&Rate::new(1, began), began, 0..3_050), 4);
    }
}
