//! Step 6: devices report, counts and deliveries show it.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::checks::Checks;
use super::people::SHOP;
use super::world::World;
use crate::sim::Record;

/// Devices that report delivered, opened, clicked; each group is part of the one before.
const DELIVERED: usize = 300;
const OPENED: usize = 120;
const CLICKED: usize = 40;

/// Reports in the wrong order and partly twice; the sum is the same.
pub(crate) async fn run(world: &mut World, checks: &mut Checks) -> Result<()> {
    let id = world.broadcast.clone().context("there was no notification to everybody")?;
    let api = world.api()?;
    let records = world.sim()?.of_notification(&id).await?;
    let reporters = reporters(world, &records, &id);
    checks.equal("devices that can report", reporters.len(), DELIVERED);
    let of = |event: &str, count: usize| -> Vec<Value> {
        reporters.iter().take(count).map(|receipt| with_event(receipt, event)).collect()
    };
    for (event, count) in [("clicked", CLICKED), ("delivered", DELIVERED), ("opened", OPENED)] {
        let results = api.receipts(&of(event, count)).await?;
        let unknown = results.iter().filter(|result| result["status"] == "unknown").count();
        checks.equal(&format!("receipts of {event} that nobody knows"), unknown, 0);
        world.say(format!("{count} devices report {event}"));
    }
    let results = api.receipts(&of("delivered", DELIVERED)).await?;
    let twice = results.iter().filter(|result| result["status"] == "duplicate").count();
    checks.equal("repeated receipts that count again", DELIVERED - twice, 0);
    check_counts(world, checks, &id).await?;
    checks.fact(format!("{DELIVERED} delivered, {OPENED} opened, {CLICKED} clicked, out of order and partly twice"));
    Ok(())
}

/// What an installed app would report with: the reference that came with its push.
pub(crate) fn receipt(record: &Record, id: &str) -> Option<Value> {
    let carillon = record.carillon()?;
    Some(json!({"notification_id": id, "run": carillon["r"].as_str()?, "device": carillon["d"].as_str()?}))
}

/// The same with an event.
pub(crate) fn with_event(receipt: &Value, event: &str) -> Value {
    let mut receipt = receipt.clone();
    receipt["event"] = json!(event);
    receipt["at"] = json!(Timestamp::now());
    if event == "clicked" {
        receipt["action"] = json!("buy");
    }
    receipt
}

fn reporters(world: &World, records: &[Record], id: &str) -> Vec<Value> {
    let by_token: HashMap<(&str, &str), &Record> =
        records.iter().map(|record| ((record.provider.as_str(), record.token.as_str()), record)).collect();
    // Every ninth device, so that every platform and many users are among them.
    let devices = world.people.of_app(SHOP).step_by(9);
    let found = devices.filter_map(|device| receipt(by_token.get(&(device.platform, device.token.as_str()))?, id));
    found.take(DELIVERED).collect()
}

async fn check_counts(world: &World, checks: &mut Checks, id: &str) -> Result<()> {
    let api = world.api()?;
    let notification = api.notification(id).await?;
    let push = &notification["counts"]["push"];
    let count = |name: &str| push[name].as_u64().unwrap_or(u64::MAX);
    for (name, expected) in
        [("delivered", DELIVERED), ("displayed", OPENED), ("opened", OPENED), ("clicked", CLICKED), ("undelivered", 0)]
    {
        checks.equal(name, count(name), expected as u64);
    }
    let parts = ["pending", "sent", "failed", "expired", "suppressed", "cancelled"];
    checks.equal("the sum of the parts", parts.iter().map(|name| count(name)).sum::<u64>(), count("total"));
    let deliveries = api.deliveries(id, "").await?;
    checks.equal("deliveries", deliveries.len() as u64, count("total"));
    let accepted = deliveries.iter().filter(|delivery| delivery.is_accepted()).count();
    checks.equal("deliveries that were sent", accepted as u64, count("sent"));
    for (status, expected) in [("delivered", DELIVERED - OPENED), ("opened", OPENED - CLICKED), ("clicked", CLICKED)] {
        let own = deliveries.iter().filter(|delivery| delivery.status == status);
        checks.equal(&format!("deliveries that are {status}"), own.clone().count(), expected);
        let listed = api.deliveries(id, &format!("&status={status}")).await?;
        checks.equal(&format!("deliveries listed as {status}"), listed.len(), expected);
        let told = own.filter(|delivery| delivery.history.iter().any(|step| step.status == status));
        checks.equal(&format!("histories that tell {status}"), told.count(), expected);
    }
    Ok(())
}
