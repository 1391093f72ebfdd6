//! Randomness good enough to keep many processes from acting in step; never for secrets.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// A fraction in `[0, 1)`. `RandomState` is seeded by the operating system and differs at each call, which spares a
/// dependency on a generator for three uses a minute.
fn fraction() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1u64 << 53) as f64
}

/// Between half of `full` and `full`: the "equal jitter" that never waits next to nothing.
pub(crate) fn half_to_full(full: Duration) -> Duration {
    full.mul_f64(0.5 + fraction() / 2.0)
}

/// `centre` plus or minus at most a tenth.
pub(crate) fn around(centre: Duration) -> Duration {
    centre.mul_f64(0.9 + fraction() / 5.0)
}

/// The wait before the connect attempt that follows `failures` failures: doubling from `first`, at most `ceiling`.
pub(crate) fn backoff(failures: u32, first: Duration, ceiling: Duration) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    half_to_full(first.saturating_mul(1 << doublings).min(ceiling))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_and_never_exceeds_its_ceiling() {
        let (first, ceiling) = (Duration::from_millis(50), Duration::from_secs(5));
        for failures in 0..100 {
            let wait = backoff(failures, first, ceiling);
            let full = first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(ceiling);
            assert!(wait >= full / 2 && wait <= full, "{failures}: {wait:?} for {full:?}");
        }
    }

    #[test]
    fn jitter_stays_within_its_tenth_and_differs_between_calls() {
        let hour = Duration::from_secs(3600);
        let drawn: Vec<_> = (0..64).map(|_| around(hour)).collect();
        assert!(drawn.iter().all(|d| *d >= hour.mul_f64(0.9) && *d <= hour.mul_f64(1.1)));
        assert!(drawn.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
