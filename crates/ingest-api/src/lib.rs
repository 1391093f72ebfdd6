#![doc = include_str!("../README.md")]

mod accept;
mod amqp;
mod auth;
mod bodies;
mod broker;
mod cache;
mod config;
mod credentials;
mod deliveries;
mod grpc;
mod http;
mod ingest;
mod json;
mod permits;
mod rate;
mod refusal;
mod registering;
mod watch;

pub use config::{Config, Fcm, Grpc, Http, Operator, Secrets};

use std::net::SocketAddr;

use carillon_runtime::{CancellationToken, Scope, StartError};

/// Starts the service; returns when its ports are bound. The database may come later: until then callers get 503.
///
/// # Errors
/// A port that cannot be bound, a database URL or key that cannot be read.
pub async fn start(config: Config, scope: Scope) -> Result<(), StartError> {
    start_on(config, scope).await.map(drop)
}

/// Where the public ports are: with a setting of port 0 the system chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// REST.
    pub http: SocketAddr,
    /// gRPC.
    pub grpc: SocketAddr,
}

/// As [`start`], and says where the public ports are.
///
/// # Errors
/// As [`start`].
pub async fn start_on(config: Config, scope: Scope) -> Result<Ports, StartError> {
    let last = CancellationToken::new();
    let broker = broker::connect(&config.amqp, last.clone(), &scope)?;
    let (ingest, told) = ingest::Ingest::new(&config, &scope, broker.publisher())?;
    watch::start(&ingest, &scope);
    let http = http::start(&config.http, ingest.clone(), &scope).await?;
    let grpc = grpc::start(&config.grpc, ingest.clone(), &scope).await?;
    amqp::start(&broker, &ingest, scope.stopping());
    broker::keep(broker, told, last, &scope);
    tracing::info!(http.address = %http, grpc.address = %grpc, "the public ports are open");
    Ok(Ports { http, grpc })
}
