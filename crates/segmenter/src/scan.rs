//! The scan: publishes what is due, and keeps the tables in order.

use crate::Segmenter;
use crate::handler::wake_up;
use crate::message::{Member, RunText, chunk, messages};
use carillon_broker::{Broker, Outgoing};
use carillon_domain::limits;
use carillon_domain::platform::{Lane, Platform};
use carillon_store::{DueChunk, Error};
use carillon_wire::events::{AcceptedNotification, DispatchChunk};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the tables are looked at.
const EVERY: Duration = Duration::from_millis(250);
/// Notifications woken in one look.
const NOTIFICATIONS: i64 = 640;
/// Chunks published in one look per platform and lane: their messages lie in memory together.
const CHUNKS: i64 = 50;

/// Scans until the process stops. While the publishing connection is down nothing is taken: it would only be marked as published.
pub(crate) async fn run(segmenter: Arc<Segmenter>, broker: Broker, stop: CancellationToken) -> Result<(), Infallible> {
    let mut failing = false;
    while !stop.is_cancelled() {
        let mut more = false;
        if broker.status().borrow().accepts() {
            let result = look(&segmenter, &broker).await;
            if result.is_err() != failing {
                failing = result.is_err();
                match &result {
                    Err(error) => tracing::warn!(%error, "the scan cannot read what is due"),
                    Ok(_) => tracing::info!("the scan reads what is due again"),
                }
            }
            more = result.unwrap_or(false);
        }
        if !more {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stop.cancelled() => {}
            }
        }
    }
    Ok(())
}

/// One look; `true` when there is probably more.
async fn look(segmenter: &Segmenter, broker: &Broker) -> Result<bool, Error> {
    let mut more = false;
    let due = segmenter.store.due_notifications(NOTIFICATIONS).await?;
    more |= due.len() as i64 == NOTIFICATIONS;
    let mut outgoing = Vec::new();
    for lane in Lane::ALL {
        let accepted: Vec<AcceptedNotification> = due
            .iter()
            .filter(|n| n.lane == *lane)
            .map(|n| AcceptedNotification {
                id: n.notification_id.0.as_bytes().to_vec(),
                tenant_key: n.tenant_key.0,
                app_key: n.app_key.0,
                ..Default::default()
            })
            .collect();
        // A campaign takes a turn of its own; small ones are expanded together.
        let group = if *lane == Lane::Bulk { 1 } else { limits::WAKEUP_NOTIFICATIONS };
        outgoing.extend(accepted.chunks(group).map(|g| wake_up(*lane, g.to_vec())));
    }
    publish(broker, outgoing).await;
    for platform in Platform::ALL {
        for lane in Lane::ALL {
            let credit = segmenter.config.outstanding_chunks;
            let due = segmenter.store.due_chunks(*platform, *lane, credit, CHUNKS).await?;
            more |= due.len() as i64 == CHUNKS;
            let mut chunks = Vec::with_capacity(due.len());
            for item in &due {
                if let Some(message) = again(segmenter, *platform, item).await? {
                    chunks.push((*platform, message));
                }
            }
            publish(broker, messages(*lane, chunks, jiff::Timestamp::now())).await;
        }
    }
    more |= segmenter.store.close_cancelled(segmenter.slot).await?;
    Ok(more)
}

/// The message of a chunk, with its targets as they are now.
async fn again(segmenter: &Segmenter, platform: Platform, due: &DueChunk) -> Result<Option<DispatchChunk>, Error> {
    let notification = match carillon_wire::decode_body(&due.body) {
        Ok(notification) => notification,
        Err(error) => {
            tracing::error!(notification.id = %due.notification_id.0, %error, "a notification's body does not read; its chunk is left alone");
            return Ok(None);
        }
    };
    let credentials = segmenter.credentials.of(due.tenant_key, due.app_key).await?;
    let text = RunText {
        notification: &notification,
        notification_id: due.notification_id,
        tenant: &due.tenant,
        icon_url: due.icon_url.as_deref(),
        default_locale: due.default_locale.as_deref(),
        released_at: due.released_at,
        expires_at: due.expires_at,
        credentials: &credentials,
        link: due.link as u16,
        traceparent: "",
    };
    let members: Vec<Member<'_>> = due
        .targets
        .iter()
        .map(|(position, _, device)| Member { position: *position, device: device.as_ref() })
        .collect();
    Ok(Some(chunk(&text, platform, due.chunk, due.copy.saturating_sub(1), None, &members)))
}

/// Publishes; what is not confirmed is found again by its time.
async fn publish(broker: &Broker, outgoing: Vec<Outgoing>) {
    if outgoing.is_empty() {
        return;
    }
    let results = broker.publisher().publish_all(outgoing).await;
    let failed = results.iter().filter(|r| r.is_err()).count();
    if failed > 0 {
        tracing::warn!(
            failed,
            of = results.len(),
            "due work was not confirmed by the broker; it will be published again"
        );
    }
}

/// Slow chores: runs that a crash left unfinished, partitions to come, what has served its time.
pub(crate) async fn keep_house(segmenter: Arc<Segmenter>, stop: CancellationToken) -> Result<(), Infallible> {
    let mut round: u32 = 0;
    while !stop.is_cancelled() {
        let done = async {
            segmenter.store.finish_stale(30.0).await?;
            if round.is_multiple_of(6) {
                segmenter.store.purge().await?;
            }
            if round.is_multiple_of(360) {
                segmenter.store.make_partitions(5).await?;
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = done.await {
            tracing::warn!(%error, "housekeeping waits for the database");
        }
        round = round.wrapping_add(1);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(10)) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(())
}
