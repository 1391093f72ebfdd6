//! G4: segmentation by a tag of devices that have it alone, and of the same that have a hundred.

use anyhow::Result;

use crate::Options;
use crate::b03_segmentation::Segmentation;
use crate::g02_table::seconds;
use crate::growth;
use crate::pairs::Spread;
use crate::report::{NONE, Row, say};
use crate::stack::Stack;

const TAGS: usize = 100;

/// G4.
pub(crate) async fn run(options: &Options, stack: &Stack) -> Result<Row> {
    let devices = options.scaled(200_000, 2_000);
    let segmentation = Segmentation::start(stack, "bench_g4", devices).await?;
    let few = seconds(options, &segmentation).await?;
    segmentation.database.more_tags(TAGS - 1).await?;
    let many = seconds(options, &segmentation).await?;
    let ratio = Spread { median: many.median / few.median, low: many.low / few.high, high: many.high / few.low };
    say(&format!("    {:.2} s with one tag a device, {:.2} s with {TAGS}", few.median, many.median));
    let mut row =
        Row::plain("G4", "a hundred tags a device", "ratio", [1.5, NONE, 1.15], ratio).less_is_better().may_be_faster();
    (row.ours, row.floor, row.pairs) = (many.median, few.median, options.pairs);
    let points = [(1.0, few.median), (TAGS as f64, many.median)];
    row.growth.push(growth::entry("tags of a device", "segmentation, s", &points));
    Ok(row.reference("seconds with one tag").bound_by("rows of four times the size, which PostgreSQL reads one by one"))
}
