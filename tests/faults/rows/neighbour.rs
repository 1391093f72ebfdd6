//! F13: one tenant sends very much, twenty send single messages and hardly notice.

use crate::audience::Tenant;
use crate::caller::Caller;
use crate::cpu;
use crate::dice::Dice;
use crate::observe::look;
use crate::options::Options;
use crate::platform::Platform;
use crate::report::Row;
use crate::sampler::{judge, totals};
use crate::trickle::{Sender, Window, median, trickle};
use ::http::Method;
use anyhow::{Context as _, Result};
use provider_sim::{Conditions, Provider};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

const WINDOWS: usize = 5;
/// Single messages of all small tenants together.
const PER_SECOND: u32 = 20;
/// The promise.
const SLOWER: f64 = 3.0;
/// Of all cores: above this it is the machine that is measured.
const BUSY: f64 = 0.7;
/// What makes the big one slow enough: how long providers take, and how much of a chunk is under way at once.
const DELAY_MS: u64 = 400;
const IN_FLIGHT_PER_CHUNK: &str = "16";
const DISPATCHERS: [&str; 3] = ["dispatcher-apns", "dispatcher-fcm", "dispatcher-webpush"];

/// F13.
///
/// # Errors
/// If the platform breaks so badly that the row cannot go on.
pub(crate) async fn run(platform: &Platform, options: &Options) -> Result<Row> {
    let mut row = Row::new("F13", "noisy neighbour: one sends very much, many send little", options.seed);
    let (recipients, small, window) = options.pick((20_000, 20, 4), (200_000, 20, 10), (2_000_000, 50, 30));
    let window = Duration::from_secs(window);
    let mut dice = Dice::new(options.seed, "neighbour");
    let devices = recipients.min(200_000);
    let big = Tenant::new(platform, "f13-big", devices, &mut dice).await?;
    let mut senders = Vec::new();
    for number in 0..small {
        let tenant = Tenant::new(platform, &format!("f13-{number}"), 25, &mut dice).await?;
        senders.push(Sender::new(platform, &tenant, &[Provider::Apns, Provider::Fcm, Provider::Webpush]));
    }
    restart(platform, &[("DISPATCH__IN_FLIGHT_PER_CHUNK", IN_FLIGHT_PER_CHUNK)]).await?;
    row.say(format!("{devices} devices and {small} neighbours are registered"));
    for provider in [Provider::Apns, Provider::Fcm, Provider::Webpush] {
        platform.sim.set_conditions(provider, Conditions { delay_ms: DELAY_MS, ..Conditions::default() })?;
    }
    let mut alone = Vec::new();
    for _ in 0..WINDOWS {
        alone.push(trickle(platform, &senders, PER_SECOND, window, &mut dice).await);
    }
    let caller = Caller::new(&platform.http, &big.key);
    let ids = campaigns(&big, &caller, recipients / devices).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    row.fault(&format!("one tenant sends {recipients}"), &look(platform, None).await);
    let (began, spent) = (Instant::now(), cpu(platform)?);
    let mut together = Vec::new();
    for _ in 0..WINDOWS {
        together.push(trickle(platform, &senders, PER_SECOND, window, &mut dice).await);
        row.say(format!("p99 of the small ones beside the big one {:.0} ms", together[together.len() - 1].p99()));
    }
    let cores = std::thread::available_parallelism()?.get() as f64;
    let busy = (cpu(platform)? - spent).as_secs_f64() / began.elapsed().as_secs_f64() / cores;
    row.figure("share_of_cpu", (busy * 100.0).round() / 100.0);
    row.expect(busy < BUSY, || {
        format!("{:.0} % of the CPU are used: it is the machine that is measured", busy * 100.0)
    });
    weigh(&mut row, &alone, &together);
    row.accepted += recipients as u64;
    end(platform, &mut row, &caller, &ids).await?;
    restart(platform, &[]).await?;
    Ok(row)
}

async fn restart(platform: &Platform, settings: &[(&str, &str)]) -> Result<()> {
    for service in DISPATCHERS {
        for replica in platform.of(service) {
            replica.renew(settings).await?;
        }
    }
    Ok(())
}

/// CPU time so far of everything that is the platform's or its servers', the simulators and this program included.
fn cpu(platform: &Platform) -> Result<Duration> {
    let mut sum = cpu::of(std::process::id())?;
    for replica in &platform.replicas {
        sum += replica.pid().map_or(Ok(Duration::ZERO), cpu::of)?;
    }
    for server in platform.stack.pids()? {
        sum += cpu::of_family(server)?;
    }
    Ok(sum)
}

async fn campaigns(big: &Tenant, caller: &Caller, count: usize) -> Result<Vec<String>> {
    let everybody: Arc<Vec<String>> = Arc::new(big.devices.iter().map(|device| device.id.clone()).collect());
    let mut ids = Vec::with_capacity(count);
    for number in 0..count {
        let body = json!({"app": big.app, "to": {"all": true}, "content": {"title": "Sale", "data": {"n": number}}});
        let sent = caller.send(&body, &format!("big-{number}"), Arc::clone(&everybody)).await?;
        ids.push(sent.context("a campaign was refused")?);
    }
    Ok(ids)
}

fn weigh(row: &mut Row, alone: &[Window], together: &[Window]) {
    let p99 = |windows: &[Window]| median(windows.iter().map(Window::p99).collect());
    // The provider's own time is in both.
    let (before, beside) = (p99(alone), p99(together));
    row.figure("p99_alone_ms", before.round());
    row.figure("p99_beside_the_big_one_ms", beside.round());
    row.figure("messages_of_the_small_ones", together.iter().map(|window| window.took.len()).sum::<usize>());
    row.expect(beside <= before * SLOWER, || {
        format!("the small ones' p99 is {beside:.0} ms beside the big one, {before:.0} ms alone")
    });
    let sum = |field: fn(&Window) -> u64| alone.iter().chain(together).map(field).sum::<u64>();
    let (lost, refused, twice) = (sum(|w| w.lost), sum(|w| w.refused), sum(|w| w.duplicates));
    row.lost += lost;
    row.duplicates += twice;
    row.expect(lost + refused + twice == 0, || {
        format!("of the small ones {lost} were lost, {refused} refused, {twice} sent twice")
    });
}

/// The rest of the big one is cancelled: its fate is other rows' matter. Its books must close.
async fn end(platform: &Platform, row: &mut Row, caller: &Caller, ids: &[String]) -> Result<()> {
    let mut sent = 0;
    for id in ids {
        let view = caller.get(&format!("/v1/notifications/{id}")).await?;
        sent += view["counts"]["push"]["sent"].as_i64().unwrap_or(0);
        let answer = caller.call(Method::POST, &format!("/v1/notifications/{id}/cancel"), None, None).await?;
        let through = answer.status == 200 || answer.status == 409;
        row.expect(through, || format!("cancel: {} {}", answer.status, answer.words()));
    }
    row.figure("pushes_of_the_big_one_meanwhile", sent);
    row.expect(sent > 0, || "the big one sent nothing meanwhile".to_owned());
    platform.settle().await?;
    for id in ids {
        let view = closed(caller, id).await?;
        row.expect(judge(&view, None).is_none(), || format!("{id}: {:?}", judge(&view, None)));
        row.stuck += totals(&view).map_or(0, |(_, pending)| u64::try_from(pending).unwrap_or(0));
    }
    let stuck = row.stuck;
    row.expect(stuck == 0, || format!("{stuck} of the big one are pending after it was cancelled"));
    Ok(())
}

async fn closed(caller: &Caller, id: &str) -> Result<Value> {
    let began = Instant::now();
    loop {
        let view = caller.get(&format!("/v1/notifications/{id}")).await?;
        if totals(&view).is_some_and(|(_, pending)| pending == 0) || began.elapsed() > Duration::from_secs(120) {
            return Ok(view);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
