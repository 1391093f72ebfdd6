//! Which of an app's key pairs a subscription was made with, as far as its push service has shown.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Mutex, PoisonError};

/// Subscriptions of older pairs that are remembered; when full, all are learned anew, at one refused request each.
const MOST: usize = 100_000;

/// Only subscriptions of older pairs are kept, 16 bytes each: the rest take the newest.
#[derive(Default)]
pub(crate) struct Bindings {
    hasher: RandomState,
    older: Mutex<HashMap<u64, u8>>,
}

impl Bindings {
    /// The pair to begin with. A guess: two endpoints may have one hash.
    pub(crate) fn get(&self, endpoint: &str) -> usize {
        let key = self.hasher.hash_one(endpoint);
        let older = self.older.lock().unwrap_or_else(PoisonError::into_inner);
        older.get(&key).map_or(0, |index| usize::from(*index))
    }

    pub(crate) fn learn(&self, endpoint: &str, index: usize) {
        let key = self.hasher.hash_one(endpoint);
        let mut older = self.older.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(index) = u8::try_from(index).ok().filter(|index| *index > 0) else {
            older.remove(&key);
            return;
        };
        if older.len() >= MOST {
            older.clear();
        }
        older.insert(key, index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_last_is_known_and_the_newest_pair_takes_no_room() {
        let bindings = Bindings::default();
        assert_eq!(bindings.get("a"), 0);
        bindings.learn("a", 2);
        bindings.learn("b", 0);
        assert_eq!((bindings.get("a"), bindings.get("b")), (2, 0));
        assert_eq!(bindings.older.lock().unwrap().len(), 1);
        bindings.learn("a", 0);
        assert_eq!(bindings.older.lock().unwrap().len(), 0);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let bindings = Bindings::default();
        for i in 0..MOST + 10 {
            bindings.learn(&i.to_string(), 1);
        }
        assert!(bindings.older.lock().unwrap().len() <= MOST);
        assert_eq!(bindings.get(&(MOST + 9).to_string()), 1);
    }
}
