//! Step 5: dead tokens, throttling, an outage.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::checks::Checks;
use super::people::{Device, SHOP};
use super::world::{CAMPAIGN, World};
use crate::sim::Record;

/// Users that are sent to.
const USERS: usize = 400;
/// Tokens that die, per platform.
const DEAD: usize = 4;
/// Requests that FCM refuses with 429, and the seconds it asks for.
const THROTTLED: (u32, u64) = (40, 3);
/// How long APNs answers 503.
const OUTAGE_MS: u64 = 10_000;

/// Prepares the weather, sends through it, then sends to the dead once more.
pub(crate) async fn run(world: &mut World, checks: &mut Checks) -> Result<()> {
    let dead = bury(world).await?;
    let sim = world.sim()?;
    sim.conditions("fcm", &json!({"throttle": {"requests": THROTTLED.0, "retry_after": THROTTLED.1}})).await?;
    sim.conditions("apns", &json!({"fail": {"reply": {"status": 503}, "for_ms": OUTAGE_MS}})).await?;
    world.say(format!(
        "{} tokens are dead, FCM throttles {} requests for {} s, APNs fails for {} s",
        dead.len(),
        THROTTLED.0,
        THROTTLED.1,
        OUTAGE_MS / 1_000
    ));
    let sent = through(world, checks, &dead).await;
    for provider in ["fcm", "apns"] {
        sim.conditions(provider, &json!({})).await?;
    }
    sent?;
    world.dead = dead.iter().map(|device| device.id.clone()).collect();
    again(world, checks, &dead).await
}

fn audience(world: &World) -> Vec<String> {
    let mut users: Vec<String> = world.people.of_app(SHOP).map(|device| device.user.clone()).collect();
    users.dedup();
    users.truncate(USERS);
    users
}

/// From now on the providers say of some devices that they are gone.
async fn bury(world: &World) -> Result<Vec<Device>> {
    let users = audience(world);
    let since = Timestamp::now().as_millisecond();
    let mut dead = Vec::new();
    let mut scripts = Vec::new();
    for (platform, reply) in [
        ("apns", json!({"reason": "Unregistered", "timestamp": since, "times": "always"})),
        ("fcm", json!({"reason": "UNREGISTERED", "times": "always"})),
        ("webpush", json!({"status": 410, "times": "always"})),
    ] {
        let of_platform = world.people.of_app(SHOP).filter(|device| device.platform == platform);
        // Not the first users: other steps are about them.
        let some = of_platform.filter(|device| users[200..].contains(&device.user)).take(DEAD);
        for device in some {
            scripts.push(json!({"provider": platform, "token": device.token, "replies": [reply]}));
            dead.push(device.clone());
        }
    }
    world.sim()?.script(&scripts).await?;
    Ok(dead)
}

async fn through(world: &mut World, checks: &mut Checks, dead: &[Device]) -> Result<()> {
    let users = audience(world);
    let content = json!({"title": "New terms", "body": "They apply from the first of next month"});
    let body =
        json!({"app": SHOP, "reference": "troubles", "to": {"users": users}, "kind": "service", "content": content});
    let id = world.send(&body).await?.id;
    let ended = world.finished(&id, CAMPAIGN).await?;
    let api = world.api()?;
    let records = world.sim()?.of_notification(&id).await?;
    let verdict = world.judge(&id).await?;
    let targets = world.people.of_app(SHOP).filter(|device| users.contains(&device.user)).count();
    let push = &ended["counts"]["push"];
    checks.equal("total", push["total"].as_u64(), Some(targets as u64));
    checks.equal("sent", push["sent"].as_u64(), Some((targets - dead.len()) as u64));
    checks.equal("failed", push["failed"].as_u64(), Some(dead.len() as u64));
    checks.equal("reached", verdict.reached, targets - dead.len());
    checks.expect(verdict.lost.is_empty(), || format!("lost: {}", verdict.lost.join(", ")));
    checks.equal("things that devices would not understand", verdict.violations, 0);
    checks.expect(verdict.unreported.is_empty(), || format!("not owned up to: {}", verdict.unreported.join(", ")));
    check_dead(world, checks, &api.deliveries(&id, "&status=failed").await?, dead).await?;
    check_throttle(checks, &records);
    check_outage(checks, &records);
    Ok(())
}

async fn check_dead(
    world: &World,
    checks: &mut Checks,
    failed: &[crate::api::Delivery],
    dead: &[Device],
) -> Result<()> {
    let reasons: HashMap<&str, &str> = failed
        .iter()
        .filter_map(|delivery| Some((delivery.device.as_deref()?, delivery.reason.as_deref().unwrap_or_default())))
        .collect();
    for device in dead {
        let reason = reasons.get(device.id.as_str()).copied();
        checks.equal(&format!("why {} ({}) failed", device.id, device.platform), reason, Some("token_invalid"));
        let shown = world.api()?.device(SHOP, &device.id).await?;
        checks.equal(
            &format!("state of {} ({})", device.id, device.platform),
            shown["state"].as_str(),
            Some("invalid"),
        );
    }
    checks.fact(format!("{} dead tokens (410, UNREGISTERED, gone) left the registry", dead.len()));
    Ok(())
}

/// No token that was asked to wait was tried before its time, and each was tried again.
fn check_throttle(checks: &mut Checks, records: &[Record]) {
    let wait = i64::try_from(THROTTLED.1).unwrap_or(i64::MAX) * 1_000;
    let mut asked: HashMap<&str, i64> = HashMap::new();
    let mut tokens: HashSet<&str> = HashSet::new();
    let (mut refused, mut later, mut early) = (0, 0, 0);
    for record in records.iter().filter(|record| record.provider == "fcm") {
        let at = record.at.as_millisecond();
        if let Some(since) = asked.remove(record.token.as_str()) {
            // The header has whole seconds and the clocks are one: a tenth is for rounding.
            early += usize::from(at - since < wait - 100);
            later += usize::from(record.accepted);
        }
        if record.status == 429 {
            asked.insert(&record.token, at);
            tokens.insert(&record.token);
            refused += 1;
        }
    }
    checks.expect(refused > 0, || "FCM throttled nobody".to_owned());
    checks.equal("tokens tried before their Retry-After", early, 0);
    checks.equal("throttled tokens that were never tried again", asked.len(), 0);
    let devices = tokens.len();
    checks.fact(format!(
        "FCM told {devices} devices' messages to wait {} s ({refused} times 429), {later} of them arrived later, not before",
        THROTTLED.1
    ));
}

fn check_outage(checks: &mut Checks, records: &[Record]) {
    let refused: Vec<&Record> =
        records.iter().filter(|record| record.provider == "apns" && record.status == 503).collect();
    checks.expect(!refused.is_empty(), || "the outage hit nobody".to_owned());
    let first = records.iter().filter(|record| record.provider == "apns").map(|record| record.at).min();
    let last =
        records.iter().filter(|record| record.provider == "apns" && record.accepted).map(|record| record.at).max();
    if let (Some(first), Some(last)) = (first, last) {
        let seconds = Duration::try_from(last - first).unwrap_or_default().as_secs_f64();
        checks.fact(format!(
            "APNs refused {} requests, the last message arrived {seconds:.1} s after the first try",
            refused.len()
        ));
    }
}

/// Whoever was found dead is not asked again.
async fn again(world: &mut World, checks: &mut Checks, dead: &[Device]) -> Result<()> {
    let ids: Vec<&str> = dead.iter().map(|device| device.id.as_str()).collect();
    let content = json!({"title": "Anybody there?"});
    let body = json!({"app": SHOP, "reference": "to-the-dead", "to": {"devices": ids}, "content": content});
    let id = world.send(&body).await?.id;
    let ended = world.finished(&id, CAMPAIGN).await?;
    checks.equal("requests for dead tokens", world.sim()?.of_notification(&id).await?.len(), 0);
    let push = &ended["counts"]["push"];
    checks.equal("sent to the dead", push["sent"].as_u64(), Some(0));
    checks.expect(push["suppressed"].as_u64() > Some(0), || "nobody says why the dead got nothing".to_owned());
    checks.equal("suppressed", push["suppressed"].as_u64(), push["total"].as_u64());
    let listed: Value = world.api()?.get(&format!("/v1/apps/{SHOP}/devices?state=invalid&limit=500")).await?;
    checks.equal("devices listed as invalid", listed["items"].as_array().map_or(0, Vec::len), dead.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fcm(token: &str, status: u16, at: &str) -> Record {
        let line = json!({"provider": "fcm", "token": token, "notification_id": "n", "at": format!("2026-01-01T00:00:{at}Z"),
                          "status": status, "accepted": status == 200});
        serde_json::from_value(line).unwrap()
    }

    fn faults(records: &[Record]) -> String {
        let mut checks = Checks::default();
        check_throttle(&mut checks, records);
        if checks.passed() { String::new() } else { checks.detail() }
    }

    #[test]
    fn a_token_that_waited_is_fine() {
        assert_eq!(faults(&[fcm("a", 429, "01.000"), fcm("a", 429, "04.000"), fcm("a", 200, "07.100")]), "");
    }

    #[test]
    fn a_token_tried_too_early_or_never_again_is_a_fault() {
        assert!(faults(&[fcm("a", 429, "01.000"), fcm("a", 200, "02.000")]).contains("before their Retry-After"));
        assert!(
            faults(&[fcm("a", 429, "01.000"), fcm("a", 429, "02.000"), fcm("a", 200, "09.000")]).contains("before")
        );
        assert!(faults(&[fcm("a", 429, "01.000")]).contains("never tried again"));
    }
}
