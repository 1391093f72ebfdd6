//! From a notification to chunks: audiences, schedules, cancel, the scan.
//!
//! A wake-up names notifications that are due. Small audiences are expanded many at a time in one transaction; a campaign is walked page by
//! page, and its wake-up goes back into the queue after every second, so that campaigns take turns. What is committed as due
//! but was never published, or not looked at in time, the scan publishes.

mod absent;
mod audience;
mod campaign;
mod company;
mod config;
mod credentials;
mod credit;
mod expand;
mod handler;
mod message;
mod paused;
mod plan;
mod scan;
mod share;
#[cfg(test)]
mod tests;
mod text;
mod trace;
mod wakeup;

pub use config::Config;

use carillon_broker::Broker;
use carillon_domain::platform::Lane;
use carillon_runtime::{Scope, StartError};
use carillon_store::Store;
use carillon_wire::topology;
use std::sync::Arc;

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
    let store = Store::open_for_work(&config.database, scope.service())?;
    let broker = Broker::connect(&config.amqp, scope.service(), topology::topology(), scope.stopping())?;
    let segmenter = Arc::new(Segmenter {
        store: store.clone(),
        credentials: credentials::Credentials::new(store.clone()),
        credit: credit::Credit::new(config.segmenter.outstanding_chunks),
        config: config.segmenter,
        slot: (std::process::id() % 4) as i16,
    });
    scope.show("broker", broker.status(), carillon_broker::Status::summary);
    let asked = store.clone();
    scope.ask("database", move || {
        let store = asked.clone();
        async move { store.ping().await }
    });
    let (shown, draining) = (store.clone(), broker.clone());
    scope.spawn("presence", async move {
        // As long as there may be something to publish: the last of it is published while the broker drains. What becomes of the broker is
        // another task's to tell.
        tokio::select! {
            never = shown.stay_present() => match never {},
            _ = draining.drained() => {}
        }
        Ok::<_, std::convert::Infallible>(())
    });
    scope.spawn("absent publishers", absent::watch(store, scope.stopping()));
    for lane in Lane::ALL {
        let concurrency = match lane {
            Lane::Transactional => segmenter.config.transactional_concurrency,
            Lane::Bulk => segmenter.config.bulk_concurrency,
        };
        let handler = handler::Wake::new(Arc::clone(&segmenter), *lane, scope.stopping());
        broker.consume(topology::runs(*lane), (concurrency * 2) as u16, concurrency, handler);
    }
    scope.spawn("scan", scan::run(Arc::clone(&segmenter), broker.clone(), scope.stopping()));
    scope.spawn("housekeeping", scan::keep_house(segmenter, scope.stopping()));
    scope.spawn("broker", async move { broker.drained().await });
    Ok(())
}
