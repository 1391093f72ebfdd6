//! Tells what became of deliveries: batches that commits left go out to the exchange of statuses.

use crate::event::event;
use crate::hearing::Hearing;
use carillon_broker::{Broker, Outgoing, PublishError, Publisher};
use carillon_store::{Error, StatusBatch, StatusChange, StatusSubject, Store};
use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often the table is looked at unless it holds more than one look takes. A look costs the same for one batch and for twenty, and every
/// commit of reports leaves one.
const EVERY: Duration = Duration::from_millis(100);
/// Batches taken at once.
const BATCHES: usize = 20;

/// Pumps until the process stops. What is not confirmed is told again: at least once, in any order.
pub(crate) async fn run(store: Store, broker: Broker, stop: CancellationToken) -> Result<(), Infallible> {
    while !stop.is_cancelled() {
        let mut taken = 0;
        if broker.status().borrow().accepts() {
            taken = round(&store, &broker).await.unwrap_or_else(|error| {
                tracing::debug!(%error, "status batches wait for the database");
                0
            });
        }
        if taken < BATCHES {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stop.cancelled() => {}
            }
        }
    }
    Ok(())
}

/// Tells what is to be told; how many batches were taken.
async fn round(store: &Store, broker: &Broker) -> Result<usize, Error> {
    let batches = store.take_status_batches(BATCHES as i64).await?;
    let taken = batches.len();
    if taken == 0 {
        return Ok(0);
    }
    let mut runs: Vec<Uuid> = batches.iter().flat_map(|batch| &batch.changes).map(|change| change.run).collect();
    runs.sort_unstable();
    runs.dedup();
    let mut hearing = Hearing::new(store.owners_of_runs(&runs).await?);
    let publisher = broker.publisher();
    let mut told = Vec::with_capacity(batches.len());
    for batch in batches {
        match tell(store, &publisher, &batch, &mut hearing).await {
            Ok(true) => told.push(batch.id),
            Ok(false) => {}
            Err(error) if error.is_unavailable() => return Err(error),
            // It reads, so that it can be told once whatever is wrong with the statement, or with what it asks, is mended.
            Err(error) => {
                tracing::error!(%error, batch = batch.id, "a batch of status changes cannot be described now; it is told later");
            }
        }
    }
    store.status_batches_told(&told).await?;
    Ok(taken)
}

/// Tells a batch to whoever listens. Whether all that was to be told is confirmed; else it comes again, as a whole.
async fn tell(store: &Store, publisher: &Publisher, batch: &StatusBatch, hearing: &mut Hearing) -> Result<bool, Error> {
    let asked = hearing.questions(&batch.changes);
    let (asking, messages): (Vec<_>, Vec<_>) = asked
        .iter()
        .zip(messages_of(store, batch.id, &asked, hearing).await?)
        .filter_map(|(change, message)| Some((change, message?.asking_who_listens())))
        .unzip();
    for (change, answer) in asking.into_iter().zip(publisher.publish_all(messages).await) {
        match answer {
            Ok(()) => hearing.learn(change, true),
            Err(PublishError::Unroutable) => hearing.learn(change, false),
            Err(_) => return Ok(false),
        }
    }
    let rest = hearing.rest(&batch.changes, &asked);
    let events = messages_of(store, batch.id, &rest, hearing).await?;
    let events = events.into_iter().flatten().map(Outgoing::unheard).collect();
    Ok(publisher.publish_all(events).await.iter().all(Result::is_ok))
}

/// The events of changes, in their order; nothing for what is gone.
async fn messages_of(
    store: &Store,
    batch: i64,
    changes: &[StatusChange],
    hearing: &mut Hearing,
) -> Result<Vec<Option<Outgoing>>, Error> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let subjects = store.describe_changes(changes).await?;
    let mut known = HashMap::new();
    let mut told = |change: &StatusChange, subject: &Option<StatusSubject>| {
        event(batch, hearing.key(change)?, change, subject.as_ref()?, &mut known)?.message()
    };
    Ok(changes.iter().zip(&subjects).map(|(change, subject)| told(change, subject)).collect())
}

#[cfg(test)]
mod tests;
