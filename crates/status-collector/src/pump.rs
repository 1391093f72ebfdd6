//! Tells what became of deliveries: batches that commits left go out to the exchange of statuses.

use carillon_broker::{Broker, Outgoing, Raw};
use carillon_domain::delivery_status::{Evidence, Reason, Status};
use carillon_domain::notification::Notification;
use carillon_domain::platform::Platform;
use carillon_store::{Error, StatusChange, StatusSubject, Store, changed_at};
use carillon_wire::topology::STATUSES;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often the table is looked at when nothing was there.
const EVERY: Duration = Duration::from_millis(100);
/// Batches taken at once.
const BATCHES: i64 = 20;

/// Pumps until the process stops. What is not confirmed is told again: at least once, in any order.
pub(crate) async fn run(store: Store, broker: Broker, stop: CancellationToken) -> Result<(), Infallible> {
    while !stop.is_cancelled() {
        let mut told = false;
        if broker.status().borrow().accepts() {
            told = match round(&store, &broker).await {
                Ok(told) => told,
                Err(error) => {
                    tracing::debug!(%error, "status batches wait for the database");
                    false
                }
            };
        }
        if !told {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stop.cancelled() => {}
            }
        }
    }
    Ok(())
}

async fn round(store: &Store, broker: &Broker) -> Result<bool, Error> {
    let batches = store.take_status_batches(BATCHES).await?;
    if batches.is_empty() {
        return Ok(false);
    }
    let mut told = Vec::with_capacity(batches.len());
    for batch in batches {
        let subjects = store.describe_changes(&batch.changes).await?;
        let mut known = HashMap::new();
        let events = batch
            .changes
            .iter()
            .zip(&subjects)
            .filter_map(|(change, subject)| subject.as_ref().and_then(|s| event(batch.id, change, s, &mut known)))
            .collect();
        if broker.publisher().publish_all(events).await.iter().all(Result::is_ok) {
            told.push(batch.id);
        }
    }
    store.status_batches_told(&told).await?;
    Ok(true)
}

/// One status event: the body that webhooks have, under `<tenant>.<app>.<push|sms|none>.<platform|none>.<status>`.
fn event(
    batch: i64,
    change: &StatusChange,
    subject: &StatusSubject,
    known: &mut HashMap<Uuid, Option<Notification>>,
) -> Option<Outgoing> {
    let notification = known
        .entry(subject.notification_id)
        .or_insert_with(|| carillon_wire::decode_body(&subject.body).ok())
        .as_ref()?;
    let status = Status::from_number(change.status)?;
    let platform = subject.platform.and_then(Platform::from_number).map(Platform::as_str);
    // A person without a device has a push delivery that went nowhere.
    let channel = match (change.link, change.subject) {
        (0, 0..) => "push",
        (0, _) => "none",
        _ => "sms",
    };
    let body = body(change, subject, notification, status, platform, channel);
    let key =
        format!("{}.{}.{channel}.{}.{}", subject.tenant, subject.app, platform.unwrap_or("none"), status.as_str());
    let bytes = serde_json::to_vec(&body).ok()?;
    let id = format!("{batch}:{}:{}:{}:{}", change.run, change.link, change.subject, change.status);
    Some(
        Outgoing::routed(STATUSES.name, key, &Raw(bytes.into()))
            .with_content_type("application/json")
            .with_id(id)
            .unheard(),
    )
}

fn body(
    change: &StatusChange,
    subject: &StatusSubject,
    notification: &Notification,
    status: Status,
    platform: Option<&str>,
    channel: &str,
) -> Value {
    let draft = notification.draft();
    let metadata: Map<String, Value> =
        draft.metadata.iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))).collect();
    let at = changed_at(change).to_string();
    json!({
        "type": format!("message.{}", status.as_str()),
        "timestamp": at,
        "data": {
            "notification_id": subject.notification_id,
            "reference": draft.reference,
            "metadata": metadata,
            "app": subject.app,
            "user_id": subject.user_id,
            "device": subject.device,
            "channel": if channel == "none" { "push" } else { channel },
            "platform": platform,
            "gateway": subject.gateway,
            "link": change.link,
            "status": status.as_str(),
            "reason": change.reason.and_then(Reason::from_number).map(Reason::as_str),
            "evidence": evidence(change.link, Evidence(subject.bits as u16)),
            "at": at,
            "provider_id": subject.provider_id,
        }
    })
}

/// Who said so: the provider that accepted, the device, or the operator of a phone.
fn evidence(link: i16, bits: Evidence) -> &'static str {
    match bits.status() {
        Status::Queued | Status::Suppressed | Status::Cancelled | Status::Expired => "none",
        Status::Unknown => "none",
        Status::Failed | Status::Sent => "provider",
        _ if link > 0 => "operator",
        Status::Undelivered => "provider",
        _ => "device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_names_who_said_so() {
        assert_eq!(evidence(0, Status::Sent.implied()), "provider");
        assert_eq!(evidence(0, Status::Opened.implied()), "device");
        assert_eq!(evidence(1, Status::Delivered.implied()), "operator");
        assert_eq!(evidence(0, Status::Suppressed.implied()), "none");
    }
}
