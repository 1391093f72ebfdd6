//! The scan: publishes what is due, and keeps the tables in order.

use crate::credit::most;
use crate::message::{Member, chunk, messages};
use crate::text::{Renderer, RunText};
use crate::wakeup::{wake_campaign, wake_up_in};
use crate::{Segmenter, paused};
use carillon_broker::{Broker, Outgoing, PublishError};
use carillon_domain::limits;
use carillon_domain::platform::{Lane, Platform};
use carillon_store::{DueChunk, DueNotification, Error};
use carillon_telemetry::RemoteContext;
use carillon_wire::events::{AcceptedNotification, DispatchChunk};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often the tables are looked at.
const EVERY: Duration = Duration::from_millis(250);
/// Notifications woken in one look.
const NOTIFICATIONS: i64 = 640;
/// Chunks published in one look per platform and lane: their messages lie in memory together.
const CHUNKS: i64 = 32;
/// How long what a lost connection left unconfirmed is published again from memory, before it is left to its time.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long what the broker refused is: the other queues wait meanwhile.
const REFUSED: Duration = Duration::from_secs(3);
/// How long ago a run must have begun for the housekeeping to look whether it was left unfinished, in seconds.
const STALE_SECONDS: f64 = 30.0;

/// Scans until the process stops. While the publishing connection is down nothing is taken: it would only be marked as published.
pub(crate) async fn run(segmenter: Arc<Segmenter>, broker: Broker, stop: CancellationToken) -> Result<(), Infallible> {
    let mut failing = false;
    while !stop.is_cancelled() {
        let mut more = false;
        if broker.status().borrow().accepts() {
            let result = look(&segmenter, &broker, &stop).await;
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
async fn look(segmenter: &Segmenter, broker: &Broker, stop: &CancellationToken) -> Result<bool, Error> {
    let mut more = false;
    let store = &segmenter.store;
    store.in_time(paused::look(store)).await?;
    more |= store.in_time(store.take_up_resumed()).await?.more;
    let due = store.in_time(store.due_notifications(NOTIFICATIONS)).await?;
    more |= due.len() as i64 == NOTIFICATIONS;
    publish(broker, wake_ups(&due), stop).await;
    let due_lanes = store.due_lanes().await?;
    for lane in Lane::ALL {
        let credit = most(*lane, segmenter.config.outstanding_chunks);
        if *lane == Lane::Transactional {
            segmenter.credit.counted(&store.outstanding(*lane).await?);
        }
        for platform in Platform::ALL.iter().filter(|platform| due_lanes.contains(&(**platform, *lane))) {
            let due = store.in_time(store.due_chunks(*platform, *lane, credit, CHUNKS)).await?;
            more |= due.len() as i64 == CHUNKS;
            let mut chunks = Vec::with_capacity(due.len());
            let mut failed = None;
            for item in due {
                match again(segmenter, *platform, item).await {
                    Ok(message) => chunks.extend(message.map(|message| (*platform, message))),
                    Err(error) => failed = Some(error),
                }
            }
            publish(broker, messages(*lane, chunks, jiff::Timestamp::now()), stop).await;
            if let Some(error) = failed {
                return Err(error);
            }
        }
    }
    more |= store.in_time(store.close_cancelled(segmenter.slot)).await?;
    Ok(more)
}

/// Wakes for what is due, in the traces of the calls that were accepted. A campaign takes turns of its own; small ones are expanded
/// together.
fn wake_ups(due: &[DueNotification]) -> Vec<Outgoing> {
    let accepted = |n: &DueNotification| AcceptedNotification {
        id: n.notification_id.0.as_bytes().to_vec(),
        tenant_key: n.tenant_key.0,
        app_key: n.app_key.0,
        traceparent: position(n.traceparent.as_deref()).traceparent(),
    };
    let (campaigns, small): (Vec<_>, Vec<_>) = due.iter().partition(|n| n.lane == Lane::Bulk);
    let groups = small.chunks(limits::WAKEUP_NOTIFICATIONS).map(|group| {
        let traces: Vec<RemoteContext> = group.iter().map(|n| position(n.traceparent.as_deref())).collect();
        // As the intake names one: the first that is recorded, else one that says not to record.
        let named = traces.iter().find(|t| t.is_sampled()).or_else(|| traces.iter().find(|t| t.is_present()));
        let named = named.cloned().unwrap_or_else(RemoteContext::none);
        wake_up_in(&named, Lane::Transactional, group.iter().map(|n| accepted(n)).collect())
    });
    let campaigns =
        campaigns.into_iter().map(|n| wake_campaign(&position(n.traceparent.as_deref()), accepted(n), n.epoch, n.lane));
    groups.chain(campaigns).collect()
}

/// The accepted call's position in its trace.
fn position(traceparent: Option<&str>) -> RemoteContext {
    RemoteContext::from_traceparent(traceparent.unwrap_or_default())
}

/// The message of a chunk, with its targets as they are now.
async fn again(segmenter: &Segmenter, platform: Platform, due: DueChunk) -> Result<Option<DispatchChunk>, Error> {
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
        push_enabled: due.push_enabled,
        released_at: due.released_at,
        expires_at: due.expires_at,
        credentials: &credentials,
        link: due.link as u16,
        traceparent: &position(due.traceparent.as_deref()).traceparent(),
    };
    let members = due.targets.into_iter().map(|(position, _, device)| Member { position, device });
    let mut renderer = Renderer::new(text);
    Ok(Some(chunk(&mut renderer, platform, due.chunk, due.copy.saturating_sub(1), None, members)))
}

/// Publishes, and again from memory what the connection took along. What is not confirmed even then is found again by its time.
async fn publish(broker: &Broker, outgoing: Vec<Outgoing>, stop: &CancellationToken) {
    let (mut left, started, mut refused) = (outgoing, Instant::now(), 0);
    while !left.is_empty() {
        let results = broker.publisher().publish_all(left.clone()).await;
        let (mut again, mut away) = (Vec::new(), false);
        for (message, result) in left.into_iter().zip(results) {
            match result {
                Ok(()) => {}
                Err(error) if error.is_retryable() && error != PublishError::Closed => {
                    away |= matches!(error, PublishError::Unavailable | PublishError::Unknown(_));
                    again.push(message);
                }
                Err(_) => refused += 1,
            }
        }
        left = again;
        let patience = if away { PATIENCE } else { REFUSED };
        if left.is_empty() || started.elapsed() > patience || stop.is_cancelled() {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => {}
        }
    }
    let failed = refused + left.len();
    if failed > 0 {
        tracing::warn!(failed, "due work was not confirmed by the broker; it will be published again");
    }
}

/// Slow chores: runs that a crash left unfinished, partitions to come, what has served its time.
pub(crate) async fn keep_house(segmenter: Arc<Segmenter>, stop: CancellationToken) -> Result<(), Infallible> {
    let mut round: u32 = 0;
    let mut after = None;
    let store = &segmenter.store;
    while !stop.is_cancelled() {
        let done = async {
            (_, after) = store.in_time(store.finish_stale(STALE_SECONDS, after)).await?;
            loop {
                let closed = store.in_time(store.close_expired(segmenter.slot)).await?;
                if closed.is_empty() || stop.is_cancelled() {
                    break;
                }
                store.finish_runs(&closed).await?;
            }
            if round.is_multiple_of(6) {
                store.in_time(store.purge()).await?;
                store.in_time(store.cancel_orphans()).await?;
            }
            if round.is_multiple_of(360) {
                store.make_partitions(5).await?;
                while store.drop_old_chunks().await? && !stop.is_cancelled() {}
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
