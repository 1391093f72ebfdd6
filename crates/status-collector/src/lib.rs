//! The ledger: claims, reports, statuses, counters, token retirement, status events.
//!
//! Dispatchers ask what they may send and tell what became of it; many of them share one transaction. A word of the ledger is given only
//! after its commit.

mod claimers;
mod config;
mod event;
mod group;
mod hearing;
mod last_sent;
mod ledger;
mod pump;
mod routing_key;
mod trace;

pub use config::Config;

use carillon_broker::Broker;
use carillon_runtime::{Scope, StartError};
use carillon_store::Store;
use carillon_wire::internal::ledger_server::LedgerServer;
use carillon_wire::topology;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// How long open calls may take at the end.
const GRACE: Duration = Duration::from_secs(8);

/// Starts the service.
///
/// # Errors
/// A configuration that can never work, or a port that is taken.
pub async fn start(config: Config, scope: Scope) -> Result<(), StartError> {
    let store = Store::open_for_work(&config.database, scope.service())?;
    let broker = Broker::connect(&config.amqp, scope.service(), topology::topology(), scope.stopping())?;
    let slot = (std::process::id() % 4) as i16;
    let last_sent = Arc::new(last_sent::LastSent::default());
    scope.spawn("last sent", Arc::clone(&last_sent).write(store.clone(), scope.stopping()));
    let ledger = ledger::Ledger::start(store.clone(), slot, last_sent, &scope);

    let listener = TcpListener::bind(config.internal.listen)
        .await
        .map_err(|e| StartError::because("CARILLON_INTERNAL__LISTEN cannot be bound", e))?;
    tracing::info!(address = %listener.local_addr()?, "the ledger listens");
    let service = LedgerServer::with_interceptor(ledger, config.internal.guard());
    scope.serve("ledger", GRACE, |stop| async move {
        Server::builder()
            .http2_keepalive_interval(Some(Duration::from_secs(20)))
            .http2_keepalive_timeout(Some(Duration::from_secs(10)))
            .timeout(Duration::from_secs(10))
            .add_service(service)
            .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), stop.cancelled_owned())
            .await
    });
    scope.spawn("status pump", pump::run(store.clone(), broker.clone(), scope.stopping()));
    scope.show("broker", broker.status(), carillon_broker::Status::summary);
    scope.ask("database", move || {
        let store = store.clone();
        async move { store.ping().await }
    });
    scope.spawn("broker", async move { broker.drained().await });
    Ok(())
}
