//! The fault run: a whole platform of real processes, load, faults by process id, and three ledgers joined at the end.
//!
//! It is told what to do by variables ([`HELP`]); docs/faults.md says what each row shows.

#![allow(clippy::disallowed_macros, reason = "this program talks to people: printing is its output")]
#![allow(clippy::disallowed_methods, reason = "a program at the rim: its words come by variables, and it has no Scope")]

#[path = "../../crates/carillon/src/api.rs"]
#[allow(dead_code, reason = "the operator's command uses the rest")]
mod api;
#[path = "../../crates/carillon/src/http.rs"]
#[allow(dead_code, reason = "the operator's command uses the rest")]
mod http;
#[path = "../../crates/carillon/src/dev/onboard.rs"]
#[allow(dead_code, reason = "the operator's command uses the rest")]
mod onboard;
#[path = "../../crates/carillon/src/dev/ports.rs"]
#[allow(dead_code, reason = "the operator's command uses the rest")]
mod ports;
#[path = "../../crates/carillon/src/random.rs"]
#[allow(dead_code, reason = "the operator's command uses the rest")]
mod random;
#[path = "../../crates/carillon/src/sim.rs"]
#[allow(dead_code, reason = "the operator's command uses the rest")]
mod sim;
#[path = "../../crates/carillon/src/waiting.rs"]
mod waiting;

mod audience;
mod caller;
#[path = "../load/cpu.rs"]
#[allow(dead_code, reason = "the benchmark uses the rest")]
mod cpu;
mod dice;
mod fleet;
mod flood;
mod observe;
mod options;
mod platform;
mod proxy;
mod reconcile;
mod report;
mod rows;
mod sampler;
mod settings;
mod stack;
mod strike;
mod trickle;

use crate::options::Options;
use crate::platform::Platform;
use crate::report::Report;
use std::process::ExitCode;

const HELP: &str = "\
usage: make faults [ROWS=F1,F8] [SEED=7] [CI=1 | FULL=1 [FRESH=1]] [RUN_DIR=DIR]
Breaks a whole platform of its own in every way that docs/faults.md lists, and proves that nothing was lost or doubled.

  ROWS=F1,F8    only these rows; without it F1 to F14, with CI=1 those that a pipeline runs
  SEED=7        another schedule; the same number repeats it
  CI=1          sizes for a pipeline
  FULL=1        the long form, resumable; FRESH=1 begins it anew
  RUN_DIR=DIR   another directory than .run-faults for servers and logs, and than target for the report";

#[tokio::main]
async fn main() -> ExitCode {
    if let Some(word) = std::env::args().nth(1) {
        println!("{HELP}");
        return if ["-h", "--help", "help"].contains(&word.as_str()) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("faults: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<bool> {
    let options = Options::from_environment()?;
    let mut report = Report::new(&options);
    report.resume(options.fresh)?;
    let platform = Platform::start(&options.directory, options.size).await?;
    let outcome = rows::run(&platform, &options, &mut report).await;
    platform.stop().await;
    report.write()?;
    outcome?;
    Ok(report.passed())
}
