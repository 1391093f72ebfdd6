//! F9: cancelling, pausing and resuming at random moments.

use super::outage::accepted_after;
use crate::audience::Tenant;
use crate::caller::Caller;
use crate::dice::Dice;
use crate::observe::look;
use crate::options::Options;
use crate::platform::Platform;
use crate::reconcile::drained;
use crate::report::Row;
use crate::sampler::{judge, totals};
use ::http::Method;
use anyhow::{Context as _, Result};
use provider_sim::{Conditions, Provider, Query};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The promise: nothing is sent later than this after the answer.
const EFFECTIVE: Duration = Duration::from_secs(2);
/// How long the providers are watched after it.
const WATCH: Duration = Duration::from_secs(4);
/// How long one may take to end once nothing holds it up.
const END: Duration = Duration::from_secs(90);
const DRAIN: Duration = Duration::from_secs(60);
/// Providers are slow while somebody strikes, so that something is always under way, and quick while the rest is sent.
const SLOW_MS: u64 = 3_000;
const QUICK_MS: u64 = 20;

/// What is done to one notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Story {
    Cancel,
    /// Twice in a row, at random moments.
    PauseAndResume,
    PauseAndCancel,
}

/// F9.
///
/// # Errors
/// If the platform breaks so badly that the row cannot go on.
pub(crate) async fn run(platform: &Platform, options: &Options) -> Result<Row> {
    let mut row = Row::new("F9", "cancel, pause and resume at random moments", options.seed);
    let times = options.pick(4, 20, 200);
    let mut dice = Dice::new(options.seed, "control");
    let tenant = Tenant::new(platform, "f9", 6_000, &mut dice).await?;
    let caller = Caller::new(&platform.http, &tenant.key);
    let mut halfway = 0;
    for number in 0..times {
        let story = match number % 8 {
            7 => Story::PauseAndCancel,
            even if even % 2 == 0 => Story::Cancel,
            _ => Story::PauseAndResume,
        };
        let mut one = Run { platform, tenant: &tenant, caller: &caller, row: &mut row, dice: &mut dice };
        let struck = one.tell(number, story).await?;
        halfway += usize::from(struck);
        row.say(format!("{}/{times} {story:?}{}", number + 1, if struck { "" } else { ", too late to strike" }));
        platform.sim.ledger().clear();
    }
    row.figure("struck_halfway", halfway);
    row.expect(halfway * 2 >= times, || format!("only {halfway} of {times} were under way when they were struck"));
    let stuck = drained(&caller, &row, DRAIN).await?;
    row.stuck += stuck.len() as u64;
    row.expect(stuck.is_empty(), || format!("{} notifications do not end", stuck.len()));
    row.expect(row.lost == 0 && row.duplicates == 0, || "what was resumed did not reach everybody once".to_owned());
    Ok(row)
}

struct Run<'a> {
    platform: &'a Platform,
    tenant: &'a Tenant,
    caller: &'a Caller,
    row: &'a mut Row,
    dice: &'a mut Dice,
}

impl Run<'_> {
    /// One notification to everybody; whether it was under way when it was struck first.
    async fn tell(&mut self, number: usize, story: Story) -> Result<bool> {
        self.pace(SLOW_MS)?;
        let body = json!({"app": self.tenant.app, "to": {"all": true},
                          "content": {"title": "Never mind", "data": {"n": number}}});
        let everybody: Arc<Vec<String>> =
            Arc::new(self.tenant.devices.iter().map(|device| device.id.clone()).collect());
        self.row.accepted += everybody.len() as u64;
        let sent = self.caller.send(&body, &format!("control-{number}"), everybody).await?;
        let id = sent.context("the call was refused")?;
        tokio::time::sleep(self.dice.between(500, 4_000)).await;
        let first = if story == Story::Cancel { "cancel" } else { "pause" };
        let struck = self.strike(&id, first).await?;
        match story {
            Story::Cancel => {}
            Story::PauseAndCancel => drop(self.strike(&id, "cancel").await?),
            Story::PauseAndResume => {
                self.resume(&id).await?;
                tokio::time::sleep(self.dice.between(100, 3_000)).await;
                self.strike(&id, "pause").await?;
                self.resume(&id).await?;
            }
        }
        self.pace(QUICK_MS)?;
        let view = self.ended(&id).await?;
        self.row.expect(judge(&view, None).is_none(), || format!("{id}: {:?}", judge(&view, None)));
        if story == Story::PauseAndResume {
            self.reached_once(&id, &view);
        }
        Ok(struck)
    }

    fn pace(&self, delay_ms: u64) -> Result<()> {
        for provider in [Provider::Apns, Provider::Fcm, Provider::Webpush] {
            self.platform.sim.set_conditions(provider, Conditions { delay_ms, ..Conditions::default() })?;
        }
        Ok(())
    }

    async fn resume(&mut self, id: &str) -> Result<()> {
        let answer = self.caller.call(Method::POST, &format!("/v1/notifications/{id}/resume"), None, None).await?;
        let words = answer.words();
        self.row.expect([200, 409].contains(&answer.status.as_u16()), || format!("resume: {} {words}", answer.status));
        Ok(())
    }

    /// Whether it did something; then the providers are watched.
    async fn strike(&mut self, id: &str, verb: &str) -> Result<bool> {
        let sight = look(self.platform, None).await;
        let answer = self.caller.call(Method::POST, &format!("/v1/notifications/{id}/{verb}"), None, None).await?;
        let since = jiff::Timestamp::now();
        if answer.status != 200 {
            let through = answer.status == 409;
            self.row.expect(through, || format!("{verb}: {} {}", answer.status, answer.words()));
            return Ok(false);
        }
        self.row.fault(&format!("{verb} {id}"), &sight);
        tokio::time::sleep(WATCH).await;
        let late = accepted_after(self.platform, id, since.checked_add(EFFECTIVE)?);
        self.row
            .expect(late == 0, || format!("{late} pushes of {id} later than {} s after {verb}", EFFECTIVE.as_secs()));
        let view = self.caller.get(&format!("/v1/notifications/{id}")).await?;
        let fault = judge(&view, None);
        self.row.expect(fault.is_none(), || format!("{id} after {verb}: {fault:?}"));
        let open = totals(&view).is_none_or(|(_, pending)| pending > 0);
        let stands = match (verb, open) {
            ("pause", true) => "paused",
            ("pause", false) => "finished",
            _ => "cancelled",
        };
        self.row.expect(view["state"] == stands, || format!("{id} is {} after {verb}", view["state"]));
        Ok(open || view["counts"]["push"]["cancelled"].as_i64() > Some(0))
    }

    async fn ended(&self, id: &str) -> Result<Value> {
        let began = Instant::now();
        loop {
            let view = self.caller.get(&format!("/v1/notifications/{id}")).await?;
            if totals(&view).is_some_and(|(_, pending)| pending == 0) || began.elapsed() > END {
                return Ok(view);
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// A pause loses nothing and repeats nothing.
    fn reached_once(&mut self, id: &str, view: &Value) {
        let query = Query { accepted: Some(true), notification_id: Some(id.to_owned()), ..Query::default() };
        let mut seen: HashMap<String, u64> = HashMap::new();
        for record in self.platform.sim.ledger().records(&query) {
            *seen.entry(record.token).or_default() += 1;
        }
        let absent = self.tenant.devices.iter().filter(|device| !seen.contains_key(&device.token)).count();
        self.row.lost += absent as u64;
        self.row.duplicates += seen.values().map(|times| times - 1).sum::<u64>();
        let sent = view["counts"]["push"]["sent"].as_u64();
        self.row.expect(sent == Some(self.tenant.devices.len() as u64), || {
            format!("{id}: {absent} devices were not reached, {sent:?} are sent, it is {}", view["state"])
        });
    }
}
