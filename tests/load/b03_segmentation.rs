//! B3: from an accepted campaign to confirmed chunks, against copying the same rows out of the database and publishing the same messages.
//! CPU of the segmenter, PostgreSQL and the broker counts on both sides.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use carillon_broker::{Broker, Event as _, Outgoing};
use carillon_domain::audience::Audience;
use carillon_domain::condition::Condition;
use carillon_domain::ids::{AppKey, NotificationId, TenantKey};
use carillon_store::NewNotification;
use carillon_wire::events::{AcceptedNotification, DispatchChunks, NotificationsAccepted};
use carillon_wire::topology;
use serde_json::json;
use uuid::Uuid;

use crate::database::Database;
use crate::fixture::{CHUNK, TAG, notification};
use crate::pairs::{By, Measured, Pairs};
use crate::processes::{Process, Settings};
use crate::queues::{self, Bare};
use crate::report::Row;
use crate::stack::Stack;
use crate::{Options, cpu, floor_publish, outside};

const LIMIT: Duration = Duration::from_secs(180);
/// What the segmenter reads of a device.
const COLUMNS: &str = "d.device_key, d.device, d.person, d.platform, d.os, coalesce(d.token, ''), d.is_fid, coalesce(d.p256dh, ''),
    coalesce(d.auth, ''), d.environment, d.generation, d.locale, d.phone, d.permission, d.is_primary, d.last_seen_at, d.state";

/// A segmenter whose chunks nobody takes away, with clients of its emptied queues.
pub(crate) async fn alone(stack: &Stack, database: &Database) -> Result<(Broker, Bare, Process)> {
    let broker = queues::broker(&stack.amqp).await?;
    let bare = Bare::open(&stack.amqp).await?;
    for queue in [topology::APNS_BULK.name(), topology::RUNS_BULK.name()] {
        bare.purge(queue).await?;
    }
    let settings: Settings = [
        ("AMQP__URL", stack.amqp.clone()),
        ("DATABASE__URL", database.url.clone()),
        // All of them must be let out.
        ("SEGMENTER__OUTSTANDING_CHUNKS", "1000000".into()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    Ok((broker, bare, Process::service(&stack.directory, "segmenter", &settings).await?))
}

/// A segmenter alone.
pub(crate) struct Segmentation<'a> {
    stack: &'a Stack,
    pub(crate) database: Database,
    broker: Broker,
    bare: Bare,
    segmenter: Process,
    /// Devices in the audience: the half that has the tag, which is APNs'.
    audience: u64,
}

impl<'a> Segmentation<'a> {
    pub(crate) async fn start(stack: &'a Stack, name: &str, devices: usize) -> Result<Self> {
        let database = Database::create(stack, name).await?;
        database.devices(devices).await?;
        database.apns_credential("BENCHKEY01", "not used: nothing is sent").await?;
        let (broker, bare, segmenter) = alone(stack, &database).await?;
        Ok(Self { stack, database, broker, bare, segmenter, audience: devices as u64 / 2 })
    }

    fn cpu(&self) -> Result<[Duration; 3]> {
        let own = cpu::of(self.segmenter.pid)?;
        Ok([own, cpu::of_family(self.stack.postgres_pid)?, cpu::of(self.stack.broker_pid)?])
    }

    /// One campaign to half of the devices, from its acceptance to its last confirmed chunk. Leaves its messages for the floor.
    pub(crate) async fn ours(&self) -> Result<Measured> {
        self.bare.purge(topology::APNS_BULK.name()).await?;
        self.database.sql.batch_execute("CHECKPOINT").await?;
        let (before, began) = (self.cpu()?, Instant::now());
        let id = self.accept().await?;
        let chunks = self.confirmed(&id, began).await?;
        let wall = began.elapsed();
        let after = self.cpu()?;
        // Or the scan publishes them again in a minute.
        self.database.sql.execute("DELETE FROM chunks WHERE run_id = $1", &[&id.0]).await?;
        let bodies = self.bare.take(topology::APNS_BULK.name(), chunks).await?;
        let (lost, duplicates) = self.judged(&bodies)?;
        floor_publish::write(&self.stack.directory.join("chunks"), &bodies)?;
        Ok(self.measured(wall, before, after, lost, duplicates))
    }

    /// [`Self::ours`], with nothing lost or doubled.
    pub(crate) async fn checked(&self) -> Result<Measured> {
        let measured = self.ours().await?;
        ensure!(measured.lost + measured.duplicates == 0, "{measured:?}");
        Ok(measured)
    }

    /// Waits until every chunk of the run lies in the queue; how many there are.
    async fn confirmed(&self, id: &NotificationId, began: Instant) -> Result<u64> {
        let sql = "SELECT expanded, pushes, next_chunk FROM notifications WHERE notification_id = $1";
        let sql = (&self.database.sql, self.database.sql.prepare(sql).await?);
        loop {
            let row = sql.0.query_one(&sql.1, &[&id.0]).await?;
            let (expanded, pushes, chunks): (bool, i64, i32) = (row.get(0), row.get(1), row.get(2));
            let there = self.bare.depth(topology::APNS_BULK.name()).await?;
            if expanded && there >= chunks as u64 {
                ensure!(pushes == self.audience as i64, "the run has {pushes} pushes, its audience {}", self.audience);
                return Ok(there);
            }
            ensure!(began.elapsed() < LIMIT, "only {there} chunks");
            self.segmenter.check()?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn accept(&self) -> Result<NotificationId> {
        let condition = Condition::parse(&format!("tags has '{TAG}'"))?;
        let to = Audience { condition: Some(condition), ..Audience::default() };
        let lane = to.lane();
        let notification = notification(to)?;
        let (id, d) = (NotificationId(Uuid::now_v7()), &self.database);
        let new = NewNotification {
            notification_id: id,
            tenant_key: TenantKey(d.tenant_key),
            app_key: AppKey(d.app_key),
            reference: None,
            body: carillon_wire::encode_body(&notification),
            lane,
            scheduled_at: None,
            idempotency: None,
            traceparent: String::new(),
        };
        d.store.accept_group(&[new]).await?;
        let item = AcceptedNotification {
            id: id.0.as_bytes().to_vec(),
            tenant_key: d.tenant_key,
            app_key: d.app_key,
            ..Default::default()
        };
        let event = NotificationsAccepted { notifications: vec![item] };
        self.broker.publisher().publish(Outgoing::to(topology::runs(lane), &event)).await?;
        Ok(id)
    }

    /// Every device of the audience is in exactly one chunk: a bit for each.
    fn judged(&self, bodies: &[Vec<u8>]) -> Result<(u64, u64)> {
        let mut seen = vec![false; self.audience as usize * 2];
        let mut duplicates = 0;
        for body in bodies {
            for target in DispatchChunks::decode(body)?.chunks.iter().flat_map(|chunk| &chunk.targets) {
                let ordinal = usize::from_str_radix(target.token.get(..16).context("a token")?, 16)?;
                let bit = seen.get_mut(ordinal).context("a device that is not there")?;
                ensure!(ordinal % 2 == 0, "a device without the tag");
                duplicates += u64::from(std::mem::replace(bit, true));
            }
        }
        Ok((self.audience - seen.iter().filter(|bit| **bit).count() as u64, duplicates))
    }

    fn query(&self) -> String {
        format!(
            "SELECT {COLUMNS} FROM devices d WHERE d.app_key = {} AND d.state IN (1, 2) AND '{TAG}' = ANY(d.tags) ORDER BY d.person, d.device_key",
            self.database.app_key
        )
    }

    /// psql copies what the floor copies.
    async fn outside(&self, row: Row) -> Result<Row> {
        let query = self.query();
        let began = Instant::now();
        floor_publish::copy_out(&self.database.sql, &query).await?;
        let per_second = self.audience as f64 / began.elapsed().as_secs_f64();
        let outside =
            outside::psql(&self.database.url, &floor_publish::copy(&query), outside::Lines::Nowhere, self.audience)?;
        Ok(outside.judge_rate(row, per_second))
    }

    async fn floor(&self) -> Result<Measured> {
        self.bare.purge(topology::APNS_BULK.name()).await?;
        self.database.sql.batch_execute("CHECKPOINT").await?;
        let query = self.query();
        let file = self.stack.directory.join("chunks").display().to_string();
        let route = (topology::WORK.name, topology::APNS_BULK.name());
        let before = self.cpu()?;
        let (wall, own) =
            floor_publish::measure([&self.database.url, &self.stack.amqp, &file, &query, route.0, route.1])?;
        let after = self.cpu()?;
        let published = self.bare.depth(topology::APNS_BULK.name()).await?;
        ensure!(published * CHUNK as u64 >= self.audience, "the floor published {published} chunks");
        let measured = self.measured(wall, before, after, 0, 0);
        Ok(Measured { own, ..measured })
    }

    fn measured(&self, wall: Duration, before: [Duration; 3], after: [Duration; 3], lost: u64, twice: u64) -> Measured {
        let spent = |i: usize| after[i].saturating_sub(before[i]);
        Measured {
            units: self.audience,
            wall,
            own: spent(0),
            postgres: spent(1),
            broker: spent(2),
            lost,
            duplicates: twice,
        }
    }
}

/// B3.
pub(crate) async fn run(options: &Options, stack: &Stack) -> Result<Row> {
    let segmentation = Segmentation::start(stack, "bench_b3", options.scaled(2_000_000, 20_000)).await?;
    segmentation.ours().await?;
    let pairs = Pairs::measure(options.pairs, || segmentation.ours(), || segmentation.floor()).await?;
    let (now, peak) = cpu::memory(segmentation.segmenter.pid)?;
    let title = "segmentation, half of the devices by tag";
    let by = By::Cost(Measured::all_us);
    let mut row = Row::of("B3", title, "us/device", [0.40, 0.70, 0.90], by, &pairs);
    row.figures["memory_mib"] = json!({"now": now >> 20, "peak": peak >> 20});
    row.figures["rate_ratio"] = json!(pairs.ratio(By::Rate).median);
    let row = row.reference("COPY of the same rows TO STDOUT and a bare confirmed publish of the same messages");
    let row = segmentation.outside(row).await?;
    Ok(row.bound_by(
        "PostgreSQL: pages in the persons' order fetch rows one by one, the floor's sort reads the table through",
    ))
}
