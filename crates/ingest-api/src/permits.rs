//! What must be known of a tenant, an app or a broker's user before anything is accepted; kept for seconds.

use std::sync::Arc;

use carillon_domain::fault::ErrorCode;
use carillon_domain::ids::{AppKey, TenantKey};
use carillon_domain::platform::Platform;
use carillon_store::{App, Changed, Store};

use crate::auth::{Caller, Grant, TenantRef};
use crate::cache::Cache;
use crate::refusal::Refusal;

/// The switches of tenants, and the platforms that apps have credentials for.
pub(crate) struct Permits {
    store: Store,
    switches: Cache<TenantKey, bool>,
    platforms: Cache<(TenantKey, AppKey), Vec<Platform>>,
    amqp_users: Cache<String, Caller>,
    sms: Cache<TenantKey, SmsWays>,
}

/// The names of what a tenant's text messages may go through.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SmsWays {
    pub(crate) gateways: Vec<String>,
    /// Senders, each with its gateways.
    pub(crate) senders: Vec<(String, Vec<String>)>,
}

impl Permits {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, switches: Cache::new(), platforms: Cache::new(), amqp_users: Cache::new(), sms: Cache::new() }
    }

    /// Refuses while `push_enabled` is off on the account or the app.
    ///
    /// # Errors
    /// `push_disabled`, `not_found` for a tenant that is gone, `unavailable`.
    pub(crate) async fn check_switch(&self, tenant: &TenantRef, app: &App) -> Result<(), Refusal> {
        let load = async { Ok::<_, Refusal>(self.store.tenant(&tenant.id).await?.map(|found| found.push_enabled)) };
        let on = self.switches.get(&tenant.key, load).await?.ok_or_else(Refusal::not_found)?;
        match (*on, app.settings.push_enabled) {
            (true, true) => Ok(()),
            (false, _) => Err(Refusal::new(ErrorCode::PushDisabled, "Push is switched off for the account.")),
            (true, false) => Err(Refusal::new(ErrorCode::PushDisabled, "Push is switched off for the app.")),
        }
    }

    /// The platforms that an app has credentials for.
    ///
    /// # Errors
    /// `unavailable`.
    pub(crate) async fn platforms(&self, tenant: TenantKey, app: AppKey) -> Result<Arc<Vec<Platform>>, Refusal> {
        let load = async {
            let credentials = self.store.current_credentials(tenant, app).await?;
            Ok::<_, Refusal>(Some(credentials.into_iter().map(|credential| credential.platform).collect()))
        };
        Ok(self.platforms.get(&(tenant, app), load).await?.unwrap_or_default())
    }

    /// What a tenant's text messages may go through.
    ///
    /// # Errors
    /// `unavailable`.
    pub(crate) async fn sms_ways(&self, tenant: TenantKey) -> Result<Arc<SmsWays>, Refusal> {
        Ok(self.sms.get(&tenant, self.read_sms_ways(tenant)).await?.unwrap_or_default())
    }

    /// Whether [`Permits::sms_ways`] would answer from memory.
    pub(crate) fn remembers_sms_ways(&self, tenant: TenantKey) -> bool {
        self.sms.remembers(&tenant)
    }

    /// As [`Permits::sms_ways`], and nothing of it older than this call.
    ///
    /// # Errors
    /// `unavailable`.
    pub(crate) async fn sms_ways_anew(&self, tenant: TenantKey) -> Result<Arc<SmsWays>, Refusal> {
        Ok(self.sms.read(&tenant, self.read_sms_ways(tenant)).await?.unwrap_or_default())
    }

    async fn read_sms_ways(&self, tenant: TenantKey) -> Result<Option<SmsWays>, Refusal> {
        let mut routes = self.store.sms_routes(&[tenant]).await?;
        let ways = routes.pop().map(|routes| SmsWays {
            gateways: routes.gateways.into_iter().map(|gateway| gateway.gateway).collect(),
            senders: routes.senders.into_iter().map(|sender| (sender.sender, sender.gateways)).collect(),
        });
        // Who has none is about to get some: that is not remembered.
        Ok(ways.filter(|ways| !ways.gateways.is_empty()))
    }

    /// Whom a user of the broker speaks for.
    ///
    /// # Errors
    /// `unauthenticated` for one that no operator has mapped to a tenant, `unavailable`.
    pub(crate) async fn amqp_caller(&self, user: &str) -> Result<Caller, Refusal> {
        let load = async {
            let found = self.store.amqp_user(user).await?;
            Ok::<_, Refusal>(found.map(|user| Caller::Server {
                tenant: TenantRef { key: user.tenant_key, id: user.tenant },
                grants: user.scopes.iter().filter_map(|scope| Grant::from_text(scope)).collect(),
                apps: user.apps,
            }))
        };
        let unknown = || Refusal::new(ErrorCode::Unauthenticated, "This user of the broker belongs to no tenant.");
        Ok(self.amqp_users.get(user, load).await?.ok_or_else(unknown)?.as_ref().clone())
    }

    /// Forgets what may be old now.
    pub(crate) fn forget(&self, changed: Changed<'_>) {
        let concerns = |table: &str| changed == Changed::Anything || changed == Changed::Table(table);
        if concerns("tenants") {
            self.switches.clear();
        }
        if concerns("tenants") || concerns("amqp_users") {
            self.amqp_users.clear();
        }
        if concerns("credentials") || concerns("apps") {
            self.platforms.clear();
        }
        if concerns("sms_gateways") || concerns("sms_senders") {
            self.sms.clear();
        }
    }
}
