//! B8: one call, half of the devices APNs' and half FCM's, to the final counters; against the sum of the floors. B11, memory under that
//! load, and B15, CPU for a million pushes, are read off the same runs. The simulators' CPU counts on neither side.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use carillon_broker::Event as _;
use carillon_domain::platform::Platform as Of;
use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::database::connect;
use crate::fixture::{BUNDLE, CHUNK, Campaign, TEAM, apns_credential};
use crate::floor_h2::Floor;
use crate::pairs::{By, Measured, Pairs, Spread};
use crate::platform::{ALL, Platform};
use crate::queues::Bare;
use crate::report::{NONE, REPORT, Row, say};
use crate::stack::Stack;
use crate::{Options, bearers, cpu, floor_copy, floor_publish, requests};

const LIMIT: Duration = Duration::from_secs(600);

struct EndToEnd<'a> {
    stack: &'a Stack,
    platform: Platform,
    count: usize,
    requests: [PathBuf; 2],
    chunks: PathBuf,
    copiers: Vec<Client>,
    keys: Vec<i64>,
    ids: Vec<String>,
    bare: Bare,
    /// CPU seconds by service, of every run.
    shares: Vec<BTreeMap<&'static str, f64>>,
}

impl<'a> EndToEnd<'a> {
    async fn start(stack: &'a Stack, count: usize) -> Result<Self> {
        let platform = Platform::start(stack, "bench_b8", ALL, count).await?;
        let simulators = &platform.simulators;
        let files = ["requests-apns", "requests-fcm"].map(|name| stack.directory.join(name));
        let key = simulators.apns_key(TEAM, "BENCHKEY02", BUNDLE).await?;
        let apns = Campaign::new(Of::Apns, count / 2, &apns_credential(&key, "BENCHKEY02"))?;
        let unused = stack.directory.join("plaintexts");
        requests::write(&apns, &files[0], &unused, &bearers::apns(&key, "BENCHKEY02")?)?;
        let account = platform.service_account.clone();
        let bearer = bearers::fcm(&account, &simulators.ca).await?;
        let fcm = Campaign::new(Of::Fcm, count / 2, &json!({"service_account": account}))?;
        requests::write(&fcm, &files[1], &unused, &bearer)?;
        let messages = [apns, fcm].iter().flat_map(Campaign::messages).collect::<Vec<_>>();
        let bodies = messages.iter().map(|message| message.encode().to_vec());
        let chunks = stack.directory.join("chunks");
        floor_publish::write(&chunks, &bodies.collect::<Vec<_>>())?;
        floor_copy::prepare(&platform.database.sql).await?;
        let rows = platform.database.sql.query("SELECT device_key FROM devices ORDER BY person", &[]).await?;
        let keys: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        let ids = keys.iter().map(|_| Uuid::new_v4().to_string()).collect();
        let copiers = vec![connect(&platform.database.url).await?, connect(&platform.database.url).await?];
        let bare = Bare::open(&stack.amqp).await?;
        bare.declare("bench.chunks").await?;
        Ok(Self { stack, platform, count, requests: files, chunks, copiers, keys, ids, bare, shares: Vec::new() })
    }

    async fn tidy(&self) -> Result<()> {
        self.platform.simulators.clear().await?;
        self.bare.purge("bench.chunks").await?;
        let sql = &self.platform.database.sql;
        sql.batch_execute("TRUNCATE copied, device_sends").await?;
        sql.batch_execute("CHECKPOINT").await.map_err(Into::into)
    }

    /// One call to everybody.
    async fn ours(&mut self) -> Result<Measured> {
        self.tidy().await?;
        let before = self.platform.spent()?;
        let body = json!({"app": "shop", "to": {"all": true}, "content": {"title": "Everything for the winter",
            "body": "From today until Sunday: coats, boots and sledges at half the price, in every shop.", "sound": "default",
            "data": {"campaign": "winter-26"}}});
        let accepted = self.platform.call("POST", "/v1/notifications", Some(&body)).await?;
        let id = accepted["id"].as_str().context("no id")?.to_owned();
        let counts = self.platform.finished(&id, LIMIT).await?;
        let after = self.platform.spent()?;
        let spent = after.since(&before);
        self.shares.push(spent.iter().map(|(name, cpu)| (*name, cpu.as_secs_f64())).collect());
        let count = self.count as u64;
        let (apns, fcm) = (self.platform.simulators.count("apns").await?, self.platform.simulators.count("fcm").await?);
        let counted = |name: &str| counts[name].as_u64().unwrap_or(0);
        ensure!(counted("total") == count && counted("sent") == count, "the counters say {counts}");
        Ok(Measured {
            units: count,
            wall: after.at.duration_since(before.at),
            own: spent.iter().map(|(_, cpu)| *cpu).sum(),
            postgres: after.postgres.saturating_sub(before.postgres),
            broker: after.broker.saturating_sub(before.broker),
            lost: count - apns.tokens - fcm.tokens,
            duplicates: apns.requests + fcm.requests - count,
        })
    }

    /// The floors one after the other: rows out and messages published, requests sent, rows in.
    async fn floor(&self) -> Result<Measured> {
        self.tidy().await?;
        let began = Instant::now();
        let (postgres, broker) = (cpu::of_family(self.stack.postgres_pid)?, cpu::of(self.stack.broker_pid)?);
        let query = format!(
            "SELECT * FROM devices d WHERE d.app_key = {} AND d.state IN (1, 2) ORDER BY d.person, d.device_key",
            self.platform.database.app_key
        );
        let file = self.chunks.display().to_string();
        let words = [&self.platform.database.url, &self.stack.amqp, &file, &query, "", "bench.chunks"];
        let mut own = floor_publish::measure(words)?.1;
        for (name, file, connections) in [("apns", &self.requests[0], 2), ("fcm", &self.requests[1], 8)] {
            let url = self.platform.simulators.url(name)?;
            let floor = Floor { file, url, ca: &self.platform.simulators.ca, connections, in_flight: 750 };
            let (taken, _, cpu) = floor.measure()?;
            ensure!(taken == self.count as u64 / 2, "the floor of {name}: {taken} were taken");
            own += cpu;
        }
        let copying = cpu::of(std::process::id())?;
        let tenant = self.platform.database.tenant_key;
        floor_copy::copy(&self.copiers, Uuid::now_v7(), tenant, &self.keys, &self.ids, CHUNK).await?;
        own += cpu::of(std::process::id())?.saturating_sub(copying);
        Ok(Measured {
            units: self.count as u64,
            wall: began.elapsed(),
            own,
            postgres: cpu::of_family(self.stack.postgres_pid)?.saturating_sub(postgres),
            broker: cpu::of(self.stack.broker_pid)?.saturating_sub(broker),
            ..Measured::default()
        })
    }

    /// CPU microseconds a push of each service, the median of all runs.
    fn shares(&self) -> Value {
        let names: Vec<&str> = self.shares.first().map(|run| run.keys().copied().collect()).unwrap_or_default();
        let share = |name: &str| {
            let runs = self.shares.iter().filter_map(|run| run.get(name));
            Spread::of(runs.map(|seconds| seconds * 1e6 / self.count as f64)).median
        };
        names.into_iter().map(|name| (name.to_owned(), json!(share(name)))).collect::<serde_json::Map<_, _>>().into()
    }
}

/// B8, with B15 and B11 in its figures.
pub(crate) async fn run(options: &Options, stack: &Stack) -> Result<Vec<Row>> {
    let count = options.scaled(1_000_000, 4_000);
    let mut run = EndToEnd::start(stack, count).await?;
    let idle = run.platform.memory()?;
    run.ours().await?;
    run.shares.clear();
    let mut pairs = Pairs::default();
    // A stage that keeps its shares cannot be lent to two closures at once.
    for i in 0..options.pairs {
        let (ours, floor) = if i % 2 == 0 {
            let ours = run.ours().await?;
            (ours, run.floor().await?)
        } else {
            let floor = run.floor().await?;
            (run.ours().await?, floor)
        };
        say(&format!(
            "    ours {:8.0}/s {:6.1} us ({:6.1} with PostgreSQL and broker)   floors {:6.1} us ({:6.1})",
            ours.rate(),
            ours.own_us(),
            ours.all_us(),
            floor.own_us(),
            floor.all_us()
        ));
        pairs.ours.push(ours);
        pairs.floor.push(floor);
    }
    let all = By::Cost(Measured::all_us);
    let mut end = Row::of("B8", "end to end, CPU against all floors", "us/push", [0.30, 0.55, 0.80], all, &pairs);
    end.figures["cpu_us_by_service"] = run.shares();
    let seconds_per_million = 1e6 / Spread::of(pairs.ours.iter().map(Measured::rate)).median;
    end.figures["devices"] = json!(count);
    end.figures["seconds_per_million"] = json!(seconds_per_million.round());
    let memory = run.platform.memory()?;
    let peak = |name: &str| memory[name]["peak"].as_f64().unwrap_or(0.0);
    end.figures["memory_mib"] = memory.clone();
    // What a busy minute leaves behind.
    tokio::time::sleep(Duration::from_secs(options.size(60, 0) as u64)).await;
    let rest = run.platform.memory()?;
    let most = |memory: &Value| {
        let services = memory.as_object().into_iter().flatten();
        services.filter_map(|(_, one)| one["now"].as_f64()).fold(0.0, f64::max)
    };
    let own = By::Cost(Measured::own_us);
    let mut cpu =
        Row::of("B15", "CPU seconds a million pushes, ours alone", "us/push", [0.40, 0.67, 0.80], own, &pairs);
    cpu.figures["with_postgres_and_broker"] = json!(pairs.ratio(all).median);
    let end = end.reference("sum of the floors' CPU").bound_by("PostgreSQL, then the dispatchers");
    let cpu = cpu.reference("sum of the floors' CPU").bound_by("the dispatchers, then the collector");
    let mut rows = vec![end, cpu];
    let limits = [
        ("B11d", "peak memory, dispatcher", peak("dispatcher-apns").max(peak("dispatcher-fcm")), [128.0, 64.0, 40.0]),
        ("B11s", "peak memory, segmenter", peak("segmenter"), [64.0, 32.0, 20.0]),
        ("B11c", "peak memory, collector", peak("status-collector"), [96.0, 48.0, 32.0]),
    ];
    let at_rest = [
        ("B11i", "idle memory, the largest service", most(&idle), [20.0, 12.0, NONE]),
        ("B11r", "memory 60 s later, the largest service", most(&rest), [REPORT, NONE, NONE]),
    ];
    for (id, title, mib, goals) in limits.into_iter().chain(at_rest) {
        let mut row = Row::plain(id, title, "MiB", goals, Spread { median: mib, low: mib, high: mib }).less_is_better();
        row.figures = json!({"idle_mib": idle, "loaded_mib": memory, "rest_mib": rest});
        rows.push(row);
    }
    Ok(rows)
}
