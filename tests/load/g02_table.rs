//! G2: segmentation of a fixed audience in a table that becomes fifty times larger by another app's devices.

use anyhow::Result;

use crate::Options;
use crate::b03_segmentation::Segmentation;
use crate::growth;
use crate::pairs::{Measured, Spread};
use crate::report::{NONE, Row, say};
use crate::stack::Stack;

const TIMES: usize = 50;

/// G2.
pub(crate) async fn run(options: &Options, stack: &Stack) -> Result<Row> {
    let devices = options.scaled(100_000, 2_000);
    let segmentation = Segmentation::start(stack, "bench_g2", devices).await?;
    let small = seconds(options, &segmentation).await?;
    segmentation.database.devices_of_another_app(devices, devices * TIMES).await?;
    let large = seconds(options, &segmentation).await?;
    let ratio =
        Spread { median: large.median / small.median, low: large.low / small.high, high: large.high / small.low };
    say(&format!(
        "    {:.2} s in a table of {devices}, {:.2} s in one of {}",
        small.median,
        large.median,
        devices * TIMES
    ));
    let mut row = Row::plain("G2", "the same audience, table 50 times larger", "ratio", [2.0, NONE, 1.25], ratio)
        .less_is_better()
        .may_be_faster();
    (row.ours, row.floor, row.pairs) = (large.median, small.median, options.pairs);
    let points = [(devices as f64, small.median), ((devices * TIMES) as f64, large.median)];
    row.growth.push(growth::entry("devices in the table, audience fixed", "segmentation, s", &points));
    Ok(row.reference("seconds in the small table").bound_by("the depth of indexes and what of the table is in memory"))
}

/// What a campaign's segmentation takes.
pub(crate) async fn seconds(options: &Options, segmentation: &Segmentation<'_>) -> Result<Spread> {
    segmentation.ours().await?;
    let mut measured: Vec<Measured> = Vec::new();
    for _ in 0..options.pairs {
        measured.push(segmentation.checked().await?);
    }
    Ok(Spread::of(measured.iter().map(|one| one.wall.as_secs_f64())))
}
