//! The life of this process's connections to the broker.

use std::time::Duration;

use carillon_broker::Broker;
use carillon_runtime::{BoxError, CancellationToken, Scope, StartError};
use carillon_wire::topology;
use tokio::time::timeout;

/// How long what was accepted last may take to be told to the broker when the process stops.
const LAST_WORDS: Duration = Duration::from_secs(12);

/// Begins to connect; a broker that is away is no error: what is accepted meanwhile waits as rows. The connections live until
/// `stop` is cancelled, which [`keep`] does.
pub(crate) fn connect(
    config: &carillon_broker::Config,
    stop: CancellationToken,
    scope: &Scope,
) -> Result<Broker, StartError> {
    Broker::connect(config, scope.service(), topology::topology(), stop)
        .map_err(|error| StartError::misconfigured(error.to_string()))
}

/// Shows the connections in `/readyz`, and closes them when the process stops: not before `told`, since a wake-up that is not
/// published costs its recipients the time until the scan finds them.
pub(crate) fn keep(broker: Broker, told: CancellationToken, stop: CancellationToken, scope: &Scope) {
    scope.show("broker", broker.status(), carillon_broker::Status::summary);
    let stopping = scope.stopping();
    scope.spawn_helper("last words", async move {
        stopping.cancelled().await;
        let _ = timeout(LAST_WORDS, told.cancelled()).await;
        stop.cancel();
    });
    // Ends the process as well when a task of the client died.
    scope.spawn::<BoxError>("broker", async move { Ok(broker.drained().await?) });
}
