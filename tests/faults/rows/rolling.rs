//! F12: every service is restarted by SIGTERM under load, as a rollout does.

use super::load::Feeder;
use crate::audience::Tenant;
use crate::caller::Caller;
use crate::dice::Dice;
use crate::observe::catch;
use crate::options::Options;
use crate::platform::Platform;
use crate::reconcile::{drained, join};
use crate::report::Row;
use crate::sampler::Sampler;
use anyhow::Result;
use carillon_tests::End;
use provider_sim::{Conditions, Provider};
use rustix::process::Signal;
use serde_json::json;
use std::time::Duration;

/// The promise: from the signal to the exit.
const EXIT: Duration = Duration::from_secs(20);
const DRAIN: Duration = Duration::from_secs(90);

/// F12.
///
/// # Errors
/// If the platform breaks so badly that the row cannot go on.
pub(crate) async fn run(platform: &Platform, options: &Options) -> Result<Row> {
    let mut row = Row::new("F12", "rolling restart of every service by SIGTERM under load", options.seed);
    let restarts = options.pick(7, 20, 200);
    let mut dice = Dice::new(options.seed, "rolling");
    let tenant = Tenant::new(platform, "f12", 4_000, &mut dice).await?;
    let caller = Caller::new(&platform.http, &tenant.key);
    // Slow enough that the load stays below what the platform can do.
    for provider in [Provider::Apns, Provider::Fcm, Provider::Webpush] {
        platform.sim.set_conditions(provider, Conditions { delay_ms: 100, ..Conditions::default() })?;
    }
    let sampler = Sampler::start(&caller, &dice);
    let feeder = Feeder::start(&tenant, &caller, 1, &dice);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut slowest = Duration::ZERO;
    for number in 0..restarts {
        let replica = &platform.replicas[number % platform.replicas.len()];
        let sight = catch(platform, Some(replica)).await;
        replica.signal(Signal::TERM);
        row.strike(&format!("SIGTERM {}", replica.name()), &sight);
        let (end, took) = replica.ended(EXIT + Duration::from_secs(10)).await?;
        slowest = slowest.max(took);
        row.restarts += 1;
        row.say(format!(
            "{} ended after {:.2} s, ready {:?}, open {}",
            replica.name(),
            took.as_secs_f64(),
            sight.ready,
            sight.open
        ));
        row.expect(end == End::Code(0), || format!("{} ended with {end:?}", replica.name()));
        row.expect(took <= EXIT, || format!("{} took {took:?} to end", replica.name()));
        replica.respawn(&[])?;
        replica.ready().await?;
    }
    row.figure("slowest_exit_seconds", slowest.as_secs_f64());
    let promised = feeder.finish().await?;
    row.say(format!("{promised} recipients are promised"));
    let stuck = drained(&caller, &row, DRAIN).await?;
    row.expect(stuck.is_empty(), || format!("{} notifications are stuck", stuck.len()));
    let samples = sampler.stop();
    row.figure("samples", samples.samples);
    row.expect(samples.samples > 0 && samples.faults.is_empty(), || format!("samples: {:?}", samples.faults));
    join(platform, &tenant, &caller, &mut row).await?;
    let found = row.duplicates;
    row.expect(found == 0, || format!("{found} duplicates"));
    let (answers, torn) = {
        let book = caller.book();
        (book.answers.clone(), book.torn)
    };
    row.figure("answers", json!(answers));
    row.figure("calls_torn", torn);
    row.expect(torn == 0, || format!("{torn} calls were cut without an answer"));
    let others: Vec<_> = answers.keys().filter(|status| ![0, 200, 202, 503].contains(*status)).collect();
    row.expect(others.is_empty(), || format!("clients saw {others:?}"));
    Ok(row)
}
