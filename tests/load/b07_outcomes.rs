//! B7: from a dispatcher's report to committed, queryable statuses and counters, against `COPY FROM STDIN` of the same rows into a table
//! with the same unique index, committed as often.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use carillon_domain::delivery_status::Status;
use carillon_domain::ids::{ChunkId, RunId};
use carillon_domain::outcome::{Outcome, Progress, TokenVerdict};
use carillon_store::{ChunkReport, Store};
use serde_json::json;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::database::{Database, connect};
use crate::fixture::CHUNK;
use crate::pairs::{By, Measured, Pairs};
use crate::report::Row;
use crate::stack::Stack;
use crate::{Options, cpu, floor_copy, outside};

/// Reports that are committed at once, as by two collectors.
const WRITERS: usize = 2;
/// A dispatcher reports so many results of a chunk at once, and has three chunks of a campaign in work.
const REPORTED: usize = 64;
const TOGETHER: usize = 3;

/// The ledger's store, and what is reported to it.
pub(crate) struct Outcomes<'a> {
    stack: &'a Stack,
    pub(crate) database: Database,
    keys: Vec<i64>,
    provider_ids: Vec<String>,
    copiers: Vec<Client>,
}

impl<'a> Outcomes<'a> {
    pub(crate) async fn start(stack: &'a Stack, name: &str, count: usize) -> Result<Self> {
        let database = Database::create(stack, name).await?;
        database.devices(count).await?;
        floor_copy::prepare(&database.sql).await?;
        let rows = database.sql.query("SELECT device_key FROM devices ORDER BY person, device_key", &[]).await?;
        let keys: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        let provider_ids = keys.iter().map(|_| Uuid::new_v4().to_string()).collect();
        let mut copiers = Vec::new();
        for _ in 0..WRITERS {
            copiers.push(connect(&database.url).await?);
        }
        Ok(Self { stack, database, keys, provider_ids, copiers })
    }

    /// Nothing of the last measurement is left, and no device was sent to within the hour.
    async fn tidy(&self) -> Result<()> {
        // This week's partitions: what lies in older ones is history, and stays.
        let week = "SELECT to_char(now() AT TIME ZONE 'UTC', '\"_\"IYYY\"w\"IW')";
        let week: String = self.database.sql.query_one(week, &[]).await?.get(0);
        let words = format!(
            "TRUNCATE deliveries{week}, chunks{week}, run_counters, status_batches, notifications, copied, device_sends"
        );
        self.database.sql.batch_execute(&words).await?;
        self.database.sql.batch_execute("CHECKPOINT").await.map_err(Into::into)
    }

    /// A run in the middle of sending: every chunk is leased.
    async fn run(&self) -> Result<RunId> {
        let (run, sql, d) = (Uuid::now_v7(), &self.database.sql, &self.database);
        let notification = "INSERT INTO notifications (notification_id, tenant_key, app_key, body, state, lane, run_id, run_started_at, expires_at,
                                expanded, pushes)
                            VALUES ($1, $2, $3, '', 2, 2, $1, now(), now() + interval '28 days', true, $4)";
        sql.execute(notification, &[&run, &d.tenant_key, &d.app_key, &(self.keys.len() as i64)]).await?;
        let chunks: Vec<&[i64]> = self.keys.chunks(CHUNK).collect();
        let numbers: Vec<i32> = (0..chunks.len() as i32).collect();
        let keys: Vec<Vec<u8>> = chunks.iter().map(|c| c.iter().flat_map(|key| key.to_be_bytes()).collect()).collect();
        let states: Vec<Vec<u8>> = chunks.iter().map(|chunk| vec![0; chunk.len()]).collect();
        let insert = "INSERT INTO chunks (run_id, chunk, notification_id, tenant_key, app_key, platform, lane, device_keys, states,
                          run_started_at, expires_at, due_at, copies, lease, lease_until, outstanding, idle_claims)
                      SELECT $1, chunk, $1, $2, $3, 1, 2, device_keys, states, now(), now() + interval '28 days',
                             now() + interval '60 s', 1, 1, now() + interval '60 s', true, 1
                      FROM unnest($4::int4[], $5::bytea[], $6::bytea[]) AS c(chunk, device_keys, states)";
        sql.execute(insert, &[&run, &d.tenant_key, &d.app_key, &numbers, &keys, &states]).await?;
        Ok(RunId(run))
    }

    /// Reports of whole chunks, one a transaction, or as dispatchers send them.
    pub(crate) async fn ours(&self, whole: bool) -> Result<Measured> {
        self.tidy().await?;
        let run = self.run().await?;
        let groups = self.groups(run, whole);
        let (before, own, began) =
            (cpu::of_family(self.stack.postgres_pid)?, cpu::of(std::process::id())?, Instant::now());
        let share = groups.len().div_ceil(WRITERS);
        let writing = groups.chunks(share).map(|groups| write(&self.database.store, groups));
        let sent = futures::future::try_join_all(writing).await?.concat();
        // As the collector does every five seconds.
        self.database.store.mark_sent(&sent.into_iter().collect(), jiff::Timestamp::now()).await?;
        let wall = began.elapsed();
        let measured = self.measured(wall, before, own)?;
        let sql = "SELECT (SELECT count(*) FROM deliveries WHERE run_id = $1 AND bits & 64 <> 0),
                          (SELECT sum(sent)::int8 FROM run_counters WHERE run_id = $1)";
        let row = self.database.sql.query_one(sql, &[&run.0]).await?;
        let (rows, counted): (i64, i64) = (row.get(0), row.get(1));
        let lost = measured.units.saturating_sub(rows.min(counted) as u64);
        let duplicates = (counted as u64).saturating_sub(measured.units);
        Ok(Measured { lost, duplicates, ..measured })
    }

    fn groups(&self, run: RunId, whole: bool) -> Vec<Vec<ChunkReport>> {
        let outcome = |(position, id): (usize, &String)| Outcome {
            position: position as u16,
            progress: Progress::Closed { status: Status::Sent, reason: None, provider_id: Some(id.clone()) },
            token: TokenVerdict::Keep,
            generation: 1,
        };
        let reports = |(number, ids): (usize, &[String])| -> Vec<ChunkReport> {
            let outcomes: Vec<Outcome> = ids.iter().enumerate().map(outcome).collect();
            let parts: Vec<&[Outcome]> = outcomes.chunks(if whole { CHUNK } else { REPORTED }).collect();
            let last = parts.len() - 1;
            let chunk = ChunkId { run, number: number as u32 };
            let report = |(i, part): (usize, &&[Outcome])| ChunkReport {
                chunk,
                lease: 1,
                outcomes: part.to_vec(),
                release: i == last,
            };
            parts.iter().enumerate().map(report).collect()
        };
        let chunks: Vec<Vec<ChunkReport>> = self.provider_ids.chunks(CHUNK).enumerate().map(reports).collect();
        if whole {
            return chunks;
        }
        // Three chunks advance side by side.
        let side_by_side = |chunks: &[Vec<ChunkReport>]| -> Vec<Vec<ChunkReport>> {
            let most = chunks.iter().map(Vec::len).max().unwrap_or(0);
            (0..most).map(|i| chunks.iter().filter_map(|chunk| chunk.get(i).cloned()).collect()).collect()
        };
        chunks.chunks(TOGETHER).flat_map(side_by_side).collect()
    }

    async fn floor(&self) -> Result<Measured> {
        self.tidy().await?;
        let run = Uuid::now_v7();
        let (before, own) = (cpu::of_family(self.stack.postgres_pid)?, cpu::of(std::process::id())?);
        let tenant = self.database.tenant_key;
        let seconds = floor_copy::copy(&self.copiers, run, tenant, &self.keys, &self.provider_ids, CHUNK).await?;
        self.measured(Duration::from_secs_f64(seconds), before, own)
    }

    /// psql copies the floor's rows in one go, and so does the floor's client.
    async fn outside(&self, row: Row) -> Result<Row> {
        let (d, rows) = (&self.database, self.keys.len());
        let file = self.stack.directory.join("copied");
        self.tidy().await?;
        let tenant = d.tenant_key;
        let one = &self.copiers[..1];
        let seconds = floor_copy::copy(one, Uuid::now_v7(), tenant, &self.keys, &self.provider_ids, rows).await?;
        let (out, into) = ("COPY copied TO STDOUT (FORMAT binary)", "COPY copied FROM STDIN (FORMAT binary)");
        outside::psql(&d.url, out, outside::Lines::To(&file), rows as u64)?;
        self.tidy().await?;
        let outside = outside::psql(&d.url, into, outside::Lines::From(&file), rows as u64)?;
        Ok(outside.judge_rate(row, rows as f64 / seconds))
    }

    fn measured(&self, wall: Duration, postgres: Duration, own: Duration) -> Result<Measured> {
        Ok(Measured {
            units: self.keys.len() as u64,
            wall,
            own: cpu::of(std::process::id())?.saturating_sub(own),
            postgres: cpu::of_family(self.stack.postgres_pid)?.saturating_sub(postgres),
            ..Measured::default()
        })
    }
}

/// Reports the groups; the devices that were sent to.
async fn write(store: &Store, groups: &[Vec<ChunkReport>]) -> Result<Vec<i64>> {
    let mut sent = Vec::new();
    for group in groups {
        let reported = store.report(group, 0).await?;
        ensure!(reported.answers.len() == group.len(), "a report has no answer");
        sent.extend(reported.sent);
    }
    Ok(sent)
}

/// B7.
pub(crate) async fn run(options: &Options, stack: &Stack) -> Result<Row> {
    let count = options.size(200_000, 5_000);
    let outcomes = Outcomes::start(stack, "bench_b7", count).await?;
    outcomes.ours(true).await?;
    let pairs = Pairs::measure(options.pairs, || outcomes.ours(true), || outcomes.floor()).await?;
    let small = outcomes.ours(false).await?;
    let title = "outcomes to statuses and counters";
    let mut row = Row::of("B7", title, "outcome/s", [0.30, 0.60, 0.85], By::Rate, &pairs);
    row.figures["cpu_ratio"] = json!(pairs.ratio(By::Cost(Measured::all_us)).median);
    row.figures["as_dispatchers_report_per_second"] = json!(small.rate().round());
    row.figures["as_dispatchers_report_cpu_us"] = json!(small.all_us());
    // What the same rows cost when nobody waits for a commit of 500.
    outcomes.tidy().await?;
    let d = &outcomes.database;
    let seconds = floor_copy::copy(
        &outcomes.copiers,
        Uuid::now_v7(),
        d.tenant_key,
        &outcomes.keys,
        &outcomes.provider_ids,
        10_000,
    )
    .await?;
    row.figures["copy_of_10000_per_second"] = json!((count as f64 / seconds).round());
    let row = row.reference("COPY of the same rows, 500 a commit, two connections");
    let row = outcomes.outside(row).await?;
    Ok(row
        .bound_by("PostgreSQL: an insert from arrays against COPY, the chunk's row, and one more round trip a commit"))
}
