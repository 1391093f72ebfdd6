//! A dispatcher from its configuration to its consumers.

use std::sync::Arc;

use carillon_broker::Broker;
use carillon_domain::platform::{Lane, Platform};
use carillon_runtime::{Scope, StartError};
use carillon_wire::topology;
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::credentials::Credentials;
use crate::dispatcher::Dispatcher;
use crate::engine::{Bounds, Engine, Shared};
use crate::ledger::{Ledger, Reporter};
use crate::metrics::Meters;
use crate::pace::Paces;
use crate::provider::Provider;
use crate::room::Room;

/// Messages of the transactional lane that may be in work for each full one of the setting: most carry a recipient or two, and the room bounds
/// them together.
const SMALL: usize = 16;

/// Consumes both lanes of a platform until the process drains. Returns once everything is started; a broker or a ledger that
/// is away is no error.
///
/// # Errors
/// [`StartError`] when the configuration cannot work.
pub async fn start<P: Provider>(
    config: Config,
    provider: P,
    platform: Platform,
    scope: Scope,
) -> Result<(), StartError> {
    let Config { amqp, dispatch, ledger, internal, secrets } = config;
    let vault = secrets.vault(platform.as_str()).map_err(StartError::misconfigured)?;
    let ledger = Ledger::new(&ledger.url, &internal.token, platform, ledger.timeout.get())
        .map_err(|error| StartError::misconfigured(error.to_string()))?;
    let ledger = Arc::new(ledger);
    let broker = Broker::connect(&amqp, scope.service(), topology::topology(), scope.stopping())
        .map_err(|error| StartError::misconfigured(error.to_string()))?;
    let (reporter, reports) = Reporter::new(Arc::clone(&ledger));
    scope.spawn("reports", async move {
        reports.run().await;
        Ok::<_, StartError>(())
    });
    let shared = Arc::new(Shared {
        provider,
        ledger,
        reporter,
        credentials: Credentials::new(vault),
        paces: Paces::default(),
        bounds: Bounds { in_flight_per_chunk: dispatch.in_flight_per_chunk, send_timeout: dispatch.send_timeout.get() },
        clock: scope.clock(),
        stopping: scope.stopping(),
    });
    let transactional = (dispatch.in_flight / 4).max(1);
    let bulk = dispatch.in_flight - transactional;
    let lanes = [
        (Lane::Transactional, transactional, dispatch.transactional_concurrency, SMALL),
        (Lane::Bulk, bulk, dispatch.bulk_concurrency, 1),
    ];
    for (lane, in_flight, full, messages) in lanes {
        let queue = topology::chunks(platform, lane);
        let engine = Engine {
            shared: Arc::clone(&shared),
            lane,
            room: Room::for_chunks(full),
            permits: Arc::new(Semaphore::new(in_flight)),
            meters: Meters::new(platform, lane, queue.name()),
        };
        let concurrency = full * messages;
        let prefetch = u16::try_from(concurrency * 2).unwrap_or(u16::MAX);
        broker.consume(queue, prefetch, concurrency, Dispatcher::new(engine));
    }
    scope.show("broker", broker.status(), carillon_broker::Status::summary);
    scope.spawn("broker", async move { broker.drained().await });
    Ok(())
}
