//! Which rows there are, and their run.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::Options;
use crate::report::{Report, Row, say};
use crate::stack::Stack;
use crate::{
    b01_ingest, b03_segmentation, b04_dispatch, b05_quota, b06_webpush, b07_outcomes, b08_end_to_end, b08_usual,
    b09_latency, b12_drain, b14_cascades, g01_audience, g02_table, g03_tenants, g04_tags, g05_backlog, g06_history,
};

/// Every row, with the measurement that it is read off, in the order in which they are run.
const ROWS: &[(&str, &str)] = &[
    ("B1", "B1"),
    ("B2", "B2"),
    ("B3", "B3"),
    ("B4", "B4"),
    ("B4c", "B4c"),
    ("B5", "B5"),
    ("B5b", "B5b"),
    ("B6", "B6"),
    ("B7", "B7"),
    ("B8", "B8"),
    ("B8b", "B8b"),
    ("B9", "B9"),
    ("B10", "B9"),
    ("B11", "B8"),
    ("B12", "B12"),
    ("B14", "B14"),
    ("B15", "B8"),
    ("G1", "G1"),
    ("G2", "G2"),
    ("G3", "G3"),
    ("G4", "G4"),
    ("G5", "G5"),
    ("G6", "G6"),
];

/// Which measurements the wanted rows need; all of them if nothing is wanted in particular.
fn selected(wanted: &[String]) -> Result<Vec<&'static str>> {
    let known = |wanted: &str| ROWS.iter().any(|(row, _)| row.eq_ignore_ascii_case(wanted));
    if let Some(unknown) = wanted.iter().find(|wanted| !known(wanted)) {
        let names: Vec<&str> = ROWS.iter().map(|(row, _)| *row).collect();
        bail!("there is no row {unknown}; ROWS takes {}", names.join(","));
    }
    let is_wanted = |row: &str| wanted.is_empty() || wanted.iter().any(|wanted| row.eq_ignore_ascii_case(wanted));
    let mut measurements = Vec::new();
    for (_, measurement) in ROWS.iter().filter(|(row, _)| is_wanted(row)) {
        if !measurements.contains(measurement) {
            measurements.push(*measurement);
        }
    }
    Ok(measurements)
}

/// Runs what is wanted, and writes the report.
pub(crate) async fn run(options: &Options) -> Result<bool> {
    let measurements = selected(&options.rows)?;
    let (began, started_at) = (Instant::now(), jiff::Timestamp::now());
    let stack = Stack::start(options.keep)?;
    let mut report = Report::default();
    for id in measurements {
        let since = Instant::now();
        say(&format!("{id}:"));
        match Box::pin(measure(id, options, &stack)).await {
            Ok(rows) => report.rows.extend(rows),
            Err(error) => {
                say(&format!("  {error:#}"));
                report.broken.push((id.to_owned(), format!("{error:#}")));
            }
        }
        say(&format!("  {id} took {:.1} s", since.elapsed().as_secs_f64()));
    }
    report.finish(&stack.root, options.short, started_at, began.elapsed())
}

async fn measure(id: &str, options: &Options, stack: &Stack) -> Result<Vec<Row>> {
    let one = match id {
        "B1" => b01_ingest::single(options, stack).await?,
        "B2" => b01_ingest::thousand(options, stack).await?,
        "B3" => b03_segmentation::run(options, stack).await?,
        "B4" => b04_dispatch::run(options, stack).await?,
        "B4c" => b04_dispatch::with_delay(options, stack).await?,
        "B5" => b04_dispatch::fcm(options, stack).await?,
        "B5b" => b05_quota::run(options, stack).await?,
        "B6" => b06_webpush::run(options, stack).await?,
        "B7" => b07_outcomes::run(options, stack).await?,
        "B8" => return b08_end_to_end::run(options, stack).await,
        "B8b" => return b08_usual::run(options, stack).await,
        "B9" => return b09_latency::run(options, stack).await,
        "B12" => b12_drain::run(options, stack).await?,
        "B14" => return b14_cascades::run(options, stack).await,
        "G1" => return g01_audience::run(options, stack).await,
        "G2" => g02_table::run(options, stack).await?,
        "G3" => g03_tenants::run(options, stack).await?,
        "G4" => g04_tags::run(options, stack).await?,
        "G5" => g05_backlog::run(options, stack).await?,
        "G6" => g06_history::run(options, stack).await?,
        _ => bail!("there is no row {id}"),
    };
    Ok(vec![one])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(words: &[&str]) -> Result<Vec<&'static str>> {
        selected(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_row_that_is_read_off_another_brings_that_measurement_once() {
        assert_eq!(select(&["B15", "B11"]).unwrap(), ["B8"]);
        assert_eq!(select(&["b4C"]).unwrap(), ["B4c"]);
    }

    #[test]
    fn nothing_wanted_means_everything_and_an_unknown_row_is_refused() {
        assert!(select(&[]).unwrap().contains(&"B8"));
        let error = select(&["B4", "B99"]).unwrap_err().to_string();
        assert!(error.contains("B99") && error.contains("B15"), "{error}");
    }
}
