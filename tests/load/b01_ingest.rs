//! B1: one recipient a call, accepted after the commit, with the segmenter keeping up. B2: 1,000 recipients a call. Closed loop: the most that
//! is accepted, and what it costs.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use crate::caller::{self, Seen};
use crate::fixture::device_id;
use crate::pairs::{By, Measured, Pairs, Spread};
use crate::platform::Platform;
use crate::processes::Talker;
use crate::queues::{self, Bare};
use crate::report::Row;
use crate::stack::Stack;
use crate::{Options, cpu, floor_ingest, outside};

const CONNECTIONS: usize = 64;
const DEVICES: u64 = 20_000;
/// How long the segmenter may take for what is left when the last call was answered.
const BACKLOG: Duration = Duration::from_millis(1500);

fn body(recipients: u64) -> impl Fn(u64) -> String + Copy {
    move |number| {
        let first = number.wrapping_mul(7919);
        let devices: Vec<String> = (0..recipients).map(|i| device_id((first + i) % DEVICES)).collect();
        json!({"app": "shop", "to": {"devices": devices}, "content": {"title": "Your parcel is on its way",
            "body": "It will be with you tomorrow between 9 and 12.", "data": {"order": number.to_string()}}})
        .to_string()
    }
}

struct Ingest<'a> {
    stack: &'a Stack,
    platform: Platform,
    bare: Bare,
    lasting: Duration,
    recipients: u64,
}

impl<'a> Ingest<'a> {
    async fn start(stack: &'a Stack, options: &Options, recipients: u64, services: &[&'static str]) -> Result<Self> {
        let platform = Platform::start(stack, "bench_b1", services, DEVICES as usize).await?;
        platform.database.sql.batch_execute(floor_ingest::TABLES).await?;
        let bare = Bare::open(&stack.amqp).await?;
        bare.declare("bench.chunks").await?;
        // Within the time after which the scan looks for what nobody took.
        let lasting = Duration::from_millis(options.size(4_000, 500) as u64);
        Ok(Self { stack, platform, bare, lasting, recipients })
    }

    async fn tidy(&self) -> Result<()> {
        let sql = &self.platform.database.sql;
        sql.batch_execute(
            "TRUNCATE notifications, chunks, deliveries, run_counters, idempotency, floor_notifications, floor_chunks",
        )
        .await?;
        for queue in queues::ALL.into_iter().chain(["bench.chunks"]) {
            self.bare.purge(queue).await?;
        }
        sql.batch_execute("CHECKPOINT").await.map_err(Into::into)
    }

    async fn ours(&self) -> Result<Measured> {
        self.tidy().await?;
        let before = self.platform.spent()?;
        let seen =
            caller::call(&self.platform.http, &self.platform.key, self.callers(), self.lasting, body(self.recipients))
                .await?;
        let expands = self.platform.services.iter().any(|(name, _)| *name == "segmenter");
        let began = Instant::now();
        while expands && self.waiting().await? > 0 {
            ensure!(began.elapsed() < BACKLOG, "the segmenter is behind: {} notifications", self.waiting().await?);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let after = self.platform.spent()?;
        let own = after.since(&before).iter().map(|(_, cpu)| *cpu).sum();
        let row = self.platform.database.sql.query_one("SELECT count(*) FROM notifications", &[]).await?;
        let kept = row.get::<_, i64>(0) as u64;
        let lost = seen.accepted.saturating_sub(kept);
        let (postgres, broker) =
            (after.postgres.saturating_sub(before.postgres), after.broker.saturating_sub(before.broker));
        Ok(Measured { own, postgres, broker, lost, duplicates: kept - seen.accepted.min(kept), ..self.measured(seen)? })
    }

    /// Connections, and the requests that each has ready.
    fn callers(&self) -> (usize, usize) {
        (CONNECTIONS, if self.recipients == 1 { 200 } else { 8 })
    }

    async fn waiting(&self) -> Result<i64> {
        let sql = "SELECT count(*) FROM notifications WHERE NOT expanded";
        Ok(self.platform.database.sql.query_one(sql, &[]).await?.get(0))
    }

    fn floor_process(&self) -> Result<Talker> {
        let words = match self.recipients {
            1 => vec!["floor-ingest".to_owned(), self.platform.database.url.clone(), self.stack.amqp.clone()],
            _ => vec!["floor-ingest".to_owned(), "parse".to_owned()],
        };
        Talker::start(&words)
    }

    /// wrk against the floor, whose rate it is that our own callers must reach.
    async fn outside(&self, pairs: &Pairs, row: Row) -> Result<Row> {
        self.tidy().await?;
        let mut talker = self.floor_process()?;
        let url = format!("{}/v1/notifications", talker.hear()?);
        let outside = outside::wrk(&self.stack.directory, &url, &body(self.recipients)(7), CONNECTIONS, self.lasting)?;
        let calls = Spread::of(pairs.floor.iter().map(Measured::rate)).median / self.recipients as f64;
        Ok(outside.judge_rate(row, calls))
    }

    async fn floor(&self) -> Result<Measured> {
        self.tidy().await?;
        let mut talker = self.floor_process()?;
        let base = talker.hear()?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let (postgres, broker) = (cpu::of_family(self.stack.postgres_pid)?, cpu::of(self.stack.broker_pid)?);
        let own = talker.cpu()?;
        let seen = caller::call(&base, "csk_none", self.callers(), self.lasting, body(self.recipients)).await?;
        Ok(Measured {
            own: talker.cpu()? - own,
            postgres: cpu::of_family(self.stack.postgres_pid)?.saturating_sub(postgres),
            broker: cpu::of(self.stack.broker_pid)?.saturating_sub(broker),
            ..self.measured(seen)?
        })
    }

    fn measured(&self, seen: Seen) -> Result<Measured> {
        ensure!(seen.otherwise == 0, "{} calls were refused", seen.otherwise);
        // Who is told to come again is not lost, but then it is not the rate that is measured.
        ensure!(seen.busy * 10 <= seen.accepted, "{} calls found it busy, {} did not", seen.busy, seen.accepted);
        Ok(Measured { units: seen.accepted * self.recipients, wall: seen.wall, ..Measured::default() })
    }
}

/// B1.
pub(crate) async fn single(options: &Options, stack: &Stack) -> Result<Row> {
    let ingest = Ingest::start(stack, options, 1, &["segmenter", "ingest-api"]).await?;
    ingest.ours().await?;
    let pairs = Pairs::measure(options.pairs, || ingest.ours(), || ingest.floor()).await?;
    let mut row = Row::of("B1", "ingest, one recipient a call", "call/s", [0.40, 0.65, 0.85], By::Rate, &pairs);
    row.figures["cpu_ratio"] = json!(pairs.ratio(By::Cost(Measured::all_us)).median);
    let row = row.reference(
        "bare axum route, grouped insert of the same rows, one message a group; the callers share the cores",
    );
    let row = ingest.outside(&pairs, row).await?;
    Ok(row.bound_by("PostgreSQL: two transactions a group, fifteen statements in them, and groups of a dozen"))
}

/// B2.
pub(crate) async fn thousand(options: &Options, stack: &Stack) -> Result<Row> {
    let ingest = Ingest::start(stack, options, 1000, &["ingest-api"]).await?;
    ingest.ours().await?;
    let pairs = Pairs::measure(options.pairs, || ingest.ours(), || ingest.floor()).await?;
    let title = "ingest, 1,000 recipients a call";
    let mut row = Row::of("B2", title, "recipient/s", [0.40, 0.65, 0.85], By::Rate, &pairs);
    row.figures["cpu_ratio"] = json!(pairs.ratio(By::Cost(Measured::all_us)).median);
    let row = ingest.outside(&pairs, row.reference("bare axum route that parses the same body")).await?;
    Ok(row.bound_by("reading, checking and keeping a thousand names; the floor keeps none"))
}
