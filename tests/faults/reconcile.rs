//! Three ledgers joined per token: what the caller was promised, what the providers saw, what the status API says.

use crate::audience::Tenant;
use crate::caller::Caller;
use crate::platform::Platform;
use crate::report::Row;
use crate::sampler::{judge, totals};
use anyhow::Result;
use provider_sim::{Query, Record};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

/// What one accepted message came to at its provider.
#[derive(Default)]
struct Seen {
    times: u64,
    /// Accepted, and the sender was never told.
    unanswered: u64,
    /// What lets a phone see that two are one.
    marks: Vec<String>,
}

/// What the joining found.
pub(crate) struct Joined {
    /// Second and further acceptances that no unanswered request accounts for, by provider.
    pub(crate) duplicates: BTreeMap<&'static str, u64>,
    /// Requests that a provider took without answering.
    pub(crate) unanswered: u64,
}

/// Waits until nothing of what the caller sent is pending; what still is when the time is over.
///
/// # Errors
/// If the API does not answer.
pub(crate) async fn drained(caller: &Caller, row: &Row, limit: Duration) -> Result<Vec<String>> {
    let mut left: Vec<String> = caller.book().accepted.iter().map(|(id, _)| id.clone()).collect();
    left.sort();
    left.dedup();
    let began = Instant::now();
    let mut told = Instant::now();
    loop {
        let mut still = Vec::new();
        // The rest need not be asked for while these are not through.
        let mut unknown = Vec::new();
        for id in left {
            if still.len() >= 5 {
                unknown.push(id);
                continue;
            }
            let view = caller.get(&format!("/v1/notifications/{id}")).await?;
            // Cancelled before anybody looked whom it was for: there is nothing to count.
            let never_began = view["state"] == "cancelled" && view["counts"]["push"]["total"].is_null();
            let through = never_began
                || totals(&view).is_some_and(|(_, pending)| pending == 0)
                    && view["counts"]["sms"]["pending"].as_i64().unwrap_or(0) == 0
                    && ["finished", "cancelled"].contains(&view["state"].as_str().unwrap_or_default());
            if !through {
                still.push(id);
            }
        }
        still.extend(unknown);
        left = still;
        if left.is_empty() || began.elapsed() > limit {
            return Ok(left);
        }
        if told.elapsed() > Duration::from_secs(10) {
            row.say(format!("draining, {} notifications left", left.len()));
            told = Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Joins the three, and writes the outcome into the row.
///
/// # Errors
/// If the API does not answer.
pub(crate) async fn join(platform: &Platform, tenant: &Tenant, caller: &Caller, row: &mut Row) -> Result<Joined> {
    let mut accepted = caller.book().accepted.clone();
    accepted.sort();
    accepted.dedup_by(|a, b| a.0 == b.0);
    let mut seen = seen(platform);
    let mut joined = Joined { duplicates: BTreeMap::new(), unanswered: 0 };
    let mut examples: Vec<String> = Vec::new();
    let mut unlike = Vec::new();
    let mut differ = Vec::new();
    for (id, devices) in &accepted {
        row.accepted += devices.len() as u64;
        let statuses = deliveries(caller, id).await?;
        for device_id in devices.iter() {
            let Some(device) = tenant.device(device_id) else { continue };
            let found = seen.remove(&(id.clone(), device.token.clone())).unwrap_or_default();
            let status = statuses.get(device_id).map_or("absent", String::as_str);
            joined.unanswered += found.unanswered;
            if found.times == 0 {
                row.lost += 1;
                examples.push(format!("{id} {device_id} is {status} and reached no provider"));
            } else if !["sent", "displayed"].contains(&status) {
                differ.push(format!("{id} {device_id} reached its provider and is {status}"));
            }
            if found.times > 1 {
                let more = found.times - 1;
                row.duplicates += more;
                *joined.duplicates.entry(device.provider.name()).or_default() += more.saturating_sub(found.unanswered);
                if found.marks.windows(2).any(|two| two[0] != two[1])
                    || found.marks.iter().any(|mark| mark.contains("null"))
                {
                    unlike.push(format!("{id} {device_id}: {:?}", found.marks));
                }
            }
        }
        if statuses.len() != devices.len() {
            differ.push(format!("{id}: {} deliveries for {} devices", statuses.len(), devices.len()));
        }
        let view = caller.get(&format!("/v1/notifications/{id}")).await?;
        if let Some(fault) = judge(&view, None) {
            differ.push(format!("{id}: {fault}"));
        }
        if let Some((total, pending)) = totals(&view) {
            row.stuck += u64::try_from(pending).unwrap_or(0);
            if usize::try_from(total) != Ok(devices.len()) {
                differ.push(format!("{id}: total {total} for {} devices", devices.len()));
            }
        }
    }
    let ours: HashSet<&str> = tenant.devices.iter().map(|device| device.token.as_str()).collect();
    let strange = seen.keys().filter(|(_, token)| ours.contains(token.as_str())).count();
    row.expect(row.lost == 0, || format!("lost: {}", some(&examples)));
    row.expect(row.stuck == 0, || "something is pending after the end".to_owned());
    row.expect(differ.is_empty(), || format!("{} times the ledgers differ: {}", differ.len(), some(&differ)));
    row.expect(unlike.is_empty(), || format!("{} duplicates are not recognisable: {}", unlike.len(), some(&unlike)));
    row.expect(strange == 0, || format!("providers saw {strange} messages that nobody was promised"));
    row.figure("duplicates_by_provider", json!(joined.duplicates));
    row.figure("unanswered_by_provider", joined.unanswered);
    Ok(joined)
}

fn some(all: &[String]) -> String {
    all.iter().take(5).cloned().collect::<Vec<_>>().join("; ")
}

/// Everything that providers accepted, by notification and token.
fn seen(platform: &Platform) -> HashMap<(String, String), Seen> {
    let mut seen: HashMap<(String, String), Seen> = HashMap::new();
    platform.sim.ledger().visit(&Query { accepted: Some(true), ..Query::default() }, |record| {
        let Some(id) = record.notification_id.clone() else { return };
        let one = seen.entry((id, record.token.clone())).or_default();
        one.times += 1;
        one.unanswered += u64::from(!record.answered);
        one.marks.push(mark(&record));
    });
    seen
}

/// The id that the provider collapses or the phone drops by, and ours.
fn mark(record: &Record) -> String {
    let header = |name: &str| record.headers.get(name).cloned().unwrap_or_else(|| "null".to_owned());
    let carillon: Value = match record.provider {
        provider_sim::Provider::Fcm => {
            let message = &record.body["message"];
            let text = message["data"]["carillon"].as_str().unwrap_or("null");
            serde_json::from_str(text).unwrap_or(Value::Null)
        }
        _ => record.body["carillon"].clone(),
    };
    let theirs = match record.provider {
        provider_sim::Provider::Apns => header("apns-id"),
        provider_sim::Provider::Webpush => header("topic"),
        _ => record.body["message"]["android"]["notification"]["tag"].to_string(),
    };
    format!("{theirs} {}", carillon["r"])
}

/// The status of every device of a notification.
async fn deliveries(caller: &Caller, id: &str) -> Result<HashMap<String, String>> {
    let mut all = HashMap::new();
    let mut cursor = String::new();
    loop {
        let page = caller.get(&format!("/v1/notifications/{id}/deliveries?limit=500{cursor}")).await?;
        for item in page["items"].as_array().into_iter().flatten() {
            let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
            all.insert(text("device"), text("status"));
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(all),
        }
    }
}
