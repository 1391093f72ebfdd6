//! Wake-ups: who does them, together with whom, and what becomes of one that fails.

use crate::company::{Company, Shared};
use crate::wakeup::{epoch_of, one_by_one, wake_again};
use crate::{Segmenter, campaign};
use carillon_broker::{Delivery, Effects, Fault, Handler};
use carillon_domain::platform::Lane;
use carillon_store::Error;
use carillon_telemetry::names::field;
use carillon_wire::events::NotificationsAccepted;
use futures::FutureExt as _;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// How long a wake-up is kept that met a database which is away, before whoever is next has it: this replica alone may have lost its database.
/// Handed back to the broker unhandled, it would come nearer to the number of returns after which it is parked.
const GIVE_BACK: Duration = Duration::from_secs(1);

/// Handles one lane's wake-ups.
pub(crate) struct Wake {
    segmenter: Arc<Segmenter>,
    lane: Lane,
    company: Company,
    stop: CancellationToken,
}

impl Wake {
    pub(crate) fn new(segmenter: Arc<Segmenter>, lane: Lane, stop: CancellationToken) -> Self {
        Self { segmenter, lane, company: Company::default(), stop }
    }
}

impl Handler<NotificationsAccepted> for Wake {
    async fn handle(&self, event: NotificationsAccepted, delivery: &Delivery) -> Result<Effects, Fault> {
        let span = tracing::info_span!(
            parent: None,
            "segment",
            otel.kind = "consumer",
            { field::LANE } = self.lane.as_str(),
            notifications = event.notifications.len(),
        );
        carillon_telemetry::extract(&delivery.headers).continue_in(&span);
        self.segment(event, epoch_of(delivery), delivery.redelivered).instrument(span).await
    }
}

impl Wake {
    async fn segment(
        &self,
        event: NotificationsAccepted,
        epoch: Option<i32>,
        redelivered: bool,
    ) -> Result<Effects, Fault> {
        let done = match self.lane {
            // The process that had it may have died of one of them.
            Lane::Transactional if redelivered && event.notifications.len() > 1 => return Ok(one_by_one(event)),
            Lane::Transactional if redelivered || epoch.is_some() => self.expand(&event, epoch).await,
            Lane::Transactional => self.expand_in_company(&event).await,
            Lane::Bulk => campaign::walk(&self.segmenter, &event, epoch, self.lane).await,
        };
        match done {
            Err(error) if error.is_unavailable() => {
                tracing::debug!(%error, "a wake-up is given back");
                let _ = self.stop.run_until_cancelled(tokio::time::sleep(GIVE_BACK)).await;
                Ok(vec![wake_again(self.lane, event, epoch)])
            }
            done => done.map_err(|error| Fault::new("the audience could not be expanded", error)),
        }
    }

    /// With those that wait, too, in one transaction.
    async fn expand_in_company(&self, event: &NotificationsAccepted) -> Result<Effects, Error> {
        let together = |all| async move { self.segmenter.expand_together(&all).await };
        match self.company.share(event, together).await {
            Shared::Done(effects) => Ok(effects),
            Shared::Alone(_turn) => self.expand(event, None).await,
        }
    }

    /// A group in which one panics is taken apart: the others go on, and the one is parked when it panics alone.
    async fn expand(&self, event: &NotificationsAccepted, epoch: Option<i32>) -> Result<Effects, Error> {
        match AssertUnwindSafe(self.segmenter.expand_group(event, epoch)).catch_unwind().await {
            Ok(done) => done,
            Err(_) if event.notifications.len() > 1 => {
                tracing::error!(notifications = event.notifications.len(), "a group panicked; it is taken apart");
                Ok(one_by_one(event.clone()))
            }
            Err(panic) => resume_unwind(panic),
        }
    }
}
