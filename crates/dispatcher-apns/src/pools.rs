//! Connections to Apple: a pool per identity and environment.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use carillon_dispatch::Misconfigured;
use carillon_egress::{ClientIdentity, ConnectionId, Http2Pool, Origin, PoolConfig, PoolError, Trust};

use crate::answer::Replace;
use crate::credential::{Auth, Credential};

/// Identities that keep their connections; the one that was longest unused makes room.
const MOST: usize = 256;
/// So many failures of Apple's own in a row on one pool, and the connection is to blame.
const REPEATED: u32 = 3;

/// One of Apple's worlds, for one identity.
pub(crate) struct World {
    pub(crate) pool: Http2Pool,
    failures: AtomicU32,
}

/// Both worlds of one identity. Connections open when they are first used.
pub(crate) struct Worlds {
    pub(crate) production: World,
    pub(crate) sandbox: World,
}

/// All identities that are in use.
pub(crate) struct Pools {
    production: Origin,
    sandbox: Origin,
    config: PoolConfig,
    trust: Trust,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    by_identity: HashMap<Vec<u8>, (Arc<Worlds>, u64)>,
    uses: u64,
}

impl World {
    fn new(pool: Http2Pool) -> Self {
        Self { pool, failures: AtomicU32::new(0) }
    }

    /// Takes note of what an answer says about the connection that carried it.
    pub(crate) fn judge(&self, replace: Replace, connection: Option<ConnectionId>) {
        let failures = match replace {
            Replace::No => return self.failures.store(0, Ordering::Relaxed),
            Replace::IfRepeated => self.failures.fetch_add(1, Ordering::Relaxed) + 1,
            Replace::Now => REPEATED,
        };
        if failures >= REPEATED {
            self.failures.store(0, Ordering::Relaxed);
            connection.into_iter().for_each(|connection| self.pool.replace(connection));
        }
    }
}

impl Pools {
    pub(crate) fn new(production: Origin, sandbox: Origin, config: PoolConfig, trust: Trust) -> Self {
        Self { production, sandbox, config, trust, known: Mutex::default() }
    }

    /// The pools of this credential's identity, made now if there are none.
    pub(crate) fn of(&self, credential: &Credential) -> Result<Arc<Worlds>, Misconfigured> {
        let identity = credential.identity();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.uses += 1;
        let now = known.uses;
        if let Some((worlds, used)) = known.by_identity.get_mut(&identity) {
            *used = now;
            return Ok(Arc::clone(worlds));
        }
        let open = |origin: &Origin| self.open(origin, credential).map(World::new);
        let unusable = |_| Misconfigured("the certificate and its key cannot be used".into());
        let worlds = Worlds {
            production: open(&self.production).map_err(unusable)?,
            sandbox: open(&self.sandbox).map_err(unusable)?,
        };
        let worlds = Arc::new(worlds);
        if known.by_identity.len() >= MOST {
            let oldest =
                known.by_identity.iter().min_by_key(|(_, (_, used))| *used).map(|(identity, _)| identity.clone());
            oldest.map(|identity| known.by_identity.remove(&identity));
        }
        known.by_identity.insert(identity, (Arc::clone(&worlds), now));
        Ok(worlds)
    }

    /// Connections that are open now.
    pub(crate) fn connections(&self) -> usize {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let worlds = known.by_identity.values().flat_map(|(worlds, _)| [&worlds.production, &worlds.sandbox]);
        worlds.map(|world| world.pool.stats().connections).sum()
    }

    fn open(&self, origin: &Origin, credential: &Credential) -> Result<Http2Pool, PoolError> {
        let (origin, config) = (origin.clone(), self.config.clone());
        match &credential.auth {
            Auth::Token(_) => Http2Pool::new(origin, config, &self.trust),
            Auth::Certificate { chain, key } => {
                let identity = ClientIdentity::from_pem(chain.as_bytes(), key.as_bytes())?;
                Http2Pool::with_identity(origin, config, &self.trust, identity)
            }
        }
    }
}
