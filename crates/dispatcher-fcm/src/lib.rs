//! The FCM dispatcher: OAuth bearer tokens, requests, error details. Everything else is [`carillon_dispatch`]'s.

mod answer;
mod assertion;
mod bearer;
mod config;
mod credential;
mod fcm;
mod token_endpoint;
mod tunnel;

pub use config::{Config, FcmConfig};
pub use credential::Credential;
pub use fcm::{Fcm, Prepared};

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
    let (engine, tls, fcm) = config.split();
    let trust = Trust::load(&tls).map_err(|error| StartError::misconfigured(error.to_string()))?;
    let fcm = Fcm::new(&fcm, &trust, scope.clone()).map_err(|error| StartError::misconfigured(error.to_string()))?;
    let (pool, stopping) = (fcm.pool(), scope.stopping());
    let connections = gauge(&names::PROVIDER_CONNECTIONS, &[("platform", Platform::Fcm.as_str())]);
    scope.spawn_helper("connections", async move {
        let mut ticks = tokio::time::interval(COUNT_EVERY);
        while stopping.run_until_cancelled(ticks.tick()).await.is_some() {
            connections.set(i64::try_from(pool.stats().connections).unwrap_or(i64::MAX));
        }
    });
    carillon_dispatch::start(engine, fcm, Platform::Fcm, scope).await
}
