//! What the chunks in work of one lane share.

use std::sync::Arc;
use std::time::Duration;

use carillon_domain::platform::Lane;
use carillon_runtime::Clock;
use carillon_telemetry::names::field;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::chunk::Chunk;
use crate::credentials::{Credentials, Opened};
use crate::gate::{Change, PREPARATION};
use crate::ledger::{Ledger, Reporter};
use crate::metrics::Meters;
use crate::pace::Paces;
use crate::plan::{self, Lesson};
use crate::provider::{Provider, Verdict};
use crate::room::Room;

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
    /// What a crash repeats.
    pub(crate) room: Room,
    /// Provider calls at once.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) meters: Meters,
}

impl<P: Provider> Engine<P> {
    /// The time by the ledger's clock, as far as it is known.
    pub(crate) fn time(&self, now: Instant) -> Timestamp {
        self.shared.ledger.clock().or(now, || self.shared.clock.now())
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
        let said = if let Verdict::Misconfigured { detail } = verdict { detail } else { "" };
        announce(chunk, host, change, said);
    }

    /// What the messages share could be made: whatever was in its way is over.
    pub(crate) fn prepared(&self, chunk: &Chunk, opened: &Opened<P::Credential>, now: Instant) {
        let change = opened.learn(Lesson::Works, PREPARATION, now, &self.meters.breakers);
        announce(chunk, PREPARATION, change, "");
    }
}

/// Says what everybody should know. A preparation concerns all hosts and names none; nor does a provider that has but one.
fn announce(chunk: &Chunk, host: &str, change: Change, said: &str) {
    let facts = &chunk.facts;
    let host = Some(host).filter(|host| !host.is_empty() && *host != PREPARATION);
    match change {
        Change::None => {}
        Change::Refused => {
            tracing::warn!({ field::PROVIDER_HOST } = host, tenant.id = %facts.tenant, app.id = %facts.app, reason = said, "the provider refuses a credential; its messages wait");
        }
        Change::Opened => {
            tracing::warn!({ field::PROVIDER_HOST } = host, tenant.id = %facts.tenant, app.id = %facts.app, "the provider fails; messages wait until it is back");
        }
        Change::Recovered => {
            tracing::info!({ field::PROVIDER_HOST } = host, tenant.id = %facts.tenant, app.id = %facts.app, "the provider answers again");
        }
    }
}
