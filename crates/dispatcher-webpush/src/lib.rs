//! The Web Push dispatcher: message encryption (RFC 8291), VAPID (RFC 8292), requests (RFC 8030). Everything else is
//! [`carillon_dispatch`]'s.

mod answer;
mod bindings;
mod config;
mod credential;
mod encryption;
mod endpoint;
mod mismatches;
mod padding;
mod roads;
mod vapid;
mod webpush;

pub use config::{Config, WebpushConfig};
pub use credential::Credential;
pub use webpush::{Prepared, Webpush};

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
    let (engine, tls, webpush) = config.split();
    let trust = Trust::load(&tls).map_err(|error| StartError::misconfigured(error.to_string()))?;
    let webpush =
        Webpush::new(&webpush, &trust, scope.clock()).map_err(|error| StartError::misconfigured(error.to_string()))?;
    let (roads, stopping) = (webpush.roads(), scope.stopping());
    let connections = gauge(&names::PROVIDER_CONNECTIONS, &[("platform", Platform::Webpush.as_str())]);
    scope.spawn_helper("connections", async move {
        let mut ticks = tokio::time::interval(COUNT_EVERY);
        while stopping.run_until_cancelled(ticks.tick()).await.is_some() {
            connections.set(i64::try_from(roads.connections()).unwrap_or(i64::MAX));
        }
    });
    carillon_dispatch::start(engine, webpush, Platform::Webpush, scope).await
}
