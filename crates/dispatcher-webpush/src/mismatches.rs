//! How many subscriptions in a row refused every pair of an app, by push service: whether the subscriptions or the pairs are to blame.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many in a row, and the pairs are to blame.
const REPEATED: u32 = 20;
/// Push services that are counted for; when full, all are counted anew.
const MOST: usize = 1024;

/// Only push services that refused the last subscription are kept: usually none.
#[derive(Default)]
pub(crate) struct Mismatches {
    /// Whether there are any, so that an acceptance need not lock.
    any: AtomicBool,
    in_a_row: Mutex<HashMap<Box<str>, u32>>,
}

impl Mismatches {
    /// A subscription of the push service took a pair.
    pub(crate) fn fits(&self, host: &str) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let mut in_a_row = self.lock();
        in_a_row.remove(host);
        self.any.store(!in_a_row.is_empty(), Ordering::Relaxed);
    }

    /// A subscription of the push service refuses every pair. True if too many do for it to be the subscriptions' fault.
    pub(crate) fn are_too_many(&self, host: &str) -> bool {
        let mut in_a_row = self.lock();
        if in_a_row.len() >= MOST && !in_a_row.contains_key(host) {
            in_a_row.clear();
        }
        let count = in_a_row.entry(host.into()).or_default();
        *count = count.saturating_add(1);
        let too_many = *count > REPEATED;
        self.any.store(true, Ordering::Relaxed);
        too_many
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, u32>> {
        self.in_a_row.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn too_many(mismatches: &Mismatches, host: &str, times: u32) -> usize {
        (0..times).filter(|_| mismatches.are_too_many(host)).count()
    }

    #[test]
    fn a_pair_is_to_blame_only_when_many_subscriptions_in_a_row_refuse_it() {
        let mismatches = Mismatches::default();
        assert_eq!(too_many(&mismatches, "a.example", REPEATED), 0);
        mismatches.fits("a.example");
        assert!(!mismatches.any.load(Ordering::Relaxed));
        assert_eq!(too_many(&mismatches, "a.example", REPEATED + 5), 5);
    }

    #[test]
    fn what_one_push_service_says_is_neither_blamed_on_another_nor_excused_by_it() {
        let mismatches = Mismatches::default();
        assert_eq!(too_many(&mismatches, "a.example", REPEATED), 0);
        assert_eq!(too_many(&mismatches, "b.example", 1), 0);
        mismatches.fits("b.example");
        assert_eq!(too_many(&mismatches, "a.example", 1), 1);
    }

    #[test]
    fn what_is_counted_is_bounded() {
        let mismatches = Mismatches::default();
        for number in 0..3 * MOST {
            mismatches.are_too_many(&format!("{number}.example"));
            assert!(mismatches.lock().len() <= MOST);
        }
    }
}
