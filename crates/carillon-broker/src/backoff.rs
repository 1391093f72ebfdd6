//! Waiting between attempts: doubling from 50 ms to 1 s, with jitter, for ever.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const MOST: Duration = Duration::from_secs(1);

/// The waits of one retry loop.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempt: u32,
}

impl Backoff {
    /// How long to wait before the next attempt: half of the step is fixed, half is chance, so that many processes that lost
    /// the same broker do not come back in step.
    pub(crate) fn next(&mut self) -> Duration {
        self.step(RandomState::new().build_hasher().finish())
    }

    fn step(&mut self, chance: u64) -> Duration {
        let step = FIRST.saturating_mul(1 << self.attempt.min(10)).min(MOST);
        self.attempt = self.attempt.saturating_add(1);
        let half = step / 2;
        half + half.mul_f64((chance >> 11) as f64 / (1_u64 << 53) as f64)
    }

    /// Whether this failure is worth a line: the first of a row, and one about every half minute.
    pub(crate) fn is_worth_telling(&self) -> bool {
        self.attempt.is_multiple_of(32)
    }

    /// After a success the next wait is short again.
    pub(crate) fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_within_a_second_whatever_the_chance() {
        for chance in [0, u64::MAX / 2, u64::MAX] {
            let mut backoff = Backoff::default();
            let waits: Vec<_> = (0..2000).map(|_| backoff.step(chance)).collect();
            assert!(waits[0] >= FIRST / 2 && waits[0] <= FIRST);
            assert!(waits.iter().all(|wait| *wait <= MOST));
            assert!(waits[1999] >= MOST / 2);
        }
    }

    #[test]
    fn of_a_long_row_of_failures_few_are_told() {
        let mut backoff = Backoff::default();
        let mut told = 0;
        for _ in 0..320 {
            told += usize::from(backoff.is_worth_telling());
            backoff.next();
        }
        assert_eq!(told, 10);
        backoff.reset();
        assert!(backoff.is_worth_telling());
    }

    #[test]
    fn a_success_makes_the_next_wait_short() {
        let mut backoff = Backoff::default();
        for _ in 0..9 {
            backoff.next();
        }
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
