//! B5b: FCM as Google has it, 80 ms to an answer, 100 streams a connection and a quota of 10,000 messages a second: how much of the quota is used.

use anyhow::{Result, ensure};
use carillon_domain::platform::Platform;
use serde_json::json;

use crate::Options;
use crate::dispatch::{Dispatch, Setup};
use crate::pairs::{By, Measured, Pairs, Spread};
use crate::report::{Row, say};
use crate::stack::Stack;

const DELAY_MS: u64 = 80;
const QUOTA: u32 = 10_000;
/// The quota keeps 800 streams busy; what waits at the ends of chunks needs some more.
const CONNECTIONS: usize = 16;

/// Of the quota, without the second's worth that may go at once.
fn used(measured: &Measured) -> f64 {
    let steady = measured.units.saturating_sub(u64::from(QUOTA)) as f64;
    steady / measured.wall.as_secs_f64() / f64::from(QUOTA)
}

/// B5b.
pub(crate) async fn run(options: &Options, stack: &Stack) -> Result<Row> {
    let further = [
        ("FCM__CONNECTIONS", CONNECTIONS.to_string()),
        ("FCM__MESSAGES_PER_MINUTE", (QUOTA * 60).to_string()),
        ("DISPATCH__IN_FLIGHT", (CONNECTIONS * 100 * 4 / 3).to_string()),
        ("DISPATCH__IN_FLIGHT_PER_CHUNK", "500".into()),
    ];
    let count = options.size(200_000, 3_000);
    let setup = Setup { count, streams: 1000, quota: Some(QUOTA), further: &further };
    let dispatch = Dispatch::start(stack, Platform::Fcm, setup).await?;
    dispatch.simulators.conditions("fcm", &json!({"delay_ms": DELAY_MS})).await?;
    dispatch.ours().await?;
    let (mut measured, mut throttled) = (Vec::new(), 0);
    for _ in 0..options.pairs {
        let one = dispatch.ours().await?;
        let refused = dispatch.simulators.count("fcm").await?.throttled;
        say(&format!("    {:.0}/s, {:.3} of the quota, {refused} refused over it", one.rate(), used(&one)));
        measured.push(one);
        throttled += refused;
    }
    // A connection that was told to go, or cut for a breach of the protocol, would have been followed by another.
    let (open, opened) = dispatch.simulators.connections("fcm").await?;
    ensure!(open == opened && opened <= CONNECTIONS as u64, "{opened} connections were opened, {open} are left");
    let ratio = Spread::of(measured.iter().map(used));
    let pairs = Pairs { ours: measured, ..Pairs::default() };
    let title = "FCM, 80 ms, 100 streams, 10,000/s";
    let mut row = Row::of("B5b", title, "push/s", [0.85, 0.95, 0.99], By::Rate, &pairs);
    (row.floor, row.ratio) = (QUOTA.into(), ratio);
    row.figures["connections"] = json!(opened);
    row.figures["throttled"] = json!(throttled);
    Ok(row
        .reference("the project's quota, without the second's worth that may go at once")
        .bound_by("the quota itself"))
}
