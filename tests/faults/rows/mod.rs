//! The rows of the table.

mod chaos;
mod churn;
mod control;
mod crash;
mod idempotency;
mod load;
mod outage;
mod poison;
mod race;
mod rolling;

use crate::options::Options;
use crate::platform::Platform;
use crate::report::Report;
use anyhow::{Context as _, Result};

/// Runs the rows that were asked for, one after the other.
///
/// # Errors
/// What broke so badly that nothing further can be said.
pub(crate) async fn run(platform: &Platform, options: &Options, report: &mut Report) -> Result<()> {
    for id in &options.rows {
        platform.settle().await.with_context(|| format!("before {id}"))?;
        let row = match id.as_str() {
            "F1" => chaos::run(platform, options).await,
            "F2" => chaos::duplicates(platform, options).await,
            "F3" => crash::run(platform, options).await,
            "F4" => outage::broker(platform, options).await,
            "F5" => outage::database(platform, options).await,
            "F8" => race::run(platform, options).await,
            "F9" => control::run(platform, options).await,
            "F10" => churn::run(platform, options).await,
            "F11" => idempotency::run(platform, options).await,
            "F12" => rolling::run(platform, options).await,
            "F14" => poison::run(platform, options).await,
            _ => {
                println!("\n{id}: is not built yet");
                continue;
            }
        };
        report.add(&row.with_context(|| id.clone())?)?;
    }
    Ok(())
}
