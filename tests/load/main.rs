//! `make bench`: how fast, against what. Each row measures a stage of the platform and, in the same run and interleaved with
//! it, a floor: the least work that anyone must do. Every measurement is also a check that nothing was lost or doubled.
//!
//! `ROWS=B4,B7` runs some rows, `SHORT=1` runs small sizes with the same checks and no judgement of times, `PAIRS=n` sets how
//! often stage and floor are measured, `SCALE=0.1` shrinks the largest rows, `KEEP=1` leaves broker and database running.

mod b01_ingest;
mod b03_segmentation;
mod b04_dispatch;
mod b05_quota;
mod b06_webpush;
mod b07_outcomes;
mod b08_end_to_end;
mod b08_usual;
mod b09_latency;
mod b12_drain;
mod b14_cascades;
mod bearers;
mod caller;
mod cpu;
mod database;
mod dispatch;
mod fixture;
mod floor_copy;
mod floor_h2;
mod floor_hops;
mod floor_ingest;
mod floor_publish;
mod g01_audience;
mod g02_table;
mod g03_tenants;
mod g04_tags;
mod g05_backlog;
mod g06_history;
mod grants;
mod growth;
mod http1;
mod open_loop;
mod outside;
mod pairs;
mod platform;
mod processes;
mod queues;
mod report;
mod requests;
mod row;
mod rows;
mod simulators;
mod stack;
mod subscriptions;
mod usual_sender;
mod whole;

use std::process::ExitCode;

/// Sizes and the choice of rows.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Small sizes, nothing judged by time.
    pub(crate) short: bool,
    /// Measurements of each side.
    pub(crate) pairs: usize,
    /// Ids of the wanted rows; empty means all.
    pub(crate) rows: Vec<String>,
    /// Shrinks the rows that need a million devices.
    pub(crate) scale: f64,
    /// Broker and database stay.
    pub(crate) keep: bool,
}

impl Options {
    #[allow(clippy::disallowed_methods, reason = "the words that `make bench` is called with")]
    fn read() -> Self {
        let word = |name| std::env::var(name).unwrap_or_default();
        let short = word("SHORT") == "1";
        let rows = word("ROWS").split([',', ' ']).filter(|row| !row.is_empty()).map(str::to_owned).collect();
        let pairs = word("PAIRS").parse().unwrap_or(if short { 1 } else { 5 });
        let scale = word("SCALE").parse().unwrap_or(1.0);
        Self { short, pairs, rows, scale, keep: word("KEEP") == "1" }
    }

    /// The size for this run.
    pub(crate) fn size(&self, full: usize, short: usize) -> usize {
        if self.short { short } else { full }
    }

    /// The size for this run of a row that takes minutes at its full size: `SCALE=0.1` makes it smaller.
    pub(crate) fn scaled(&self, full: usize, short: usize) -> usize {
        if self.short { short } else { ((full as f64 * self.scale) as usize).next_multiple_of(2 * fixture::CHUNK) }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.first().map(String::as_str) {
        Some("floor-h2") => floor_h2::run(&arguments[1..]),
        Some("floor-crypto") => subscriptions::run(&arguments[1..]),
        Some("floor-hops") => floor_hops::run(&arguments[1..]),
        Some("usual-sender") => usual_sender::run(&arguments[1..]),
        Some("floor-ingest") => floor_ingest::run(&arguments[1..]),
        Some("floor-segmentation") => floor_publish::run(&arguments[1..]),
        _ => bench(),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report::say(&format!("bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn bench() -> anyhow::Result<bool> {
    let options = Options::read();
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(rows::run(&options))
}
