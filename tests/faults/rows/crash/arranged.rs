//! Points that are passed only when something is arranged for them.

use super::cases::Case;
use super::load::{Load, of};
use super::victim::{Done, EXIT, arm, excused, in_work, leave, watch};
use crate::platform::Way;
use crate::proxy::Cut;
use anyhow::{Context as _, Result, bail};
use carillon_failpoint::{Action, Point};
use carillon_tests::End;
use provider_sim::{Conditions, Provider};
use rustix::process::Signal;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// More than both dispatchers take into work, which is 80 small messages each, so that some were only taken in advance.
const MESSAGES: usize = 280;

/// Until a dispatcher has begun what was sent.
const IN_WORK: Duration = Duration::from_secs(10);

/// One case; the replica runs unarmed afterwards.
///
/// # Errors
/// If a process cannot be started, or the point is one for which nothing is arranged.
pub(super) async fn run(load: &Load<'_>, case: Case, number: usize) -> Result<Done> {
    let victim = load.platform.of(case.service).next().context("a first replica")?;
    leave(victim).await?;
    let mut done = match case.arming.point {
        Point::Nack => given_back(load, case, number).await?,
        Point::ExpiredCommit => expired(load, case, number).await?,
        other => bail!("nothing is arranged for {}", other.name()),
    };
    done.gone(leave(victim).await?);
    victim.respawn(&[])?;
    victim.ready().await?;
    println!("           {} in {}: {} hits, {:.1} s", case.arming, victim.name(), done.hits, done.seconds);
    Ok(done)
}

/// A dispatcher that stops with messages that it has not begun gives them back.
async fn given_back(load: &Load<'_>, case: Case, number: usize) -> Result<Done> {
    let (began, platform, tenant) = (Instant::now(), load.platform, &load.crowd.tenant);
    let victim = platform.of(case.service).next().context("a first replica")?;
    arm(victim, case)?;
    victim.ready().await?;
    platform.sim.set_conditions(Provider::Apns, Conditions { paused: true, ..Conditions::default() })?;
    let phones = of(tenant, Provider::Apns);
    for n in 0..MESSAGES {
        let device = phones[n % phones.len()].id.clone();
        let body = json!({"app": tenant.app, "to": {"devices": [device]}, "content": {"title": "One of many"}});
        let key = format!("{}-many-{number}-{n}", tenant.app);
        load.crowd.caller.send(&body, &key, Arc::new(vec![device])).await?;
    }
    let began_work = Instant::now();
    let mut held = in_work(victim).await;
    while held.0 == 0 && began_work.elapsed() < IN_WORK {
        tokio::time::sleep(Duration::from_millis(20)).await;
        held = in_work(victim).await;
    }
    victim.signal(Signal::TERM);
    let watched = watch(victim, case, began).await;
    platform.sim.set_conditions(Provider::Apns, Conditions::default())?;
    let mut done = watched?;
    done.excused = done.excused.max(excused(victim, held));
    // A process that was told to end may be gone before its counter is read; what it wrote last says the same.
    let (end, _) = victim.ended(EXIT).await?;
    if done.hits == 0 && victim.said(&format!("\"{}\"", case.arming))? {
        (done.hits, done.broken) = (1, None);
    }
    let wanted = if case.arming.action == Action::Kill { End::Signal(9) } else { End::Code(0) };
    done.gone((end != wanted).then(|| format!("{} ended with {end:?}", victim.name())));
    Ok(done)
}

/// What expired while nobody could come for it is closed by the housekeeping, which begins as the process does. The way to the broker is shut
/// meanwhile, or the scan would hand it out first, and the other replica is away, or its housekeeping might be first.
async fn expired(load: &Load<'_>, case: Case, number: usize) -> Result<Done> {
    let (began, platform) = (Instant::now(), load.platform);
    let victim = platform.of(case.service).next().context("a first replica")?;
    let other = platform.of(case.service).nth(1).context("a second replica")?;
    let id = load.held(number, "expired").await?;
    let unclean = leave(other).await?;
    let ways = || platform.of(case.service).flat_map(|replica| platform.ways(replica, Way::Broker));
    for way in ways() {
        way.stall(true);
        way.cut(Cut::Reset);
    }
    let sql = "UPDATE chunks SET due_at = now() - interval '1 second', expires_at = now() - interval '5 minutes', lease_until = NULL
               WHERE due_at IS NOT NULL AND run_id = (SELECT run_id FROM notifications WHERE notification_id = $1::text::uuid)
               RETURNING chunk";
    let changed = platform.rows(sql, &[&id]).await?.len();
    arm(victim, case)?;
    let done = watch(victim, case, began).await;
    for way in ways() {
        way.stall(false);
        way.cut(Cut::Reset);
    }
    other.respawn(&[])?;
    other.ready().await?;
    let mut done = done?;
    done.broken = done.broken.or(unclean);
    if changed == 0 {
        done.broken = Some("nothing was open that could expire".to_owned());
    }
    Ok(done)
}
