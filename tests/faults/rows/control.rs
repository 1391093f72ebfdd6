//! F9: cancelling and pausing at random moments.

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
use provider_sim::{Conditions, Provider};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The promise: nothing is sent later than this after the answer.
const EFFECTIVE: Duration = Duration::from_secs(2);
/// How long the providers are watched after it.
const WATCH: Duration = Duration::from_secs(4);
const DRAIN: Duration = Duration::from_secs(60);

/// F9.
///
/// # Errors
/// If the platform breaks so badly that the row cannot go on.
pub(crate) async fn run(platform: &Platform, options: &Options) -> Result<Row> {
    let mut row = Row::new("F9", "cancel and pause at random moments", options.seed);
    let times = options.pick(4, 20, 200);
    let mut dice = Dice::new(options.seed, "control");
    let tenant = Tenant::new(platform, "f9", 6_000, &mut dice).await?;
    let caller = Caller::new(&platform.http, &tenant.key);
    for provider in [Provider::Apns, Provider::Fcm, Provider::Webpush] {
        platform.sim.set_conditions(provider, Conditions { delay_ms: 3_000, ..Conditions::default() })?;
    }
    // A part of the contract that is not built is absent: then everything is cancelled, and the row says so.
    let nobody = "/v1/notifications/00000000-0000-7000-8000-000000000000/pause";
    let asked = caller.call(Method::POST, nobody, None, None).await?;
    let pauses = !asked.words().contains("no such path");
    row.figure("pause_is_built", pauses);
    row.expect(pauses, || "there is no pause to try".to_owned());
    let mut halfway = 0;
    for number in 0..times {
        halfway += u64::from(once(platform, &tenant, &caller, &mut row, &mut dice, (number, pauses)).await?);
    }
    row.figure("struck_halfway", halfway);
    row.expect(halfway * 2 >= times as u64, || {
        format!("only {halfway} of {times} were under way when they were struck")
    });
    let stuck = drained(&caller, &row, DRAIN).await?;
    row.stuck += stuck.len() as u64;
    row.expect(stuck.is_empty(), || format!("{} notifications do not end", stuck.len()));
    Ok(row)
}

/// Every other one is paused, and cancelled a moment later; whether it was under way.
async fn once(
    platform: &Platform,
    tenant: &Tenant,
    caller: &Caller,
    row: &mut Row,
    dice: &mut Dice,
    (number, pauses): (usize, bool),
) -> Result<bool> {
    let body =
        json!({"app": tenant.app, "to": {"all": true}, "content": {"title": "Never mind", "data": {"n": number}}});
    let everybody: Arc<Vec<String>> = Arc::new(tenant.devices.iter().map(|device| device.id.clone()).collect());
    row.accepted += everybody.len() as u64;
    let id = caller.send(&body, &format!("control-{number}"), everybody).await?.context("the call was refused")?;
    tokio::time::sleep(dice.between(500, 4_000)).await;
    let verb = if number % 2 == 0 || !pauses { "cancel" } else { "pause" };
    let sight = look(platform, None).await;
    let halfway = command(platform, caller, row, &id, verb).await?;
    row.fault(&format!("{verb} {id}"), &sight);
    if verb == "pause" {
        let view = caller.get(&format!("/v1/notifications/{id}")).await?;
        row.expect(view["state"] == "paused" || !halfway, || format!("{id} is {} after a pause", view["state"]));
        command(platform, caller, row, &id, "cancel").await?;
    }
    let view = ended(caller, &id).await?;
    row.expect(judge(&view, None).is_none(), || format!("{id}: {:?}", judge(&view, None)));
    Ok(halfway)
}

/// Whether it did something; then the providers are watched.
async fn command(platform: &Platform, caller: &Caller, row: &mut Row, id: &str, verb: &str) -> Result<bool> {
    let answer = caller.call(Method::POST, &format!("/v1/notifications/{id}/{verb}"), None, None).await?;
    let since = jiff::Timestamp::now();
    if answer.status != 200 {
        let through = answer.status == 409;
        row.expect(through, || format!("{verb}: {} {}", answer.status, answer.words()));
        return Ok(false);
    }
    tokio::time::sleep(WATCH).await;
    let late = accepted_after(platform, id, since.checked_add(EFFECTIVE)?);
    row.expect(late == 0, || format!("{late} pushes of {id} later than {} s after {verb}", EFFECTIVE.as_secs()));
    let view = caller.get(&format!("/v1/notifications/{id}")).await?;
    let moved =
        totals(&view).is_some_and(|(_, pending)| pending > 0) || view["counts"]["push"]["cancelled"].as_i64() > Some(0);
    Ok(moved)
}

async fn ended(caller: &Caller, id: &str) -> Result<Value> {
    for _ in 0..60 {
        let view = caller.get(&format!("/v1/notifications/{id}")).await?;
        if totals(&view).is_some_and(|(_, pending)| pending == 0) {
            return Ok(view);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    caller.get(&format!("/v1/notifications/{id}")).await
}
