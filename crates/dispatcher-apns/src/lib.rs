//! The APNs dispatcher: token authentication, HTTP/2 requests, reasons. Everything else is [`carillon_dispatch`]'s.

mod answer;
mod apns;
mod config;
mod credential;
mod pools;
mod provider_token;

pub use apns::{Apns, Prepared};
pub use config::{ApnsConfig, Config};
pub use credential::Credential;

use std::time::Duration;

use carillon_domain::platform::Platform;
use carillon_egress::Trust;
use carillon_runtime::{Scope, StartError};
use carillon_telemetry::metrics::gauge;
use carillon_telemetry::names;

/// How often open connections are counted.
const COUNT_EVERY: Duration = Duration::from_secs(5);

/// Starts the dispatcher; returns once everything is started.
///
/// # Errors
/// [`StartError`] when the configuration cannot work.
pub async fn start(config: Config, scope: Scope) -> Result<(), StartError> {
    let (engine, tls, apns) = config.split();
    let trust = Trust::load(&tls).map_err(|error| StartError::misconfigured(error.to_string()))?;
    let apns = Apns::new(&apns, trust, scope.clock())?;
    let (pools, stopping) = (apns.pools(), scope.stopping());
    let connections = gauge(&names::PROVIDER_CONNECTIONS, &[("platform", Platform::Apns.as_str())]);
    scope.spawn_helper("connections", async move {
        let mut ticks = tokio::time::interval(COUNT_EVERY);
        while stopping.run_until_cancelled(ticks.tick()).await.is_some() {
            connections.set(i64::try_from(pools.connections()).unwrap_or(i64::MAX));
        }
    });
    carillon_dispatch::start(engine, apns, Platform::Apns, scope).await
}
