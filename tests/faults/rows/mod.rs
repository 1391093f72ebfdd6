//! The rows of the table.

mod blackout;
mod chaos;
mod churn;
mod control;
mod crash;
mod failover;
mod idempotency;
mod killer;
mod load;
mod neighbour;
mod outage;
mod overload;
mod poison;
mod race;
mod rolling;

use crate::options::Options;
use crate::platform::Platform;
use crate::report::{Report, Row};
use anyhow::{Context as _, Result, bail};

/// Runs the rows that were asked for, one after the other.
///
/// # Errors
/// What broke so badly that nothing further can be said.
pub(crate) async fn run(platform: &Platform, options: &Options, report: &mut Report) -> Result<()> {
    for id in &options.rows {
        for seed in options.seeds(id).filter(|seed| !report.has(id, *seed)).collect::<Vec<_>>() {
            platform.settle().await.with_context(|| format!("before {id}"))?;
            let row = one(platform, &Options { seed, ..options.clone() }, id).await;
            report.add(&row.with_context(|| id.clone())?)?;
        }
    }
    Ok(())
}

async fn one(platform: &Platform, options: &Options, id: &str) -> Result<Row> {
    match id {
        "F1" => chaos::run(platform, options).await,
        "F2" => chaos::duplicates(platform, options).await,
        "F3" => crash::run(platform, options).await,
        "F4" => outage::broker(platform, options).await,
        "F5" => outage::database(platform, options).await,
        "F6" => blackout::run(platform, options).await,
        "F7" => overload::run(platform, options).await,
        "F8" => race::run(platform, options).await,
        "F9" => control::run(platform, options).await,
        "F10" => churn::run(platform, options).await,
        "F11" => idempotency::run(platform, options).await,
        "F12" => rolling::run(platform, options).await,
        "F13" => neighbour::run(platform, options).await,
        "F14" => poison::run(platform, options).await,
        _ => bail!("there is no such row"),
    }
}
