//! Single messages at a steady rate, whatever becomes of those before, and how long each took from the call to its provider.

use crate::audience::{Device, Tenant};
use crate::caller::Caller;
use crate::dice::Dice;
use crate::platform::Platform;
use ::http::Method;
use provider_sim::{Provider, Query};
use serde_json::json;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long after the last call its message may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who sends, and to whom.
#[derive(Clone)]
pub(crate) struct Sender {
    app: String,
    caller: Caller,
    devices: Vec<Device>,
}

impl Sender {
    /// To the tenant's devices of these providers.
    pub(crate) fn new(platform: &Platform, tenant: &Tenant, providers: &[Provider]) -> Self {
        let devices = tenant.devices.iter().filter(|device| providers.contains(&device.provider)).cloned().collect();
        Self { app: tenant.app.clone(), caller: Caller::new(&platform.http, &tenant.key), devices }
    }
}

/// One window's outcome.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Milliseconds from the call to the provider's acceptance, ascending.
    pub(crate) took: Vec<f64>,
    /// Accepted by us and by no provider.
    pub(crate) lost: u64,
    /// Not accepted.
    pub(crate) refused: u64,
    pub(crate) duplicates: u64,
}

impl Window {
    /// What 99 of 100 took at most.
    pub(crate) fn p99(&self) -> f64 {
        percentile(&self.took, 0.99)
    }
}

/// Of values in ascending order; 0 of none.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
pub(crate) fn percentile(ascending: &[f64], share: f64) -> f64 {
    let at = (ascending.len() as f64 * share).ceil() as usize;
    ascending.get(at.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// A message that was accepted.
struct Sent {
    id: String,
    device: Device,
    at: jiff::Timestamp,
}

/// Sends for so long, the senders in turn.
pub(crate) async fn trickle(
    platform: &Platform,
    senders: &[Sender],
    per_second: u32,
    lasting: Duration,
    dice: &mut Dice,
) -> Window {
    let began = Instant::now();
    let mut calls: JoinSet<Option<Sent>> = JoinSet::new();
    let mut number = 0;
    while began.elapsed() < lasting {
        let sender = senders[number as usize % senders.len()].clone();
        let device = sender.devices[dice.below(sender.devices.len())].clone();
        calls.spawn(call(sender, device));
        number += 1;
        tokio::time::sleep_until(began + Duration::from_secs(1) * number / per_second).await;
    }
    let mut window = Window::default();
    let mut sent = Vec::new();
    while let Some(called) = calls.join_next().await {
        match called {
            Ok(Some(one)) => sent.push(one),
            _ => window.refused += 1,
        }
    }
    let last = Instant::now() + PATIENCE;
    for one in sent {
        match arrival(platform, &one, last).await {
            Some((at, times)) => {
                let took = at.duration_since(one.at).as_secs_f64() * 1_000.0;
                window.took.push(took.max(0.0));
                window.duplicates += times - 1;
            }
            None => window.lost += 1,
        }
    }
    window.took.sort_by(f64::total_cmp);
    window
}

async fn call(sender: Sender, device: Device) -> Option<Sent> {
    let body = json!({"app": sender.app, "to": {"devices": [device.id]},
                      "content": {"title": "Your code", "body": "It is valid for a minute"}});
    let at = jiff::Timestamp::now();
    let answer = sender.caller.once(Method::POST, "/v1/notifications", Some(&body), None).await?;
    if answer.status != 202 {
        return None;
    }
    let id = answer.success("send").ok()?["id"].as_str()?.to_owned();
    Some(Sent { id, device, at })
}

/// When its provider took it first, and how often it did.
async fn arrival(platform: &Platform, sent: &Sent, last: Instant) -> Option<(jiff::Timestamp, u64)> {
    let query = Query {
        notification_id: Some(sent.id.clone()),
        accepted: Some(true),
        ..Query::token(sent.device.provider, sent.device.token.clone())
    };
    loop {
        let records = platform.sim.ledger().records(&query);
        if let Some(first) = records.iter().map(|record| record.at).min() {
            return Some((first, records.len() as u64));
        }
        if Instant::now() >= last {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
