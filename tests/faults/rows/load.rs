//! Load over the public API: campaigns to everybody that keep a backlog, and small sends beside them.

use crate::audience::Tenant;
use crate::caller::Caller;
use crate::dice::Dice;
use crate::sampler::totals;
use anyhow::{Context as _, Result};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Devices of a small send.
const SMALL: usize = 20;
/// Between two small sends.
const PAUSE: Duration = Duration::from_millis(150);

/// Feeds until it is told that it is enough, and at least the quota.
pub(crate) struct Feeder {
    enough: Arc<AtomicBool>,
    promised: Arc<AtomicU64>,
    campaigns: JoinHandle<Result<()>>,
    small: JoinHandle<Result<()>>,
}

impl Feeder {
    /// Starts with a first campaign.
    pub(crate) fn start(tenant: &Tenant, caller: &Caller, quota: u64, dice: &Dice) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let promised = Arc::new(AtomicU64::new(0));
        let everybody: Arc<Vec<String>> = Arc::new(tenant.devices.iter().map(|device| device.id.clone()).collect());
        let load = Load {
            app: tenant.app.clone(),
            caller: caller.clone(),
            everybody,
            quota,
            enough: Arc::clone(&enough),
            promised: Arc::clone(&promised),
        };
        let small = tokio::spawn(load.clone().small(dice.clone()));
        Self { enough, promised, campaigns: tokio::spawn(load.campaigns()), small }
    }

    /// Recipients promised so far.
    pub(crate) fn promised(&self) -> u64 {
        self.promised.load(Ordering::Relaxed)
    }

    /// No more than the quota; waits until it is reached.
    ///
    /// # Errors
    /// If a send got no answer for two minutes.
    pub(crate) async fn finish(self) -> Result<u64> {
        self.enough.store(true, Ordering::Relaxed);
        self.campaigns.await.context("campaigns")??;
        self.small.await.context("small sends")??;
        Ok(self.promised.load(Ordering::Relaxed))
    }
}

#[derive(Clone)]
struct Load {
    app: String,
    caller: Caller,
    everybody: Arc<Vec<String>>,
    quota: u64,
    enough: Arc<AtomicBool>,
    promised: Arc<AtomicU64>,
}

impl Load {
    fn done(&self) -> bool {
        self.enough.load(Ordering::Relaxed) && self.promised.load(Ordering::Relaxed) >= self.quota
    }

    /// The next one starts when less than one is left of all that went before.
    async fn campaigns(self) -> Result<()> {
        let mut running: Vec<String> = Vec::new();
        let mut number = 0_u32;
        while !self.done() {
            number += 1;
            let body = json!({"app": self.app, "reference": format!("campaign-{number}"), "to": {"all": true},
                              "content": {"title": "Sale", "body": "Everything must go", "data": {"number": number}}});
            let key = format!("{}-campaign-{number}", self.app);
            let sent = self.caller.send(&body, &key, Arc::clone(&self.everybody)).await?;
            running.push(sent.context("a campaign was refused")?);
            self.promised.fetch_add(self.everybody.len() as u64, Ordering::Relaxed);
            while !self.done() && self.pending(&mut running).await? >= self.everybody.len() {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }
        Ok(())
    }

    /// What is left of them; those of which nothing is are forgotten.
    async fn pending(&self, running: &mut Vec<String>) -> Result<usize> {
        let mut sum = 0;
        for id in std::mem::take(running) {
            let view = self.caller.get(&format!("/v1/notifications/{id}")).await?;
            let pending = totals(&view).map_or(self.everybody.len(), |(_, left)| usize::try_from(left).unwrap_or(0));
            if pending > 0 {
                running.push(id);
            }
            sum += pending;
        }
        Ok(sum)
    }

    async fn small(self, mut dice: Dice) -> Result<()> {
        let mut number = 0_u32;
        while !self.done() {
            number += 1;
            let first = dice.below(self.everybody.len());
            let devices: Vec<String> =
                self.everybody.iter().cycle().skip(first).take(SMALL.min(self.everybody.len())).cloned().collect();
            let body = json!({"app": self.app, "reference": format!("small-{number}"), "to": {"devices": devices},
                              "content": {"title": "Your order", "body": "is on its way", "data": {"number": number}}});
            let key = format!("{}-small-{number}", self.app);
            let count = devices.len() as u64;
            self.caller.send(&body, &key, Arc::new(devices)).await?;
            self.promised.fetch_add(count, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}
