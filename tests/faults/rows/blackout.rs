//! F6: one provider is down for minutes, in three ways one after the other; the others do not notice.

use crate::audience::Tenant;
use crate::caller::Caller;
use crate::dice::Dice;
use crate::observe::look;
use crate::options::Options;
use crate::platform::Platform;
use crate::reconcile::{drained, join};
use crate::report::Row;
use crate::trickle::{Sender, Window, median, trickle};
use anyhow::{Context as _, Result};
use provider_sim::{Conditions, Failure, Fate, Provider, Reply};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Windows before, and during the outage.
const WINDOWS: usize = 5;
/// Single messages to the healthy providers.
const PER_SECOND: u32 = 30;
/// The promises.
const SLOWER: f64 = 1.5;
const DRAINS_AT: f64 = 0.8;
const THROTTLED: f64 = 0.01;
/// What a process may grow by while the provider is away.
const GROWTH_MIB: u64 = 16;
const GROWTH_SHARE: f64 = 0.2;
/// From the provider's return to the rate of before: the longest hold, and the ramp.
const RETURN: Duration = Duration::from_secs(120);
/// The steady rate comes from this and what one process has in flight: low enough that the machine has time to spare.
const DELAY: Duration = Duration::from_millis(1_500);
const DRAIN: Duration = Duration::from_secs(300);
/// Over this time rates are counted.
const SPAN: Duration = Duration::from_secs(5);

/// How a provider can be down.
fn ways() -> [(&'static str, Conditions); 3] {
    let fail = |reply| Conditions { fail: Some(Failure { reply, for_ms: None }), ..Conditions::default() };
    [
        ("answers 503", fail(Reply::status(503))),
        ("never answers", fail(Reply::status(503).fate(Fate::Hang))),
        ("refuses connections", Conditions { refuse_connections: true, ..Conditions::default() }),
    ]
}

/// F6.
///
/// # Errors
/// If the platform breaks so badly that the row cannot go on.
pub(crate) async fn run(platform: &Platform, options: &Options) -> Result<Row> {
    let mut row = Row::new("F6", "one provider is down for minutes, the others are not", options.seed);
    let (devices, before, during) = options.pick((12_000, 4, 8), (48_000, 10, 18), (400_000, 30, 120));
    let (before, during) = (Duration::from_secs(before), Duration::from_secs(during));
    let mut dice = Dice::new(options.seed, "blackout");
    let tenant = Tenant::new(platform, "f6", devices, &mut dice).await?;
    let others = Tenant::new(platform, "f6-others", 500, &mut dice).await?;
    let senders = [Sender::new(platform, &others, &[Provider::Fcm, Provider::Webpush])];
    let caller = Caller::new(&platform.http, &tenant.key);
    set(platform, well())?;
    campaign(&tenant, &caller, 1).await?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let steady = rate(platform, SPAN).await;
    row.figure("steady_pushes_per_second", steady.round());
    let mut normal = Vec::new();
    for _ in 0..WINDOWS {
        normal.push(trickle(platform, &senders, PER_SECOND, before, &mut dice).await);
    }
    campaign(&tenant, &caller, 2).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut outage = Vec::new();
    let mut grown = Vec::new();
    for number in 0..WINDOWS {
        let ways = ways();
        let (name, conditions) = &ways[number * ways.len() / WINDOWS];
        let sight = look(platform, None).await;
        set(platform, conditions.clone())?;
        row.fault(&format!("APNs {name} for {} s", during.as_secs()), &sight);
        outage.push(trickle(platform, &senders, PER_SECOND, during, &mut dice).await);
        row.say(format!("APNs {name}: p99 of the others {:.0} ms", outage[number].p99()));
        grown.push(memory(platform));
    }
    set(platform, well())?;
    returned(platform, &mut row, steady).await;
    judge(&mut row, &normal, &outage, &grown);
    // What is left need not take its time.
    set(platform, Conditions { delay_ms: 50, ..Conditions::default() })?;
    let stuck = drained(&caller, &row, DRAIN).await?;
    row.expect(stuck.is_empty(), || format!("{} notifications are stuck", stuck.len()));
    join(platform, &tenant, &caller, &mut row).await?;
    let summary = platform.sim.ledger().summary();
    let apns = summary.of(Provider::Apns);
    let throttled = apns.by_status.get(&429).copied().unwrap_or(0) as f64 / apns.requests.max(1) as f64;
    row.figure("share_of_429", throttled);
    row.figure("requests_to_apns", apns.requests);
    row.expect(throttled <= THROTTLED, || format!("{throttled} of APNs' answers are 429"));
    Ok(row)
}

/// Fine weather, at the speed that the row wants.
fn well() -> Conditions {
    Conditions { delay_ms: u64::try_from(DELAY.as_millis()).unwrap_or(0), ..Conditions::default() }
}

fn set(platform: &Platform, apns: Conditions) -> Result<()> {
    Ok(platform.sim.set_conditions(Provider::Apns, apns)?)
}

async fn campaign(tenant: &Tenant, caller: &Caller, number: u32) -> Result<()> {
    let theirs = tenant.devices.iter().filter(|device| device.provider == Provider::Apns);
    let devices: Arc<Vec<String>> = Arc::new(theirs.map(|device| device.id.clone()).collect());
    let body = json!({"app": tenant.app, "to": {"all": true, "platforms": ["apns"]},
                      "content": {"title": "Sale", "data": {"number": number}}});
    caller.send(&body, &format!("blackout-{number}"), devices).await?.context("a campaign was refused").map(drop)
}

fn accepted(platform: &Platform) -> u64 {
    platform.sim.ledger().summary().of(Provider::Apns).accepted
}

async fn rate(platform: &Platform, over: Duration) -> f64 {
    let first = accepted(platform);
    tokio::time::sleep(over).await;
    (accepted(platform) - first) as f64 / over.as_secs_f64()
}

/// Resident memory of every process, in MiB.
fn memory(platform: &Platform) -> Vec<(String, u64)> {
    platform.replicas.iter().map(|replica| (replica.name(), replica.rss() >> 20)).collect()
}

/// Waits for the rate of before.
async fn returned(platform: &Platform, row: &mut Row, steady: f64) {
    let began = Instant::now();
    let mut best: f64 = 0.0;
    while began.elapsed() < RETURN && best < steady * DRAINS_AT {
        best = best.max(rate(platform, SPAN).await);
    }
    row.figure("drain_pushes_per_second", best.round());
    row.figure("seconds_until_it_drains_so_fast", began.elapsed().as_secs());
    row.expect(best >= steady * DRAINS_AT, || {
        format!("the backlog drains at {best:.0} a second, {steady:.0} were steady before")
    });
}

fn judge(row: &mut Row, normal: &[Window], outage: &[Window], grown: &[Vec<(String, u64)>]) {
    let p99 = |windows: &[Window]| median(windows.iter().map(Window::p99).collect());
    let (calm, storm) = (p99(normal), p99(outage));
    row.figure("p99_of_the_others_before_ms", calm.round());
    row.figure("p99_of_the_others_during_ms", storm.round());
    row.expect(storm <= calm * SLOWER, || format!("the others' p99 is {storm:.0} ms, {calm:.0} ms without the outage"));
    let sum = |field: fn(&Window) -> u64| normal.iter().chain(outage).map(field).sum::<u64>();
    let (lost, refused, twice) = (sum(|w| w.lost), sum(|w| w.refused), sum(|w| w.duplicates));
    row.lost += lost;
    row.expect(lost + refused + twice == 0, || {
        format!("of the others {lost} were lost, {refused} refused, {twice} sent twice")
    });
    let (Some(first), Some(last)) = (grown.first(), grown.last()) else { return };
    let mut most = (0, String::new());
    for ((name, before), (_, after)) in first.iter().zip(last) {
        let allowed = GROWTH_MIB.max((*before as f64 * GROWTH_SHARE).round() as u64);
        let by = after.saturating_sub(*before);
        row.expect(by <= allowed, || format!("{name} grew from {before} to {after} MiB during the outage"));
        most = most.max((by, name.clone()));
    }
    row.figure("most_growth_mib", json!(most));
}
