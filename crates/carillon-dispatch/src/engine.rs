//! What the chunks in work of one lane share.

use std::sync::Arc;
use std::time::Duration;

use carillon_domain::platform::Lane;
use carillon_runtime::Clock;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::chunk::Chunk;
use crate::credentials::{Credentials, Opened};
use crate::gate::Change;
use crate::ledger::{Ledger, Reporter};
use crate::metrics::Meters;
use crate::pace::Paces;
use crate::plan;
use crate::provider::{Provider, Verdict};

/// One process's dispatching, both lanes.
pub(crate) struct Shared<P: Provider> {
    pub(crate) provider: P,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) reporter: Reporter,
    pub(crate) credentials: Credentials<P>,
    pub(crate) paces: Paces,
    pub(crate) bounds: Bounds,
    pub(crate) clock: Clock,
    /// Fires when the process drains.
    pub(crate) stopping: CancellationToken,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) in_flight_per_chunk: usize,
    pub(crate) send_timeout: Duration,
}

/// One lane.
pub(crate) struct Engine<P: Provider> {
    pub(crate) shared: Arc<Shared<P>>,
    pub(crate) lane: Lane,
    /// Provider calls at once.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) meters: Meters,
}

impl<P: Provider> Engine<P> {
    /// The time by the ledger's clock, as far as it is known.
    pub(crate) fn time(&self, now: Instant) -> Timestamp {
        self.shared.ledger.clock().or(now, self.shared.clock.now())
    }

    /// Lets everything else that is sent with the credential, and to the host, profit from a verdict.
    pub(crate) fn learn(
        &self,
        chunk: &Chunk,
        opened: &Opened<P::Credential>,
        host: &str,
        verdict: &Verdict,
        now: Instant,
    ) {
        let change = opened.learn(plan::lesson(verdict), host, now, &self.meters.breakers);
        announce(chunk, change, verdict);
    }
}

/// Says what everybody should know.
fn announce(chunk: &Chunk, change: Change, verdict: &Verdict) {
    let facts = &chunk.facts;
    match (change, verdict) {
        (Change::Refused, Verdict::Misconfigured { detail }) => {
            tracing::warn!(tenant.id = %facts.tenant, app.id = %facts.app, reason = %detail, "the provider refuses a credential; its messages wait");
        }
        (Change::Opened, _) => {
            tracing::warn!(tenant.id = %facts.tenant, app.id = %facts.app, "the provider fails; messages wait until it is back");
        }
        (Change::Recovered, _) => {
            tracing::info!(tenant.id = %facts.tenant, app.id = %facts.app, "the provider answers again");
        }
        _ => {}
    }
}
