//! What the steps share: the platform, who is who, and what was sent so far.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::judge::{self, Verdict};
use super::people::People;
use super::report::ProviderRequests;
use crate::api::{Accepted, Api};
use crate::dev::Platform;
use crate::dev::onboard::Tenant;
use crate::sim::Sim;

/// How long a notification to everybody may take.
pub(crate) const CAMPAIGN: Duration = Duration::from_secs(180);
/// Between two lines of progress.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// The demonstration so far.
pub(crate) struct World {
    pub(crate) platform: Platform,
    pub(crate) people: People,
    pub(crate) tenant: Option<Tenant>,
    /// Every notification, in order.
    pub(crate) sent: Vec<String>,
    /// The notification that everybody got, for receipts.
    pub(crate) broadcast: Option<String>,
    /// Devices whose token died on the way.
    pub(crate) dead: HashSet<String>,
    began: Instant,
}

impl World {
    /// Before anything happened.
    pub(crate) fn new(platform: Platform) -> Self {
        Self {
            platform,
            people: People::default(),
            tenant: None,
            sent: Vec::new(),
            broadcast: None,
            dead: HashSet::new(),
            began: Instant::now(),
        }
    }

    /// Lines of progress count from here.
    pub(crate) fn restart_clock(&mut self) {
        self.began = Instant::now();
    }

    /// A line of progress.
    pub(crate) fn say(&self, text: impl AsRef<str>) {
        println!("{:7.1} s  {}", self.began.elapsed().as_secs_f64(), text.as_ref());
    }

    /// The tenant's backend.
    pub(crate) fn api(&self) -> Result<Api> {
        Ok(Api::new(self.platform.http()?.with_key(&self.tenant()?.server_key)))
    }

    /// The tenant, once it was made.
    pub(crate) fn tenant(&self) -> Result<&Tenant> {
        self.tenant.as_ref().context("there is no tenant")
    }

    /// The simulators.
    pub(crate) fn sim(&self) -> Result<Sim> {
        Ok(self.platform.sim()?.clone())
    }

    /// Sends, and writes the id down.
    pub(crate) async fn send(&mut self, body: &Value) -> Result<Accepted> {
        let accepted = self.api()?.send(body).await?;
        self.sent.push(accepted.id.clone());
        Ok(accepted)
    }

    /// Waits for the end of a notification, with lines of progress.
    pub(crate) async fn finished(&self, id: &str, limit: Duration) -> Result<Value> {
        let mut told = Instant::now();
        let seen = |notification: &Value| {
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                self.say(progress(&notification["counts"]));
            }
        };
        let ended = self.api()?.watched(id, limit, seen).await?;
        self.say(progress(&ended["counts"]));
        Ok(ended)
    }

    /// What the platform says of a notification's pushes against what the providers saw.
    pub(crate) async fn judge(&self, id: &str) -> Result<Verdict> {
        let deliveries = self.api()?.deliveries(id, "").await?;
        let records = self.sim()?.of_notification(id).await?;
        Ok(judge::judge(&deliveries, &records, |device| self.people.address_of(device)))
    }

    /// Requests in the ledgers, since the start.
    pub(crate) async fn provider_requests(&self) -> Result<ProviderRequests> {
        let summary = self.sim()?.summary().await?;
        let of = |provider: &str| summary["providers"][provider]["requests"].as_u64().unwrap_or(0);
        Ok(ProviderRequests { apns: of("apns"), fcm: of("fcm"), webpush: of("webpush"), sms: of("sms") })
    }
}

fn progress(counts: &Value) -> String {
    let number = |value: &Value| value.as_i64().map_or_else(|| "?".to_owned(), |number| number.to_string());
    let push = &counts["push"];
    let mut text = format!("{} of {} pushes sent", number(&push["sent"]), number(&push["total"]));
    for name in ["pending", "failed", "expired", "suppressed", "cancelled"] {
        if push[name].as_i64().unwrap_or(0) > 0 {
            text.push_str(&format!(", {} {name}", number(&push[name])));
        }
    }
    if counts["sms"]["total"].as_i64().unwrap_or(0) > 0 {
        let sms = &counts["sms"];
        text.push_str(&format!(", {} of {} SMS sent", number(&sms["sent"]), number(&sms["total"])));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::progress;

    #[test]
    fn progress_tells_what_is_not_zero() {
        let counts = json!({"push": {"total": null, "sent": 3, "pending": 2, "failed": 0}, "sms": {"total": 0}});
        assert_eq!(progress(&counts), "3 of ? pushes sent, 2 pending");
        let counts = json!({"push": {"total": 1, "sent": 1}, "sms": {"total": 2, "sent": 1}});
        assert_eq!(progress(&counts), "1 of 1 pushes sent, 1 of 2 SMS sent");
    }
}
