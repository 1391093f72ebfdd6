//! Idempotency keys whose first call has no answer yet, in this process. Between processes the table's unique key decides.

use carillon_domain::ids::TenantKey;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Key = (TenantKey, String);

/// The set; as large as the writer's queue at most.
#[derive(Clone, Default)]
pub(super) struct KeysInFlight(Arc<Mutex<HashSet<Key>>>);

impl KeysInFlight {
    /// Enters a key, until the guard is dropped. `None` when it is in flight.
    pub(super) fn enter(&self, tenant: TenantKey, key: &str) -> Option<InFlight> {
        let entry = (tenant, key.to_owned());
        self.lock().insert(entry.clone()).then(|| InFlight { keys: self.clone(), entry })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Key>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One key in flight.
pub(super) struct InFlight {
    keys: KeysInFlight,
    entry: Key,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.keys.lock().remove(&self.entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_in_flight_once_per_tenant_until_its_call_is_answered() {
        let keys = KeysInFlight::default();
        let first = keys.enter(TenantKey(1), "k");
        assert!(first.is_some() && keys.enter(TenantKey(1), "k").is_none());
        assert!(keys.enter(TenantKey(2), "k").is_some());
        drop(first);
        assert!(keys.enter(TenantKey(1), "k").is_some());
    }
}
