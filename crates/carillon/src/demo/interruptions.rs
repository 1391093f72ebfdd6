//! Step 9: the dispatcher that holds work is killed, the broker is restarted, nothing is lost.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use http::Method;
use serde_json::{Value, json};

use super::checks::Checks;
use super::people::SHOP;
use super::world::{CAMPAIGN, World};
use crate::dev::QueueDepth;
use crate::http::Http;
use crate::waiting::until;

const SERVICE: &str = "dispatcher-apns";
/// How long APNs takes for an answer meanwhile, in milliseconds.
const SLOW: u64 = 4_000;
/// Results that a dispatcher may not have reported yet when it dies, beside the calls in flight: 64 of each of the 8 chunks that
/// it may have in work, as the platform promises.
const UNREPORTED: u64 = 64 * 8;
const PATIENCE: Duration = Duration::from_secs(30);

/// What was on the way at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OnTheWay {
    /// Messages that wait in the dispatchers' queues.
    ready: u64,
    /// Messages that dispatchers hold.
    unacked: u64,
    /// Pushes that the ledger counts as not decided.
    open: u64,
}

impl OnTheWay {
    fn is_worth_a_fault(self) -> bool {
        self.ready > 0 && self.unacked > 0 && self.open > 0
    }
}

impl std::fmt::Display for OnTheWay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ready, {} unacked, {} open", self.ready, self.unacked, self.open)
    }
}

/// Sends to everybody while APNs is slow, then strikes twice.
pub(crate) async fn run(world: &mut World, checks: &mut Checks) -> Result<()> {
    let sim = world.sim()?;
    sim.conditions("apns", &json!({"delay_ms": SLOW})).await?;
    let content = json!({"title": "We are open again", "body": "See you soon"});
    let body = json!({"app": SHOP, "reference": "interruptions", "to": {"all": true}, "kind": "marketing",
                      "content": content});
    let id = world.send(&body).await?.id;
    let struck = strike(world, checks, &id).await;
    sim.conditions("apns", &json!({})).await?;
    let in_flight = struck?;
    world.say("APNs is quick again");
    let ended = world.finished(&id, CAMPAIGN).await?;
    world.platform.ready().await?;
    judge(world, checks, &id, &ended, in_flight).await
}

/// Kills and restarts; how many calls were in flight at the kill.
async fn strike(world: &mut World, checks: &mut Checks, id: &str) -> Result<u64> {
    let before = worth_a_fault(world, id).await?;
    let holder = holder(world).await?;
    world.say(format!("SIGKILL to {SERVICE} {} (pid {}): {before}", holder.index, holder.pid));
    world.platform.kill(SERVICE, holder.index).await?;
    checks.fact(format!("{SERVICE} {} was killed with {} calls in flight: {before}", holder.index, holder.in_flight));
    checks.expect(holder.in_flight > 0, || "the killed dispatcher held no work".to_owned());

    let before = worth_a_fault(world, id).await?;
    world.say(format!("restarting RabbitMQ: {before}"));
    world.platform.stack()?.restart_broker().await?;
    checks.fact(format!("RabbitMQ was restarted: {before}"));
    world.platform.respawn(SERVICE, holder.index)?;
    world.platform.ready().await?;
    world.say(format!("RabbitMQ is back, {SERVICE} {} was started anew", holder.index));
    Ok(holder.in_flight)
}

/// Waits for a moment at which something is ready, unacked and open.
async fn worth_a_fault(world: &World, id: &str) -> Result<OnTheWay> {
    let mut last = None;
    let found = until("work that is ready, unacked and open", PATIENCE, async || {
        let now = on_the_way(world, id).await?;
        last = Some(now);
        Ok(now.is_worth_a_fault().then_some(now))
    });
    let found = found.await;
    found.with_context(|| last.map_or_else(String::new, |last| format!("the last look: {last}")))
}

async fn on_the_way(world: &World, id: &str) -> Result<OnTheWay> {
    let queues = world.platform.stack()?.queues().await?;
    let notification = world.api()?.notification(id).await?;
    let push = &notification["counts"]["push"];
    let sum =
        |of: fn(&QueueDepth) -> u64| queues.iter().filter(|queue| queue.name.starts_with("dispatcher-")).map(of).sum();
    // Until the audience is known, what is open is what a device is missing.
    let devices = world.people.of_app(SHOP).count() as u64;
    let sent = push["sent"].as_u64().unwrap_or(0);
    let open = push["pending"].as_u64().unwrap_or(devices.saturating_sub(sent));
    Ok(OnTheWay { ready: sum(|queue| queue.ready), unacked: sum(|queue| queue.unacked), open })
}

/// The replica with the most calls in flight.
struct Holder {
    index: usize,
    pid: u32,
    in_flight: u64,
}

async fn holder(world: &World) -> Result<Holder> {
    until("a dispatcher that holds work", PATIENCE, async || {
        let mut holders = Vec::new();
        for replica in world.platform.replicas(SERVICE) {
            let metrics = Http::new(&replica.admin).call(Method::GET, "/metrics", None, &[]).await?;
            let in_flight = in_flight(&String::from_utf8_lossy(&metrics.body));
            holders.push(Holder { index: replica.index, pid: replica.pid, in_flight });
        }
        Ok(holders.into_iter().max_by_key(|holder| holder.in_flight).filter(|holder| holder.in_flight > 0))
    })
    .await
}

/// Provider calls without an answer, or else chunks in work, from the text form of Prometheus.
fn in_flight(metrics: &str) -> u64 {
    let of = |wanted: &dyn Fn(&str) -> bool| -> f64 {
        let values =
            metrics.lines().filter(|line| wanted(line)).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        values.sum()
    };
    let calls = of(&|line| line.starts_with("carillon_provider_streams{"));
    let work = of(&|line| line.starts_with("carillon_inflight{"));
    calls.max(work) as u64
}

/// Every device of the app has its message, or a reason why not; by the ledgers, per token.
async fn judge(world: &World, checks: &mut Checks, id: &str, ended: &Value, in_flight: u64) -> Result<()> {
    let verdict = world.judge(id).await?;
    checks.expect(verdict.lost.is_empty(), || format!("lost: {}", verdict.lost.join(", ")));
    checks.equal("things that devices would not understand", verdict.violations, 0);
    checks.expect(verdict.unreported.is_empty(), || format!("not owned up to: {}", verdict.unreported.join(", ")));
    let most = in_flight + UNREPORTED;
    checks.expect(verdict.duplicates as u64 <= most, || {
        format!("{} repeated, at most {most} may be", verdict.duplicates)
    });
    let push = &ended["counts"]["push"];
    checks.equal("pending", push["pending"].as_u64(), Some(0));
    let records = world.sim()?.of_notification(id).await?;
    let reached: HashSet<(&str, &str)> = records
        .iter()
        .filter(|record| record.accepted)
        .map(|record| (record.provider.as_str(), record.token.as_str()))
        .collect();
    let living =
        world.people.of_app(SHOP).filter(|device| !world.dead.contains(&device.id) && device.body["active"] != false);
    let missed: Vec<&str> = living
        .filter(|device| !reached.contains(&(device.platform, device.token.as_str())))
        .map(|device| device.id.as_str())
        .collect();
    checks.expect(missed.is_empty(), || format!("{} devices got nothing: {}", missed.len(), missed.join(", ")));
    checks.fact(format!(
        "{} devices reached by {} requests, {} lost, {} repeated (they were in flight, and a phone shows them once)",
        verdict.reached,
        verdict.requests,
        verdict.lost.len(),
        verdict.duplicates
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_in_flight_are_read_from_metrics() {
        let metrics = "# TYPE carillon_provider_streams gauge\ncarillon_provider_streams{platform=\"apns\"} 75\n\
                       carillon_inflight{stage=\"chunk\"} 3\n";
        assert_eq!(in_flight(metrics), 75);
        assert_eq!(in_flight("carillon_inflight{stage=\"chunk\"} 3\n"), 3);
        assert_eq!(in_flight("other 9\n"), 0);
    }

    #[test]
    fn a_fault_needs_something_on_the_way_everywhere() {
        assert!(OnTheWay { ready: 1, unacked: 1, open: 1 }.is_worth_a_fault());
        assert!(!OnTheWay { ready: 0, unacked: 1, open: 1 }.is_worth_a_fault());
    }
}
