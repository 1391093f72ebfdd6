//! From a key's text to its owner.

use carillon_domain::fault::ErrorCode;
use carillon_runtime::Clock;
use carillon_store::{AppOwner, Store};
use carillon_vault::{ApiKey, ApiKeyKind, constant_time_eq, hash_key};
use jiff::Timestamp;

use super::{AppRef, Caller, DeviceRef, Grant, TenantRef};
use crate::cache::Cache;
use crate::refusal::Refusal;

/// Knows whose a key is. Malformed keys are refused without a question to the database; live ones are believed for 5 s,
/// or until somebody changes a key.
pub(crate) struct Keyring {
    store: Store,
    clock: Clock,
    /// Of the key in `CARILLON_OPERATOR__KEY`.
    operator_hash: Option<[u8; 32]>,
    known: Cache<[u8; 32], Known>,
}

#[derive(Debug)]
struct Known {
    caller: Caller,
    expires_at: Option<Timestamp>,
}

impl Keyring {
    pub(crate) fn new(store: Store, clock: Clock, operator_key: Option<&str>) -> Self {
        Self { store, clock, operator_hash: operator_key.map(hash_key), known: Cache::new() }
    }

    /// Believes nothing any more.
    pub(crate) fn forget(&self) {
        self.known.clear();
    }

    /// Whose the key in an `Authorization` header is.
    ///
    /// # Errors
    /// `unauthenticated` for all that is no live key, the same answer for every cause; `unavailable`.
    pub(crate) async fn bearer(&self, header: Option<&[u8]>) -> Result<Caller, Refusal> {
        let text = header.and_then(|h| std::str::from_utf8(h).ok()).ok_or_else(unauthenticated)?;
        let (scheme, key) = text.split_once(' ').ok_or_else(unauthenticated)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(unauthenticated());
        }
        self.owner(key.trim()).await
    }

    /// Whose a key is; errors as [`Keyring::bearer`].
    pub(crate) async fn owner(&self, text: &str) -> Result<Caller, Refusal> {
        let hash = hash_key(text);
        if self.operator_hash.is_some_and(|operator| constant_time_eq(&operator, &hash)) {
            return Ok(Caller::Operator);
        }
        let key = ApiKey::parse(text).map_err(|_| unauthenticated())?;
        let known = self.known.get(&hash, self.look_up(&key, &hash)).await?;
        match known {
            Some(known) if known.expires_at.is_none_or(|end| end > self.clock.now()) => Ok(known.caller.clone()),
            _ => Err(unauthenticated()),
        }
    }

    async fn look_up(&self, key: &ApiKey, hash: &[u8; 32]) -> Result<Option<Known>, Refusal> {
        match key.kind() {
            ApiKeyKind::Operator | ApiKeyKind::Server => {
                let Some(owner) = self.store.api_key_by_hash(hash).await? else { return Ok(None) };
                let caller = match (key.kind(), owner.tenant) {
                    (ApiKeyKind::Operator, None) => Caller::Operator,
                    (ApiKeyKind::Server, Some((key, id))) => {
                        let grants = owner.scopes.iter().filter_map(|scope| Grant::from_text(scope)).collect();
                        Caller::Server { tenant: TenantRef { key, id }, grants, apps: owner.apps }
                    }
                    _ => return Ok(None),
                };
                Ok(Some(Known { caller, expires_at: owner.expires_at }))
            }
            ApiKeyKind::Public => {
                let owner = self.store.app_by_public_key(key.expose()).await?.map(split);
                Ok(owner.map(|(tenant, app)| Known { caller: Caller::App { tenant, app }, expires_at: None }))
            }
            ApiKeyKind::Device => {
                let owner = self.store.device_by_secret_hash(hash).await?;
                Ok(owner.map(|owner| {
                    let device = DeviceRef { key: owner.device_key, id: owner.device };
                    let (tenant, app) = split(owner.app);
                    Known { caller: Caller::Device { tenant, app, device }, expires_at: None }
                }))
            }
        }
    }
}

fn split(owner: AppOwner) -> (TenantRef, AppRef) {
    (TenantRef { key: owner.tenant_key, id: owner.tenant }, AppRef { key: owner.app_key, id: owner.app })
}

fn unauthenticated() -> Refusal {
    Refusal::new(ErrorCode::Unauthenticated, "A valid key is needed: Authorization: Bearer KEY.")
}
