//! Which rows there are, and their run.

use std::time::Instant;

use anyhow::Result;

use crate::Options;
use crate::report::{Report, Row, say};
use crate::stack::Stack;
use crate::{b01_ingest, b03_segmentation, b04_dispatch, b07_outcomes, b08_end_to_end};

/// Runs what is wanted, and writes the report.
pub(crate) async fn run(options: &Options) -> Result<bool> {
    let (began, started_at) = (Instant::now(), jiff::Timestamp::now());
    let stack = Stack::start(options.keep)?;
    let mut report = Report::default();
    for id in ["B1", "B2", "B3", "B4", "B4c", "B5", "B7", "B8"] {
        if !options.wants(id) {
            continue;
        }
        say(&format!("{id}:"));
        match row(id, options, &stack).await {
            Ok(rows) => report.rows.extend(rows),
            Err(error) => {
                say(&format!("  {error:#}"));
                report.broken.push((id.to_owned(), format!("{error:#}")));
            }
        }
    }
    report.finish(&stack.root, options.short, started_at, began.elapsed())
}

async fn row(id: &str, options: &Options, stack: &Stack) -> Result<Vec<Row>> {
    let one = match id {
        "B1" => b01_ingest::single(options, stack).await?,
        "B2" => b01_ingest::thousand(options, stack).await?,
        "B3" => b03_segmentation::run(options, stack).await?,
        "B4" => b04_dispatch::run(options, stack).await?,
        "B4c" => b04_dispatch::with_delay(options, stack).await?,
        "B5" => b04_dispatch::fcm(options, stack).await?,
        "B7" => b07_outcomes::run(options, stack).await?,
        "B8" => return b08_end_to_end::run(options, stack).await,
        _ => anyhow::bail!("there is no row {id}"),
    };
    Ok(vec![one])
}
