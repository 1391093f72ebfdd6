#![doc = include_str!("../README.md")]

mod accept;
mod auth;
mod bodies;
mod broker;
mod cache;
mod config;
mod credentials;
mod deliveries;
mod http;
mod ingest;
mod json;
mod permits;
mod refusal;
mod registering;
mod watch;

pub use config::{Config, Fcm, Http, Operator, Secrets};

use std::net::SocketAddr;

use carillon_runtime::{Scope, StartError};

/// Starts the service; returns when its ports are bound. The database may come later: until then callers get 503.
///
/// # Errors
/// A port that cannot be bound, a database URL or key that cannot be read.
pub async fn start(config: Config, scope: Scope) -> Result<(), StartError> {
    start_on(config, scope).await.map(drop)
}

/// As [`start`], and says where the public port is: with `http.listen` on port 0 the system chose it.
///
/// # Errors
/// As [`start`].
pub async fn start_on(config: Config, scope: Scope) -> Result<SocketAddr, StartError> {
    let broker = broker::connect(&config.amqp, &scope)?;
    let (ingest, told) = ingest::Ingest::new(&config, &scope, broker.publisher())?;
    watch::start(&ingest, &scope);
    broker::keep(broker, told, &scope);
    let address = http::start(&config.http, ingest, &scope).await?;
    tracing::info!(http.address = %address, "the public port is open");
    Ok(address)
}
