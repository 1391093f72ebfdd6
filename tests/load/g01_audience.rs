//! G1: what a campaign costs from its call to its counters as its audience grows a hundredfold: wall, CPU, memory.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::Options;
use crate::growth::{self, Point};
use crate::pairs::Spread;
use crate::platform::{ALL, Platform};
use crate::report::{Row, say};
use crate::stack::Stack;

const LIMIT: Duration = Duration::from_secs(600);
/// The greatest size over each.
const STEPS: [usize; 5] = [100, 30, 10, 3, 1];

/// What one size came to.
struct Cost {
    wall: f64,
    cpu: f64,
}

async fn campaign(platform: &Platform, count: u64) -> Result<Cost> {
    platform.simulators.clear().await?;
    platform.database.sql.batch_execute("CHECKPOINT").await?;
    let before = platform.spent()?;
    let body = json!({"app": "shop", "to": {"all": true}, "content": {"title": "Everything for the winter"}});
    let accepted = platform.call("POST", "/v1/notifications", Some(&body)).await?;
    let counts = platform.finished(accepted["id"].as_str().context("no id")?, LIMIT).await?;
    let after = platform.spent()?;
    let (apns, fcm) = (platform.simulators.count("apns").await?, platform.simulators.count("fcm").await?);
    ensure!(counts["sent"] == count, "the counters say {counts}");
    let (tokens, accepted) = (apns.tokens + fcm.tokens, apns.accepted + fcm.accepted);
    ensure!(tokens == count && accepted == count, "{tokens} of {count} devices in {accepted} messages");
    let own: Duration = after.since(&before).iter().map(|(_, cpu)| *cpu).sum();
    let cpu = own + after.postgres.saturating_sub(before.postgres) + after.broker.saturating_sub(before.broker);
    Ok(Cost { wall: after.at.duration_since(before.at).as_secs_f64(), cpu: cpu.as_secs_f64() })
}

/// G1, by wall, CPU and memory.
pub(crate) async fn run(options: &Options, stack: &Stack) -> Result<Vec<Row>> {
    let most = options.scaled(1_000_000, 4_000);
    let platform = Platform::start(stack, "bench_g1", ALL, 0).await?;
    let (mut wall, mut cpu, mut there): (Vec<Point>, Vec<Point>, usize) = (Vec::new(), Vec::new(), 0);
    let mut memory: Vec<(&str, Vec<Point>)> = Vec::new();
    for step in STEPS {
        let count = most / step;
        platform.database.more_devices(there, count).await?;
        there = count;
        campaign(&platform, count as u64).await?;
        let mut costs = Vec::new();
        for _ in 0..options.pairs {
            costs.push(campaign(&platform, count as u64).await?);
        }
        wall.push((count as f64, Spread::of(costs.iter().map(|cost| cost.wall)).median));
        cpu.push((count as f64, Spread::of(costs.iter().map(|cost| cost.cpu)).median));
        for (name, process) in &platform.services {
            let point = (count as f64, crate::cpu::memory(process.pid)?.1 as f64 / 1048576.0);
            match memory.iter_mut().find(|(known, _)| known == name) {
                Some((_, points)) => points.push(point),
                None => memory.push((name, vec![point])),
            }
        }
        if let (Some(wall), Some(cpu)) = (wall.last(), cpu.last()) {
            say(&format!("    {count} devices: {:.2} s, {:.2} s of CPU", wall.1, cpu.1));
        }
    }
    let slope = |id, title, quantity, points: &[Point]| {
        let off = (growth::exponent(points) - 1.0).abs();
        let spread = Spread { median: off, low: off, high: off };
        let mut row = Row::plain(id, title, "off linear", [0.10, 0.10, 0.03], spread).less_is_better();
        row.ours = growth::exponent(points);
        row.growth.push(growth::entry("devices in the audience", quantity, points));
        row.reference("exponent 1: ours is the exponent, what is judged its distance from 1")
            .bound_by("what a campaign costs however small it is")
    };
    let ratio = memory.iter().map(|(_, points)| growth::worst(points)).fold(0.0, f64::max);
    let spread = Spread { median: ratio, low: ratio, high: ratio };
    let title = "peak memory, worst growth of a service";
    let mut flat = Row::plain("G1-mem", title, "ratio", [1.5, 1.5, 1.1], spread).less_is_better();
    for (name, points) in &memory {
        flat.growth.push(growth::entry("devices in the audience", &format!("peak memory of {name}, MiB"), points));
    }
    Ok(vec![
        slope("G1-wall", "audience a hundredfold: wall", "wall, s", &wall),
        slope("G1-cpu", "audience a hundredfold: CPU", "CPU of all but the simulators, s", &cpu),
        flat.reference("flat").bound_by("pages and chunks in work, whose number is bounded"),
    ])
}
