//! B4, B5: what a push costs the APNs and the FCM dispatcher, against a bare loop on the h2 crate that sends the same bytes. B4c: whether a provider that
//! takes 50 ms to answer is kept as busy as its streams allow.

use anyhow::Result;
use carillon_domain::platform::Platform;
use serde_json::json;

use crate::dispatch::{CONNECTIONS, Dispatch, Setup};
use crate::pairs::{By, Measured, Pairs, Spread};
use crate::report::Row;
use crate::stack::Stack;
use crate::{Options, cpu};

fn setup(count: usize) -> Setup<'static> {
    Setup { count, streams: 1000, ..Setup::default() }
}

/// B4.
pub(crate) async fn run(options: &Options, stack: &Stack) -> Result<Row> {
    let dispatch = Dispatch::start(stack, Platform::Apns, setup(options.size(150_000, 3_000))).await?;
    // The first one opens connections and signs.
    dispatch.ours().await?;
    let pairs = Pairs::measure(options.pairs, || dispatch.ours(), || dispatch.floor()).await?;
    let (now, peak) = cpu::memory(dispatch.dispatcher.pid)?;
    let by = By::Cost(Measured::own_us);
    let mut row = Row::of("B4", "APNs dispatch, CPU per push", "us/push", [0.50, 0.75, 0.90], by, &pairs);
    row.figures["memory_mib"] = json!({"now": now >> 20, "peak": peak >> 20});
    row.figures["reports_per_thousand"] = json!(dispatch.grants.reports() * 1000 / dispatch.count);
    let row = row.reference("bare h2 loop in one thread, same bytes, connections and streams in flight");
    let row = beside_h2load(&dispatch, &pairs, row).await?;
    Ok(row.bound_by("CPU a push: the message's decoding, rendering, ids, timers, counters and its report"))
}

/// Whether the floor is as good as what others have made.
async fn beside_h2load(dispatch: &Dispatch, pairs: &Pairs, row: Row) -> Result<Row> {
    let outside = dispatch.outside().await?;
    let row = outside.judge_rate(row, Spread::of(pairs.floor.iter().map(Measured::rate)).median);
    Ok(row)
}

/// B5.
pub(crate) async fn fcm(options: &Options, stack: &Stack) -> Result<Row> {
    let dispatch = Dispatch::start(stack, Platform::Fcm, setup(options.size(100_000, 3_000))).await?;
    dispatch.ours().await?;
    let pairs = Pairs::measure(options.pairs, || dispatch.ours(), || dispatch.floor()).await?;
    let by = By::Cost(Measured::own_us);
    let row = Row::of("B5", "FCM dispatch, CPU per push", "us/push", [0.50, 0.75, 0.90], by, &pairs);
    let row = row.reference("bare h2 loop in one thread, same bytes, connections and streams in flight");
    let row = beside_h2load(&dispatch, &pairs, row).await?;
    Ok(row.bound_by("CPU a push: the message's decoding, rendering, ids, timers, counters and its report"))
}

/// B4c.
pub(crate) async fn with_delay(options: &Options, stack: &Stack) -> Result<Row> {
    const STREAMS: u32 = 500;
    const DELAY_MS: u64 = 50;
    let window = f64::from(STREAMS) * CONNECTIONS as f64 / (DELAY_MS as f64 / 1000.0);
    // The bulk lane gets three quarters of what may be in flight.
    let in_flight = STREAMS as usize * CONNECTIONS * 4 / 3;
    let further = [("DISPATCH__IN_FLIGHT", in_flight.to_string()), ("DISPATCH__IN_FLIGHT_PER_CHUNK", "500".into())];
    let count = options.size(150_000, 3_000);
    let setup = Setup { count, streams: STREAMS, further: &further, ..Setup::default() };
    let dispatch = Dispatch::start(stack, Platform::Apns, setup).await?;
    dispatch.ours().await?;
    dispatch.simulators.conditions("apns", &json!({"delay_ms": DELAY_MS})).await?;
    let mut measured = Vec::new();
    for _ in 0..options.pairs {
        measured.push(dispatch.ours().await?);
    }
    let ratio = Spread::of(measured.iter().map(|one| one.rate() / window));
    let pairs = Pairs { ours: measured, ..Pairs::default() };
    let title = "APNs dispatch, provider takes 50 ms";
    let mut row = Row::of("B4c", title, "push/s", [0.70, 0.90, 0.97], By::Rate, &pairs);
    (row.floor, row.ratio) = (window, ratio);
    Ok(row
        .reference("streams x connections / delay")
        .bound_by("the ends of chunks: the last of one is awaited while its streams rest"))
}
