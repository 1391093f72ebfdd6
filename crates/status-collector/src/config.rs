//! Settings of the status collector.

use carillon_runtime::config::{Secret, ServiceConfig};
use serde::Deserialize;
use std::net::SocketAddr;
use tonic::{Request, Status};

/// All sections that the collector reads.
#[derive(Debug, Deserialize)]
pub struct Config {
    /// The broker.
    pub amqp: carillon_broker::Config,
    /// The database.
    pub database: carillon_store::Config,
    /// Where dispatchers reach the ledger.
    pub internal: InternalConfig,
}

impl ServiceConfig for Config {
    const SECTIONS: &'static [&'static str] = &["amqp", "database", "internal"];
}

/// Section `internal`: gRPC between services, never public.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InternalConfig {
    /// Address and port to listen on.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// What callers must show as bearer token.
    pub token: Secret,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 9500))
}

impl InternalConfig {
    /// Refuses calls that do not show the token.
    pub(crate) fn guard(&self) -> impl Fn(Request<()>) -> Result<Request<()>, Status> + Clone + Send + Sync + 'static {
        let expected = format!("Bearer {}", self.token.expose());
        move |request| {
            let shown = request.metadata().get("authorization").map(|v| v.as_bytes()).unwrap_or_default();
            if same(shown, expected.as_bytes()) {
                Ok(request)
            } else {
                Err(Status::unauthenticated("the internal token is missing or wrong"))
            }
        }
    }
}

/// Compares without telling by its time how much was right.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |diff, (x, y)| diff | (x ^ y)) == 0
}
