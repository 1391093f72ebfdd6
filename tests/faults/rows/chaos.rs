//! F1: whatever dies, nothing is lost and nothing is stuck. F2: how many duplicates it costs.

use super::load::Feeder;
use crate::audience::Tenant;
use crate::caller::Caller;
use crate::dice::Dice;
use crate::options::Options;
use crate::platform::Platform;
use crate::reconcile::{drained, join};
use crate::report::Row;
use crate::sampler::Sampler;
use crate::strike::{Amounts, Excused, Fault, Wounds, schedule, strike};
use anyhow::Result;
use provider_sim::{Conditions, Provider};
use serde_json::json;
use std::time::{Duration, Instant};

/// Until everything is through once nothing breaks any more. What a killed segmenter had not published is published by another within
/// seconds; what hung in one that nobody saw go, after its due time: a minute, and twice that each time it is met again.
const DRAIN: Duration = Duration::from_secs(300);

/// F1.
///
/// # Errors
/// If the platform breaks so badly that the row cannot go on.
pub(crate) async fn run(platform: &Platform, options: &Options) -> Result<Row> {
    let seed = options.seed;
    let mut row = Row::new("F1", "chaos: kills, restarts, cuts and stops under load", seed);
    let amounts = options.pick(
        Amounts { kills: 3, restarts: 1, cuts: 1, stops: 0 },
        Amounts { kills: 15, restarts: 2, cuts: 6, stops: 1 },
        Amounts { kills: 60, restarts: 4, cuts: 8, stops: 4 },
    );
    let (devices, quota) = options.pick((2_500, 5_000), (10_000, 50_000), (80_000, 400_000));
    let dice = Dice::new(seed, "chaos");
    let faults = schedule(amounts, &mut dice.clone());
    under_load(platform, &mut row, "f1", devices, quota, faults, dice).await?;
    Ok(row)
}

/// F2.
///
/// # Errors
/// As [`run`].
pub(crate) async fn duplicates(platform: &Platform, options: &Options) -> Result<Row> {
    let mut row =
        Row::new("F2", "duplicates at the provider: none without a fault, few and recognisable with one", options.seed);
    let (devices, quota) = options.pick((1_000, 3_000), (4_000, 12_000), (20_000, 200_000));
    let dice = Dice::new(options.seed, "no fault");
    under_load(platform, &mut row, "f2a", devices, quota, Vec::new(), dice).await?;
    let found = row.duplicates;
    row.expect(found == 0, || format!("{found} duplicates without a fault"));
    platform.settle().await?;
    let dice = Dice::new(options.seed, "dispatchers");
    let kinds = ["dispatcher-apns", "dispatcher-fcm", "dispatcher-webpush"];
    let kills = (0..options.pick(3, 6, 60)).map(|n| Fault::Kill(kinds[n % 3])).collect();
    under_load(platform, &mut row, "f2b", devices, quota, kills, dice).await?;
    Ok(row)
}

async fn under_load(
    platform: &Platform,
    row: &mut Row,
    name: &str,
    devices: usize,
    quota: u64,
    faults: Vec<Fault>,
    mut dice: Dice,
) -> Result<()> {
    let tenant = Tenant::new(platform, name, devices, &mut dice).await?;
    row.say(format!("{devices} devices are registered"));
    let caller = Caller::new(&platform.http, &tenant.key);
    let sampler = Sampler::start(&caller, &dice);
    slow_down(platform)?;
    let feeder = Feeder::start(&tenant, &caller, quota, &dice);
    let began = Instant::now();
    let excused = rage(platform, row, &feeder, faults, &mut dice).await?;
    row.figure("seconds_of_chaos", began.elapsed().as_secs());
    let largest = platform.replicas.iter().map(|replica| (replica.rss() >> 20, replica.name())).max();
    row.figure("largest_process_mib", json!(largest));
    let promised = feeder.finish().await?;
    row.say(format!("{promised} recipients are promised"));
    let calm = Instant::now();
    let stuck = drained(&caller, row, DRAIN).await?;
    row.figure("seconds_to_drain", calm.elapsed().as_secs());
    row.expect(stuck.is_empty(), || format!("{} notifications are stuck, {:?} among them", stuck.len(), stuck.first()));
    for replica in &platform.replicas {
        let alive = replica.alive();
        row.expect(alive.is_ok(), || format!("{alive:?}"));
    }
    let samples = sampler.stop();
    row.figure("samples", samples.samples);
    row.expect(samples.samples > 0 && samples.faults.is_empty(), || format!("samples: {:?}", samples.faults));
    row.figure("recipients_per_second", (promised as f64 / began.elapsed().as_secs_f64()).round());
    let joined = join(platform, &tenant, &caller, row).await?;
    row.figure("excused_by_provider", json!(excused.0));
    for (provider, found) in &joined.duplicates {
        let allowed = excused.0.get(provider).copied().unwrap_or(0);
        row.expect(*found <= allowed, || format!("{found} duplicates at {provider}, the faults excuse {allowed}"));
    }
    let refused = caller.book().faults.clone();
    row.expect(refused.is_empty(), || format!("refused: {:?}", refused.iter().take(3).collect::<Vec<_>>()));
    row.figure("answers", json!(caller.book().answers));
    Ok(())
}

/// Providers take their time, so that something is open whenever a fault strikes.
fn slow_down(platform: &Platform) -> Result<()> {
    for provider in [Provider::Apns, Provider::Fcm, Provider::Webpush] {
        platform.sim.set_conditions(provider, Conditions { delay_ms: 60, ..Conditions::default() })?;
    }
    Ok(())
}

/// One fault after the other, each when there is something to break.
async fn rage(
    platform: &Platform,
    row: &mut Row,
    feeder: &Feeder,
    faults: Vec<Fault>,
    dice: &mut Dice,
) -> Result<Excused> {
    let mut excused = Excused::default();
    let wounds = Wounds::default();
    let count = faults.len();
    let raging = async {
        for (number, fault) in faults.into_iter().enumerate() {
            tokio::time::sleep(dice.between(300, 2_000)).await;
            let sight = strike(platform, fault, dice, &mut excused, &wounds, row).await?;
            row.say(format!(
                "{}/{count} {fault:?}: ready {:?}, unacked {:?}, open {}, promised {}",
                number + 1,
                sight.ready,
                sight.unacked,
                sight.open,
                feeder.promised()
            ));
        }
        while !wounds.are_healed() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        raged = raging => raged?,
        never = wounds.heal(platform) => match never {},
    }
    Ok(excused)
}
