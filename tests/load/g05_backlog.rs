//! G5: how fast a dispatcher empties its queue when a million devices wait in it, against a few.

use anyhow::Result;
use carillon_domain::platform::Platform;
use serde_json::json;

use crate::dispatch::{Dispatch, Setup};
use crate::fixture::CHUNK;
use crate::growth;
use crate::pairs::{Measured, Spread};
use crate::report::{Row, say};
use crate::stack::Stack;
use crate::{Options, cpu};

/// The backlog over the few.
const TIMES: usize = 20;

/// Rates and the dispatcher's peak of memory in bytes.
async fn drained(options: &Options, stack: &Stack, count: usize) -> Result<(Spread, u64)> {
    let setup = Setup { count, streams: 1000, ..Setup::default() };
    let dispatch = Dispatch::start(stack, Platform::Apns, setup).await?;
    dispatch.ours().await?;
    let mut rates = Vec::new();
    for _ in 0..options.pairs {
        let measured = dispatch.ours().await?;
        anyhow::ensure!(measured.lost + measured.duplicates == 0, "{measured:?}");
        rates.push(Measured::rate(&measured));
    }
    let rates = Spread::of(rates);
    say(&format!("    {count} devices in {} messages: {:.0}/s", count / CHUNK, rates.median));
    Ok((rates, cpu::memory(dispatch.dispatcher.pid)?.1))
}

/// G5.
pub(crate) async fn run(options: &Options, stack: &Stack) -> Result<Row> {
    let most = options.scaled(1_000_000, 10_000);
    let few = (most / TIMES).max(CHUNK);
    let (empty, small) = drained(options, stack, few).await?;
    let (full, large) = drained(options, stack, most).await?;
    let ratio = Spread { median: full.median / empty.median, low: full.low / empty.high, high: full.high / empty.low };
    let mut row =
        Row::plain("G5", "drain of a backlog against few", "ratio", [0.80, 0.80, 0.97], ratio).may_be_faster();
    (row.ours, row.floor, row.pairs) = (full.median, empty.median, options.pairs);
    row.figures["peak_memory_mib"] = json!([small >> 20, large >> 20]);
    row.growth.push(growth::entry(
        "devices queued",
        "push/s",
        &[(few as f64, empty.median), (most as f64, full.median)],
    ));
    Ok(row.reference("push/s with a twentieth of it").bound_by("the dispatcher, as B4"))
}
