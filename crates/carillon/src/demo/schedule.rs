//! Step 8: one on time, one not at all.

use std::time::Duration;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::checks::Checks;
use super::people::SHOP;
use super::world::World;
use crate::waiting::until;

const AHEAD: SignedDuration = SignedDuration::from_secs(5);
/// How late counts as on time, on a machine that also runs everything else.
const LATE: i64 = 2_500;
const PATIENCE: Duration = Duration::from_secs(30);
const USER: &str = "u-0002";

/// Schedules both 5 s ahead, cancels one, watches the clock.
pub(crate) async fn run(world: &mut World, checks: &mut Checks) -> Result<()> {
    let due = Timestamp::now() + AHEAD;
    let kept = schedule(world, checks, due, "scheduled").await?;
    let cancelled = schedule(world, checks, due, "cancelled").await?;
    let answer = world.api()?.post(&format!("/v1/notifications/{cancelled}/cancel"), &json!({})).await?;
    checks.equal("state after cancelling", answer["state"].as_str(), Some("cancelled"));
    world.say("two are scheduled 5 s ahead, one of them was cancelled");

    let devices = world.people.of_user(USER).count();
    let sim = world.sim()?;
    let records = until("the scheduled notification", PATIENCE, async || {
        let records = sim.of_notification(&kept).await?;
        Ok((records.iter().filter(|record| record.accepted).count() >= devices).then_some(records))
    });
    let records = records.await?;
    let late: Vec<i64> = records.iter().map(|record| record.at.as_millisecond() - due.as_millisecond()).collect();
    let (least, most) = (late.iter().min().copied().unwrap_or(0), late.iter().max().copied().unwrap_or(0));
    checks.expect(least >= 0, || format!("a request came {} ms early", -least));
    checks.expect(most <= LATE, || format!("a request came {most} ms late"));
    checks.equal("requests", records.len(), devices);
    world.finished(&kept, PATIENCE).await?;

    // The cancelled one had the same time; it is over now.
    checks.equal("requests of the cancelled one", sim.of_notification(&cancelled).await?.len(), 0);
    let shown = world.api()?.notification(&cancelled).await?;
    checks.equal("state of the cancelled one", shown["state"].as_str(), Some("cancelled"));
    checks.fact(format!(
        "due in 5 s, {devices} devices got it {least} to {most} ms after its time; the cancelled one reached nobody"
    ));
    Ok(())
}

async fn schedule(world: &mut World, checks: &mut Checks, due: Timestamp, what: &str) -> Result<String> {
    let body = json!({"app": SHOP, "reference": what, "to": {"users": [USER]}, "schedule": {"at": due},
                      "content": {"title": "Doors open"}});
    let accepted = world.send(&body).await?;
    checks.equal("state of what is scheduled", accepted.state.as_str(), "scheduled");
    Ok(accepted.id)
}
