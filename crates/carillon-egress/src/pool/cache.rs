//! Pools by origin, for Web Push: every subscription names a server of its own choice.

use super::{ALPN, Http2Pool, PoolConfig, PoolError, lock};
use crate::guard::Guard;
use crate::origin::Origin;
use crate::trust::{Trust, TrustError};
use rustls::ClientConfig;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// At most so many [`Http2Pool`]s, each to another origin, all behind the guard. The one that was longest unused makes
/// room; requests on it still finish, because they hold it.
pub struct PoolCache {
    capacity: usize,
    config: PoolConfig,
    tls: Arc<ClientConfig>,
    guard: Guard,
    pools: Mutex<Pools>,
}

#[derive(Default)]
struct Pools {
    by_origin: HashMap<Origin, (Arc<Http2Pool>, u64)>,
    uses: u64,
}

impl PoolCache {
    /// A cache of at most `capacity` pools (at least 1; 64 suits the handful of push services there are), each made with
    /// `config`.
    ///
    /// # Errors
    /// [`TrustError`] when the TLS set-up is unusable.
    pub fn new(capacity: usize, config: PoolConfig, trust: &Trust, guard: Guard) -> Result<Self, TrustError> {
        let tls = trust.client_config(ALPN, None)?;
        Ok(PoolCache { capacity: capacity.max(1), config, tls, guard, pools: Mutex::default() })
    }

    /// The pool to `origin`, made now if there is none. The guard judges addresses at each connect, not here: its refusal
    /// is the [`crate::ConnectError::Guard`] of a request.
    ///
    /// # Errors
    /// [`PoolError::Origin`] when the host cannot stand in a request.
    pub fn get(&self, origin: &Origin) -> Result<Arc<Http2Pool>, PoolError> {
        let mut pools = lock(&self.pools);
        pools.uses += 1;
        let now = pools.uses;
        if let Some((pool, used)) = pools.by_origin.get_mut(origin) {
            *used = now;
            return Ok(pool.clone());
        }
        let pool = Http2Pool::build(origin.clone(), self.config.clone(), self.tls.clone(), Some(self.guard.clone()))?;
        let pool = Arc::new(pool);
        let evicted = if pools.by_origin.len() >= self.capacity { pools.evict() } else { None };
        pools.by_origin.insert(origin.clone(), (pool.clone(), now));
        drop(pools);
        // Ends its connections, outside of the lock.
        drop(evicted);
        Ok(pool)
    }

    /// Every pool there is, for metrics and for closing them.
    pub fn pools(&self) -> Vec<Arc<Http2Pool>> {
        lock(&self.pools).by_origin.values().map(|(pool, _)| pool.clone()).collect()
    }
}

impl Pools {
    fn evict(&mut self) -> Option<Arc<Http2Pool>> {
        let oldest = self.by_origin.iter().min_by_key(|(_, (_, used))| *used).map(|(origin, _)| origin.clone())?;
        self.by_origin.remove(&oldest).map(|(pool, _)| pool)
    }
}
