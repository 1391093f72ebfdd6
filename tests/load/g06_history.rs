//! G6: how fast outcomes are committed beside a history of 365 partitions, against one of this week alone.

use anyhow::Result;

use crate::Options;
use crate::b07_outcomes::Outcomes;
use crate::growth;
use crate::pairs::{Measured, Spread};
use crate::report::{Row, say};
use crate::stack::Stack;

/// Partitions of weeks gone by, made as the platform makes them, with some rows each. Chunks are kept for five weeks.
fn history(weeks: usize, rows: usize) -> String {
    format!(
        "DO $$
         DECLARE week timestamptz; part text; run uuid;
         BEGIN
             FOR i IN 2 .. {weeks} + 1 LOOP
                 week := date_trunc('week', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - i * interval '7 days';
                 part := to_char(week AT TIME ZONE 'UTC', '\"_\"IYYY\"w\"IW');
                 IF i <= 5 THEN
                     EXECUTE format('CREATE TABLE %I PARTITION OF chunks FOR VALUES FROM (%L) TO (%L)', 'chunks' || part,
                         carillon_first_run_id(week), carillon_first_run_id(week + interval '7 days'));
                 END IF;
                 EXECUTE format('CREATE TABLE %I PARTITION OF deliveries FOR VALUES FROM (%L) TO (%L)', 'deliveries' || part,
                     carillon_first_run_id(week), carillon_first_run_id(week + interval '7 days'));
                 run := carillon_first_run_id(week + interval '1 day');
                 INSERT INTO deliveries (run_id, subject, link, tenant_key, platform, bits, sent_at)
                     SELECT run, s, 0, 1, 1, 64, week FROM generate_series(1, {rows}) AS s;
             END LOOP;
         END $$"
    )
}

async fn rate(options: &Options, outcomes: &Outcomes<'_>) -> Result<Spread> {
    outcomes.ours(true).await?;
    let mut rates = Vec::new();
    for _ in 0..options.pairs {
        let measured = outcomes.ours(true).await?;
        anyhow::ensure!(measured.lost + measured.duplicates == 0, "{measured:?}");
        rates.push(Measured::rate(&measured));
    }
    Ok(Spread::of(rates))
}

/// G6.
pub(crate) async fn run(options: &Options, stack: &Stack) -> Result<Row> {
    let outcomes = Outcomes::start(stack, "bench_g6", options.size(100_000, 2_000)).await?;
    let short = rate(options, &outcomes).await?;
    let weeks = options.size(365, 20);
    let sql = &outcomes.database.sql;
    sql.batch_execute(&history(weeks, options.size(1_000, 10))).await?;
    sql.batch_execute("ANALYZE").await?;
    let long = rate(options, &outcomes).await?;
    say(&format!("    {:.0}/s, beside {weeks} partitions {:.0}/s", short.median, long.median));
    let ratio = Spread { median: long.median / short.median, low: long.low / short.high, high: long.high / short.low };
    let title = "outcomes beside 365 partitions of history";
    let mut row = Row::plain("G6", title, "ratio", [0.80, 0.80, 0.97], ratio).may_be_faster();
    (row.ours, row.floor, row.pairs) = (long.median, short.median, options.pairs);
    row.growth.push(growth::entry(
        "partitions of history",
        "outcome/s",
        &[(1.0, short.median), (weeks as f64, long.median)],
    ));
    Ok(row.reference("outcomes a second without the history").bound_by("finding the partition of a run"))
}
