//! From a notification to chunks: audiences, schedules, cancel, the scan.
//!
//! A wake-up names notifications that are due. Small audiences are expanded many at a time in one transaction; a campaign is walked page by
//! page, and its wake-up goes back into the queue after every second, so that campaigns take turns. What is committed as due
//! but was never published, or not looked at in time, the scan publishes.

mod audience;
mod campaign;
mod config;
mod credentials;
mod credit;
mod handler;
mod message;
mod plan;
mod scan;
#[cfg(test)]
mod tests;
mod trace;

pub use config::Config;

use carillon_broker::Broker;
use carillon_domain::platform::Lane;
use carillon_runtime::{Scope, StartError};
use carillon_store::Store;
use carillon_wire::topology;
use std::sync::Arc;
use std::time::Duration;

/// What all parts of the service share.
struct Segmenter {
    store: Store,
    credentials: credentials::Credentials,
    credit: credit::Credit,
    config: config::SegmenterConfig,
    /// Spreads counters between processes.
    slot: i16,
}

/// Starts the service.
///
/// # Errors
/// A configuration that can never work.
pub async fn start(config: Config, scope: Scope) -> Result<(), StartError> {
    let store = Store::open(&config.database, scope.service())?;
    let broker = Broker::connect(&config.amqp, scope.service(), topology::topology(), scope.stopping())?;
    let segmenter = Arc::new(Segmenter {
        store: store.clone(),
        credentials: credentials::Credentials::new(store.clone()),
        credit: credit::Credit::new(config.segmenter.outstanding_chunks),
        config: config.segmenter,
        slot: (std::process::id() % 4) as i16,
    });
    watch_dependencies(&scope, &broker, store);
    for lane in Lane::ALL {
        let concurrency = segmenter.config.concurrency;
        let handler = handler::Wake::new(Arc::clone(&segmenter), *lane);
        broker.consume(topology::runs(*lane), (concurrency * 2) as u16, concurrency, handler);
    }
    scope.spawn("scan", scan::run(Arc::clone(&segmenter), broker.clone(), scope.stopping()));
    scope.spawn("housekeeping", scan::keep_house(segmenter, scope.stopping()));
    scope.spawn("broker", async move { broker.drained().await });
    Ok(())
}

/// Shows in `/readyz` whether broker and database are there; neither makes a worker unready, since nothing is routed to it.
fn watch_dependencies(scope: &Scope, broker: &Broker, store: Store) {
    let ready = scope.dependency("broker");
    let mut status = broker.status();
    let stop = scope.stopping();
    scope.spawn_helper("broker status", async move {
        loop {
            let now = *status.borrow_and_update();
            ready.set(now.connected(), if now.connected() { "connected" } else { "connecting" });
            tokio::select! {
                changed = status.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
        }
    });
    let ready = scope.dependency("database");
    let stop = scope.stopping();
    scope.spawn_helper("database status", async move {
        loop {
            let answer = store.ping().await;
            ready.set(answer.is_ok(), answer.err().map_or_else(|| "answers".into(), |e| e.to_string()));
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(5)) => {}
                () = stop.cancelled() => return,
            }
        }
    });
}
