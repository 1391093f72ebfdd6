//! What was looked up a moment ago: bounded, kept for seconds, emptied when somebody changed something.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an entry is believed if no word of a change arrives: the bound within which a revoked key is dead everywhere.
const BELIEVED: Duration = Duration::from_secs(5);
/// Entries of one cache.
const ENTRIES: usize = 10_000;

/// Keeps what exists; what does not exist is looked up every time, so that it is seen as soon as it is made.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    state: Mutex<State<K, V>>,
}

#[derive(Debug)]
struct State<K, V> {
    entries: HashMap<K, (Instant, Arc<V>)>,
    /// How often something was forgotten: what was read before that is not put in after it.
    generation: u64,
}

impl<K: Eq + Hash, V> Cache<K, V> {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State { entries: HashMap::new(), generation: 0 }) }
    }

    /// The entry, or what `load` finds; `load` is not polled when the entry is there.
    pub(crate) async fn get<Q, E>(
        &self,
        key: &Q,
        load: impl Future<Output = Result<Option<V>, E>>,
    ) -> Result<Option<Arc<V>>, E>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(value) = self.remembered(key) {
            return Ok(Some(value));
        }
        let generation = self.generation();
        Ok(load.await?.map(|value| self.keep(key.to_owned(), value, generation)))
    }

    /// What `load` finds, which stands for the entry from now on.
    pub(crate) async fn read<Q, E>(
        &self,
        key: &Q,
        load: impl Future<Output = Result<Option<V>, E>>,
    ) -> Result<Option<Arc<V>>, E>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let generation = self.generation();
        Ok(load.await?.map(|value| self.keep(key.to_owned(), value, generation)))
    }

    fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// Whether the entry is there, and believed.
    pub(crate) fn remembers<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.remembered(key).is_some()
    }

    fn remembered<Q>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let state = self.lock();
        state.entries.get(key).filter(|(since, _)| since.elapsed() < BELIEVED).map(|(_, value)| Arc::clone(value))
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        let mut state = self.lock();
        state.entries.clear();
        state.generation += 1;
    }

    /// Puts in what was read, unless something was forgotten since.
    fn keep(&self, key: K, value: V, generation: u64) -> Arc<V> {
        let value = Arc::new(value);
        let mut state = self.lock();
        if state.generation != generation {
            return value;
        }
        if state.entries.len() >= ENTRIES {
            state.entries.retain(|_, (since, _)| since.elapsed() < BELIEVED);
        }
        if state.entries.len() >= ENTRIES {
            state.entries.clear();
        }
        state.entries.insert(key, (Instant::now(), Arc::clone(&value)));
        value
    }

    fn lock(&self) -> MutexGuard<'_, State<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(cache: &Cache<String, u32>, key: &str, found: Option<u32>) -> Option<u32> {
        cache.get(key, async { Ok::<_, ()>(found) }).await.unwrap().map(|v| *v)
    }

    #[tokio::test]
    async fn a_hit_is_kept_until_the_cache_is_emptied_and_a_miss_is_not() {
        let cache = Cache::new();
        assert_eq!(get(&cache, "a", None).await, None);
        assert_eq!(get(&cache, "a", Some(1)).await, Some(1));
        assert_eq!(get(&cache, "a", Some(2)).await, Some(1));
        cache.clear();
        assert_eq!(get(&cache, "a", Some(2)).await, Some(2));
    }

    #[tokio::test]
    async fn one_entry_is_read_anew_and_the_others_are_not() {
        let cache = Cache::new();
        assert_eq!((get(&cache, "a", Some(1)).await, get(&cache, "b", Some(1)).await), (Some(1), Some(1)));
        assert!(cache.remembers("a") && !cache.remembers("c"));
        assert_eq!(cache.read("a", async { Ok::<_, ()>(Some(2)) }).await.unwrap().map(|v| *v), Some(2));
        assert_eq!((get(&cache, "a", Some(3)).await, get(&cache, "b", Some(3)).await), (Some(2), Some(1)));
    }

    #[tokio::test]
    async fn what_was_read_before_a_change_is_not_kept_after_it() {
        let cache = Cache::new();
        let load = async {
            cache.clear();
            Ok::<_, ()>(Some(1))
        };
        assert_eq!(cache.get("a", load).await.unwrap().map(|v| *v), Some(1));
        assert_eq!(get(&cache, "a", Some(2)).await, Some(2));
    }

    #[tokio::test]
    async fn a_full_cache_makes_room() {
        let cache = Cache::new();
        for i in 0..=ENTRIES {
            get(&cache, &i.to_string(), Some(1)).await;
        }
        assert!(cache.lock().entries.len() <= ENTRIES);
    }
}
