//! What all requests share.

use std::sync::Arc;

use carillon_broker::Publisher;
use carillon_domain::ids::TenantKey;
use carillon_domain::platform::Platform;
use carillon_runtime::{CancellationToken, Clock, Scope, StartError};
use carillon_store::{App, Changed, Store};
use carillon_vault::{KindVault, Vault};

use crate::Config;
use crate::accept::Acceptor;
use crate::auth::Keyring;
use crate::cache::Cache;
use crate::credentials::HostPort;
use crate::permits::Permits;
use crate::rate::Rate;
use crate::refusal::Refusal;

/// The longest a request waits for a connection to the database: callers repeat, so a queue would only age.
const CONNECTION_WAIT_MS: u64 = 250;

/// What all requests share. A new resource takes what it needs from here, and puts its own caches here.
pub(crate) struct Ingest {
    pub(crate) store: Store,
    pub(crate) keyring: Keyring,
    pub(crate) clock: Clock,
    pub(crate) fcm_hosts: Vec<HostPort>,
    pub(crate) permits: Permits,
    pub(crate) acceptor: Acceptor,
    pub(crate) rate: Arc<Rate>,
    /// Where this process counts, so that processes do not wait for each other's counters.
    pub(crate) slot: i16,
    /// What seals the tokens of SMS gateways.
    pub(crate) sms_vault: KindVault,
    /// The URL under which gateways reach this service.
    pub(crate) public_url: Option<String>,
    vaults: Vec<(Platform, KindVault)>,
    apps: Cache<(TenantKey, String), App>,
}

/// The state of every handler.
pub(crate) type Shared = Arc<Ingest>;

impl Ingest {
    /// The token is cancelled when everything that was accepted is told to the broker; see [`Acceptor::start`].
    pub(crate) fn new(
        config: &Config,
        scope: &Scope,
        publisher: Publisher,
    ) -> Result<(Shared, CancellationToken), StartError> {
        let mut database = config.database.clone();
        database.wait_ms = database.wait_ms.min(CONNECTION_WAIT_MS);
        let store = Store::open(&database, scope.service()).map_err(|e| StartError::misconfigured(e.to_string()))?;
        let vault =
            Vault::from_list(config.secrets.key.expose()).map_err(|e| StartError::misconfigured(e.to_string()))?;
        let vaults = Platform::ALL.iter().map(|platform| Ok((*platform, vault.for_kind(platform.as_str())?)));
        let operator_key = config.operator.key.as_ref().map(|key| key.expose());
        let (acceptor, told) = Acceptor::start(scope, store.clone(), publisher);
        let ingest = Self {
            keyring: Keyring::new(store.clone(), scope.clock(), operator_key),
            clock: scope.clock(),
            fcm_hosts: config.fcm.allow_hosts.iter().filter_map(|host| HostPort::parse(host)).collect(),
            sms_vault: vault.for_kind(crate::http::sms_gateways::VAULT_KIND)?,
            public_url: config.http.public_url.clone(),
            vaults: vaults.collect::<Result<_, carillon_vault::Error>>()?,
            apps: Cache::new(),
            permits: Permits::new(store.clone()),
            acceptor,
            rate: Arc::new(Rate::new(config.http.requests_per_second, std::time::Instant::now())),
            slot: slot(),
            store,
        };
        Ok((Arc::new(ingest), told))
    }

    /// What seals the credentials of a platform.
    pub(crate) fn vault(&self, platform: Platform) -> Result<&KindVault, Refusal> {
        self.vaults.iter().find(|(of, _)| *of == platform).map(|(_, vault)| vault).ok_or_else(Refusal::internal)
    }

    /// An app of a tenant; may be up to 5 s old.
    ///
    /// # Errors
    /// `not_found`, `unavailable`.
    pub(crate) async fn app(&self, tenant: TenantKey, app: &str) -> Result<Arc<App>, Refusal> {
        if !carillon_domain::ids::is_slug(app) {
            return Err(Refusal::not_found());
        }
        let key = (tenant, app.to_owned());
        let found = self.apps.get(&key, self.store.app(tenant, app)).await?;
        found.ok_or_else(Refusal::not_found)
    }

    /// Forgets what may be old now. Called for what other processes change, and by whoever changes something here.
    pub(crate) fn forget(&self, changed: Changed<'_>) {
        let concerns = |table: &str| changed == Changed::Anything || changed == Changed::Table(table);
        if concerns("tenants") || concerns("api_keys") || concerns("apps") {
            self.keyring.forget();
        }
        if concerns("tenants") || concerns("apps") {
            self.apps.clear();
        }
        self.permits.forget(changed);
    }
}

/// Any of a few: more would only make reading the counters slower.
fn slot() -> i16 {
    i16::from(uuid::Uuid::new_v4().as_bytes()[0] % 16)
}
