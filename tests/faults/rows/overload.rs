//! F7: ten times more requests than the operator allows, in an open loop.

use crate::audience::Tenant;
use crate::caller::Caller;
use crate::dice::Dice;
use crate::flood::{Flooded, flood};
use crate::observe::look;
use crate::options::Options;
use crate::platform::Platform;
use crate::report::Row;
use crate::trickle::percentile;
use ::http::Method;
use anyhow::{Context as _, Result};
use provider_sim::{Provider, Query};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What all replicas of the API together may take, and what is offered.
const LIMIT: u32 = 500;
const OFFERED: u32 = 5_000;
/// The promises.
const REFUSED_WITHIN_MS: f64 = 50.0;
const MOST_MIB: u64 = 256;
const NORMAL_WITHIN: Duration = Duration::from_secs(10);
/// A call is normal if it is accepted and its message is at the provider this soon.
const NORMAL_CALL: Duration = Duration::from_secs(2);
const DRAIN: Duration = Duration::from_secs(120);

/// F7.
///
/// # Errors
/// If the platform breaks so badly that the row cannot go on.
pub(crate) async fn run(platform: &Platform, options: &Options) -> Result<Row> {
    let mut row = Row::new("F7", "overload: ten times more than is allowed, in an open loop", options.seed);
    let lasting = Duration::from_secs(options.pick(10, 30, 300));
    let mut dice = Dice::new(options.seed, "overload");
    let tenant = Tenant::new(platform, "f7", 5_000, &mut dice).await?;
    let apis = platform.of("ingest-api").count();
    let each = (LIMIT / u32::try_from(apis)?).to_string();
    restart(platform, &[("HTTP__REQUESTS_PER_SECOND", &each)]).await?;
    let sight = look(platform, None).await;
    row.fault(&format!("{OFFERED} requests a second for {} s, {LIMIT} are allowed", lasting.as_secs()), &sight);
    let (ended, largest) = (Arc::new(AtomicBool::new(false)), AtomicU64::new(0));
    let flooding = async {
        let done = offered(platform, &tenant, lasting).await;
        ended.store(true, Ordering::Relaxed);
        done
    };
    let (flooded, ()) = tokio::join!(flooding, watch_memory(platform, &ended, &largest));
    let flooded = flooded?;
    let over = Instant::now();
    let normal = until_normal(platform, &tenant).await?;
    row.figure("seconds_until_normal", normal.as_secs_f64());
    row.expect(normal <= NORMAL_WITHIN, || format!("it took {normal:?} until a call was normal again"));
    row.figure("largest_process_mib", largest.load(Ordering::Relaxed));
    let most = largest.load(Ordering::Relaxed);
    row.expect(most <= MOST_MIB, || format!("a process took {most} MiB"));
    judge(&mut row, &flooded);
    restart(platform, &[]).await?;
    kept(platform, &tenant, &mut row, &flooded).await?;
    row.figure("seconds_to_drain", over.elapsed().as_secs());
    Ok(row)
}

/// Every replica of the API anew, with these settings.
async fn restart(platform: &Platform, settings: &[(&str, &str)]) -> Result<()> {
    for replica in platform.of("ingest-api") {
        replica.renew(settings).await?;
    }
    Ok(())
}

async fn offered(platform: &Platform, tenant: &Tenant, lasting: Duration) -> Result<Flooded> {
    let devices: Vec<String> = tenant.devices.iter().map(|device| device.id.clone()).collect();
    let (app, key) = (tenant.app.clone(), tenant.key.clone());
    let request = move |number: u32| {
        let device = &devices[number as usize % devices.len()];
        let body = format!(r#"{{"app":"{app}","to":{{"devices":["{device}"]}},"content":{{"title":"Hello"}}}}"#);
        format!(
            "POST /v1/notifications HTTP/1.1\r\nhost: carillon\r\nauthorization: Bearer {key}\r\nidempotency-key: f7-{number}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    };
    flood(&platform.addresses, OFFERED, lasting, request).await
}

/// The most that any process ever took, in MiB.
async fn watch_memory(platform: &Platform, ended: &AtomicBool, largest: &AtomicU64) {
    while !ended.load(Ordering::Relaxed) {
        let now = platform.replicas.iter().map(|replica| replica.rss() >> 20).max().unwrap_or(0);
        largest.fetch_max(now, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// From the end of the flood to the first message that is accepted at once and soon at its provider.
async fn until_normal(platform: &Platform, tenant: &Tenant) -> Result<Duration> {
    let caller = Caller::new(&platform.http, &tenant.key);
    let device = tenant.devices.iter().find(|device| device.provider == Provider::Apns).context("a phone")?;
    let body = json!({"app": tenant.app, "to": {"devices": [device.id]}, "content": {"title": "And now?"}});
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(60) {
        let asked = Instant::now();
        let answer = caller.once(Method::POST, "/v1/notifications", Some(&body), None).await;
        if let Some(answer) = answer.filter(|answer| answer.status == 202) {
            let id = answer.success("send")?["id"].as_str().unwrap_or_default().to_owned();
            let query = Query {
                accepted: Some(true),
                notification_id: Some(id),
                ..Query::token(Provider::Apns, device.token.clone())
            };
            while asked.elapsed() < NORMAL_CALL {
                if platform.sim.ledger().count(&query) > 0 {
                    return Ok(asked.duration_since(began));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(began.elapsed())
}

fn judge(row: &mut Row, flooded: &Flooded) {
    let mut by_status: BTreeMap<u16, u64> = BTreeMap::new();
    for answer in &flooded.answers {
        *by_status.entry(answer.status).or_default() += 1;
    }
    let seconds = flooded.lasted.as_secs_f64();
    let offered = f64::from(flooded.offered) / seconds;
    row.figure("offered_per_second", offered.round());
    row.figure("answers", json!(by_status));
    let accepted = by_status.get(&202).copied().unwrap_or(0) as f64 / seconds;
    row.figure("accepted_per_second", accepted.round());
    let mut refused: Vec<f64> =
        flooded.answers.iter().filter(|a| [429, 503].contains(&a.status)).map(|a| a.took).collect();
    refused.sort_by(f64::total_cmp);
    let p99 = percentile(&refused, 0.99);
    row.figure("refusals_p99_ms", (p99 * 10.0).round() / 10.0);
    row.expect(p99 <= REFUSED_WITHIN_MS, || format!("the p99 of refusals is {p99:.0} ms"));
    let without = flooded.answers.iter().filter(|a| [429, 503].contains(&a.status) && !a.retry_after).count();
    row.expect(without == 0, || format!("{without} refusals without Retry-After"));
    let others: Vec<&u16> = by_status.keys().filter(|status| ![202, 429, 503].contains(*status)).collect();
    row.expect(others.is_empty(), || format!("answers {others:?}"));
    let torn = flooded.torn;
    row.expect(torn == 0, || format!("{torn} connections were cut"));
    let enough = offered >= 0.95 * f64::from(OFFERED);
    row.expect(enough, || format!("only {offered:.0} requests a second could be offered"));
    row.expect(accepted >= 0.5 * f64::from(LIMIT) && accepted <= 1.1 * f64::from(LIMIT), || {
        format!("{accepted:.0} a second were accepted, {LIMIT} are allowed")
    });
}

/// Everything that was accepted is at its provider, once, and nothing is pending.
async fn kept(platform: &Platform, tenant: &Tenant, row: &mut Row, flooded: &Flooded) -> Result<()> {
    let mut accepted: HashMap<String, usize> = HashMap::new();
    for answer in flooded.answers.iter().filter(|answer| answer.status == 202) {
        let body: Value = serde_json::from_slice(&answer.body).context("an answer that is not JSON")?;
        let id = body["id"].as_str().context("an answer without an id")?.to_owned();
        accepted.insert(id, answer.number as usize % tenant.devices.len());
    }
    row.accepted += accepted.len() as u64;
    let began = Instant::now();
    let open = "SELECT count(*) FROM notifications WHERE app_key = $1 AND finished_at IS NULL";
    loop {
        row.stuck = u64::try_from(platform.rows(open, &[&tenant.app_key]).await?[0].get::<_, i64>(0))?;
        if row.stuck == 0 || began.elapsed() > DRAIN {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let mut seen: HashMap<(String, String), u64> = HashMap::new();
    for record in platform.sim.ledger().records(&Query { accepted: Some(true), ..Query::default() }) {
        if let Some(id) = record.notification_id {
            *seen.entry((id, record.token)).or_default() += 1;
        }
    }
    for (id, device) in &accepted {
        let times = seen.get(&(id.clone(), tenant.devices[*device].token.clone())).copied().unwrap_or(0);
        row.lost += u64::from(times == 0);
        row.duplicates += times.saturating_sub(1);
    }
    let (stuck, lost, twice) = (row.stuck, row.lost, row.duplicates);
    row.expect(stuck == 0, || format!("{stuck} notifications do not end"));
    row.expect(lost == 0, || format!("{lost} were accepted and reached no provider"));
    row.expect(twice == 0, || format!("{twice} were sent twice"));
    statuses(platform, tenant, row, &accepted).await
}

/// What the status API says of some of them.
async fn statuses(
    platform: &Platform,
    tenant: &Tenant,
    row: &mut Row,
    accepted: &HashMap<String, usize>,
) -> Result<()> {
    let caller = Caller::new(&platform.http, &tenant.key);
    let mut differ = Vec::new();
    for (id, _) in accepted.iter().take(500) {
        let view = caller.get(&format!("/v1/notifications/{id}")).await?;
        let counts = &view["counts"]["push"];
        if counts["total"] != 1 || counts["sent"] != 1 || crate::sampler::judge(&view, None).is_some() {
            differ.push(format!("{id}: {counts}"));
        }
    }
    row.expect(differ.is_empty(), || format!("{} times the ledgers differ: {:?}", differ.len(), differ.first()));
    Ok(())
}
