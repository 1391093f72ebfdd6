//! The sealed credentials that travel in chunks, read at most every few seconds.

use carillon_domain::ids::{AppKey, TenantKey};
use carillon_domain::platform::Platform;
use carillon_store::{Result, Store};
use carillon_wire::events::SealedCredential;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How old an answer may be.
const FRESH: Duration = Duration::from_secs(5);
/// Apps kept; when full, all are read anew.
const MOST_APPS: usize = 10_000;

type PerApp = Vec<(Platform, SealedCredential)>;

/// A small cache in front of the credentials table.
pub(crate) struct Credentials {
    store: Store,
    known: Mutex<HashMap<AppKey, (Instant, PerApp)>>,
}

impl Credentials {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, known: Mutex::new(HashMap::new()) }
    }

    /// The current credentials of an app, one a platform.
    pub(crate) async fn of(&self, tenant: TenantKey, app: AppKey) -> Result<PerApp> {
        if let Some(found) = self.remembered(app) {
            return Ok(found);
        }
        let read = self.store.current_credentials(tenant, app).await?;
        let found: PerApp = read
            .into_iter()
            .map(|c| (c.platform, SealedCredential { version: c.version as u32, sealed: c.sealed.into() }))
            .collect();
        // An app without credentials is about to get some: do not remember that.
        if !found.is_empty() {
            let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if known.len() >= MOST_APPS {
                known.clear();
            }
            known.insert(app, (Instant::now(), found.clone()));
        }
        Ok(found)
    }

    fn remembered(&self, app: AppKey) -> Option<PerApp> {
        let known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.get(&app).filter(|(at, _)| at.elapsed() < FRESH).map(|(_, found)| found.clone())
    }
}
