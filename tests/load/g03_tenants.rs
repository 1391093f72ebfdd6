//! G3: as many campaigns to as many devices, of a thousand apps of one tenant and of a thousand tenants with one app each: segmentation, and the
//! number of queues.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use carillon_broker::{Broker, Event as _, Outgoing};
use carillon_domain::audience::Audience;
use carillon_domain::ids::{AppKey, NotificationId, TenantKey};
use carillon_domain::platform::{Lane, Platform};
use carillon_store::NewNotification;
use carillon_wire::events::{AcceptedNotification, DispatchChunks, NotificationsAccepted};
use carillon_wire::topology;
use futures::StreamExt as _;
use lapin::options::BasicAckOptions;
use uuid::Uuid;

use crate::Options;
use crate::b03_segmentation::alone;
use crate::database::Database;
use crate::fixture::notification;
use crate::growth;
use crate::pairs::Spread;
use crate::processes::Process;
use crate::queues::Bare;
use crate::report::{Row, say};
use crate::stack::Stack;

const LIMIT: Duration = Duration::from_secs(120);
/// Notifications of one wake-up.
const TOGETHER: usize = 64;

struct Tenants<'a> {
    stack: &'a Stack,
    database: Database,
    apps: Vec<(i32, i32)>,
    broker: Broker,
    bare: Bare,
    segmenter: Process,
    devices: usize,
}

impl<'a> Tenants<'a> {
    async fn start(stack: &'a Stack, tenants: usize, apps: usize, devices: usize) -> Result<Self> {
        let database = Database::empty(stack, &format!("bench_g3_{tenants}")).await?;
        let apps = database.apps(tenants, apps).await?;
        database.devices_of(&apps, devices).await?;
        let (broker, bare, segmenter) = alone(stack, &database).await?;
        Ok(Self { stack, database, apps, broker, bare, segmenter, devices })
    }

    /// A campaign of every app; the seconds until every chunk lies confirmed in the queue.
    async fn campaigns(&self) -> Result<f64> {
        self.bare.purge(topology::APNS_BULK.name()).await?;
        self.database.sql.batch_execute("CHECKPOINT").await?;
        let notification =
            notification(Audience { all: true, platforms: vec![Platform::Apns], ..Audience::default() })?;
        let body = carillon_wire::encode_body(&notification);
        let began = Instant::now();
        let mut ids = Vec::new();
        for group in self.apps.chunks(TOGETHER) {
            let new: Vec<NewNotification> = group.iter().map(|app| Self::campaign(*app, &body)).collect();
            self.database.store.accept_group(&new).await?;
            let item = |(new, (tenant_key, app_key)): (&NewNotification, &(i32, i32))| AcceptedNotification {
                id: new.notification_id.0.as_bytes().to_vec(),
                tenant_key: *tenant_key,
                app_key: *app_key,
                ..Default::default()
            };
            let event = NotificationsAccepted { notifications: new.iter().zip(group).map(item).collect() };
            self.broker.publisher().publish(Outgoing::to(topology::runs(Lane::Bulk), &event)).await?;
            ids.extend(new.iter().map(|new| new.notification_id.0));
        }
        let chunks = self.expanded(&ids, began).await?;
        let messages = self.collected(chunks, began).await?;
        let seconds = began.elapsed().as_secs_f64();
        // Or the scan publishes them again in a minute.
        self.database.sql.execute("DELETE FROM chunks WHERE run_id = ANY($1)", &[&ids]).await?;
        self.judge(&messages)?;
        Ok(seconds)
    }

    fn campaign((tenant_key, app_key): (i32, i32), body: &[u8]) -> NewNotification {
        NewNotification {
            notification_id: NotificationId(Uuid::now_v7()),
            tenant_key: TenantKey(tenant_key),
            app_key: AppKey(app_key),
            reference: None,
            body: body.to_vec(),
            lane: Lane::Bulk,
            scheduled_at: None,
            idempotency: None,
            traceparent: String::new(),
        }
    }

    /// How many chunks the runs have, once that is known.
    async fn expanded(&self, ids: &[Uuid], began: Instant) -> Result<u64> {
        let sql = "SELECT count(*) FILTER (WHERE NOT expanded), sum(next_chunk)::int8 FROM notifications WHERE notification_id = ANY($1)";
        let statement = self.database.sql.prepare(sql).await?;
        loop {
            let row = self.database.sql.query_one(&statement, &[&ids]).await?;
            let (open, chunks): (i64, i64) = (row.get(0), row.get(1));
            if open == 0 {
                return Ok(chunks as u64);
            }
            ensure!(began.elapsed() < LIMIT, "{open} campaigns are not expanded, {chunks} chunks");
            self.segmenter.check()?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The messages that hold so many chunks: several small ones may share one.
    async fn collected(&self, chunks: u64, began: Instant) -> Result<Vec<DispatchChunks>> {
        let (mut messages, mut there) = (Vec::new(), 0);
        let queue = topology::APNS_BULK.name();
        let mut consumer = self.bare.consume(queue, 200).await?;
        while there < chunks {
            let next = tokio::time::timeout(LIMIT.saturating_sub(began.elapsed()), consumer.next()).await;
            let delivery = next.with_context(|| format!("{there} of {chunks} chunks"))?.context("cancelled")??;
            let message = DispatchChunks::decode(&delivery.data)?;
            delivery.acker.ack(BasicAckOptions::default()).await?;
            there += message.chunks.len() as u64;
            messages.push(message);
        }
        self.bare.cancel(queue).await?;
        Ok(messages)
    }

    /// Every device is in exactly one chunk.
    fn judge(&self, messages: &[DispatchChunks]) -> Result<()> {
        let mut seen = vec![false; self.devices];
        for target in messages.iter().flat_map(|message| &message.chunks).flat_map(|chunk| &chunk.targets) {
            let ordinal = usize::from_str_radix(target.token.get(..16).context("a token")?, 16)?;
            let bit = seen.get_mut(ordinal).context("a device that is not there")?;
            ensure!(!std::mem::replace(bit, true), "device {ordinal} is in two chunks");
        }
        let lost = seen.iter().step_by(2).filter(|seen| !**seen).count();
        ensure!(lost == 0, "{lost} devices are in no chunk");
        Ok(())
    }

    fn queues(&self) -> Result<usize> {
        let mut command = Command::new(self.stack.root.join("deploy/local/stack.sh"));
        command.arg("ctl").arg(self.stack.directory.join("stack")).args(["-q", "list_queues", "name"]);
        let output = command.output().context("stack.sh")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let names = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(names.lines().filter(|name| !name.starts_with("bench.") && *name != "name" && !name.is_empty()).count())
    }
}

async fn arranged(
    options: &Options,
    stack: &Stack,
    tenants: usize,
    apps: usize,
    devices: usize,
) -> Result<(Spread, usize)> {
    let run = Tenants::start(stack, tenants, apps, devices).await?;
    run.campaigns().await?;
    let mut seconds = Vec::new();
    for _ in 0..options.pairs {
        seconds.push(run.campaigns().await?);
    }
    let (seconds, queues) = (Spread::of(seconds), run.queues()?);
    say(&format!(
        "    {tenants} tenants: {:.2} s for {apps} campaigns to {devices} devices, {queues} queues",
        seconds.median
    ));
    Ok((seconds, queues))
}

/// G3.
pub(crate) async fn run(options: &Options, stack: &Stack) -> Result<Row> {
    let (many, devices) = (options.size(1_000, 50), options.scaled(200_000, 2_000));
    let (one, queues) = arranged(options, stack, 1, many, devices).await?;
    let (all, queues_of_all) = arranged(options, stack, many, many, devices).await?;
    ensure!(queues == queues_of_all, "{queues} queues with one tenant, {queues_of_all} with {many}");
    let ratio = Spread { median: one.median / all.median, low: one.low / all.high, high: one.high / all.low };
    let mut row =
        Row::plain("G3", "tenants 1 to 1,000, same campaigns", "ratio", [0.85, 0.85, 0.97], ratio).may_be_faster();
    (row.ours, row.floor, row.pairs) = (all.median, one.median, options.pairs);
    row.growth.push(growth::entry(
        "tenants",
        "segmentation of as many campaigns, s",
        &[(1.0, one.median), (many as f64, all.median)],
    ));
    row.growth.push(growth::entry("tenants", "queues", &[(1.0, queues as f64), (many as f64, queues_of_all as f64)]));
    Ok(row.reference("seconds with one tenant of as many apps").bound_by("what each campaign costs by itself"))
}
