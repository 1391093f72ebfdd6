//! How long to wait before the next try.

use std::time::Duration;

/// Exponential backoff with full jitter: uniform between 0 and `min(cap, base x 2^attempt)`, never less than `floor`.
/// `random` is uniform in 0..=u32::MAX and comes from the rim.
pub fn full_jitter(attempt: u8, base: Duration, cap: Duration, floor: Duration, random: u32) -> Duration {
    let most = base.saturating_mul(1u32 << attempt.min(20)).min(cap);
    most.mul_f64(f64::from(random) / f64::from(u32::MAX)).max(floor)
}

/// When a row is looked at again after its `copies`-th publication: first x 2^copies, at most an hour.
pub fn republish_after(first: Duration, copies: u32) -> Duration {
    first.saturating_mul(1u32 << copies.min(12)).min(Duration::from_secs(3600))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_row_is_published_again_after_twice_the_time_up_to_an_hour() {
        let s = |n| republish_after(Duration::from_secs(5), n).as_secs();
        assert_eq!([s(0), s(1), s(3), s(20)], [5, 10, 40, 3600]);
    }

    proptest! {
        #[test]
        fn jitter_stays_within_its_bounds(attempt in any::<u8>(), random in any::<u32>()) {
            let (base, cap, floor) = (Duration::from_millis(200), Duration::from_secs(60), Duration::from_millis(50));
            let wait = full_jitter(attempt, base, cap, floor, random);
            prop_assert!(wait >= floor && wait <= cap);
        }
    }
}
