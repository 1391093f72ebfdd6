//! B14: cascades whose time has come. How many a second are taken and their text messages sent when many are due at once, and how late the
//! gateway has each message when five thousand are due each second.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use carillon_domain::audience::Audience;
use carillon_domain::cascade::{CascadeLink, Sms, Unless};
use carillon_domain::ids::TenantKey;
use carillon_domain::span::Seconds;
use carillon_store::NewSmsGateway;
use carillon_vault::{Context, Vault};
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::database::Database;
use crate::fixture::{MASTER, TENANT, draft};
use crate::open_loop::percentile;
use crate::pairs::{By, Measured, Pairs, Spread};
use crate::processes::{Process, Settings};
use crate::report::{NONE, Row, say};
use crate::simulators::Simulators;
use crate::stack::Stack;
use crate::{Options, cpu};

const LIMIT: Duration = Duration::from_secs(120);
const TOKEN: &str = "token-of-the-bench";
/// Each is due this long after its push was sent.
const WITHIN: i32 = 60;
/// What must be kept up with, a second.
const OFFERED: usize = 5_000;
/// From the first row's writing to the instant at which the first is due, beside what the number of rows takes.
const AHEAD: Duration = Duration::from_secs(2);

struct Cascades<'a> {
    stack: &'a Stack,
    database: Database,
    simulators: Simulators,
    service: Process,
    body: Vec<u8>,
}

impl<'a> Cascades<'a> {
    async fn start(stack: &'a Stack) -> Result<Self> {
        let simulators = Simulators::start(&stack.directory, 1000).await?;
        simulators.sms_account(TOKEN).await?;
        let database = Database::create(stack, "bench_b14").await?;
        let vault =
            Vault::from_list(MASTER).and_then(|vault| vault.for_kind("sms")).map_err(|e| anyhow::anyhow!("{e}"))?;
        let context = Context { tenant: TENANT, app: None, kind: "sms", version: 1 };
        let plain = json!({"token": TOKEN}).to_string();
        let sealed = vault.seal(&context, plain.as_bytes()).map_err(|e| anyhow::anyhow!("{e}"))?;
        let new = NewSmsGateway {
            gateway: "main",
            kind: "smsapi",
            sealed: &sealed,
            facts: &json!({}),
            callback_secret: &Uuid::new_v4().simple().to_string(),
            version: 1,
        };
        database.store.put_sms_gateway(TenantKey(database.tenant_key), &new).await?.context("no gateway was made")?;
        let settings: Settings = [
            ("DATABASE__URL", database.url.clone()),
            ("SECRETS__KEY", MASTER.into()),
            ("SMSAPI__URL", simulators.url("sms")?.to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        let service = Process::service(&stack.directory, "sms-cascade", &settings).await?;
        let sms = Sms { text: Some("Order 17 is on its way".into()), ..Sms::default() };
        let link = CascadeLink { unless: Unless::Read, within: Seconds(WITHIN as u32), sms };
        let draft = carillon_domain::notification::Draft {
            cascade: vec![link],
            ..draft(Audience { all: true, ..Audience::default() })
        };
        let notification = draft.validate(Timestamp::now()).map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
        let body = carillon_wire::encode_body(&notification);
        Ok(Self { stack, database, simulators, service, body })
    }

    /// A run of which so many persons wait, the first of them due as soon as all are written, and then so many a second; all at once without a
    /// rate. Returns with the rows there, and says when the first is due.
    async fn wait_for(&self, count: usize, rate: Option<usize>, cancelled: bool) -> Result<(Uuid, Timestamp)> {
        let (run, d) = (Uuid::now_v7(), &self.database);
        self.database.sql.batch_execute("CHECKPOINT").await?;
        self.simulators.clear().await?;
        let from = Timestamp::now() + AHEAD + Duration::from_secs_f64(count as f64 / 20_000.0);
        let state: i16 = if cancelled { 4 } else { 2 };
        let notification = "
            INSERT INTO notifications (notification_id, tenant_key, app_key, body, state, lane, run_id, run_started_at, expires_at, expanded,
                pushes, next_person)
            VALUES ($1, $2, $3, $4, $5, 2, $1, now(), now() + interval '28 days', true, $6, $6::int8::int4)";
        let cascades = "
            INSERT INTO cascades (run_id, link, person_number, notification_id, tenant_key, app_key, person, phone, unless, within_seconds,
                open_devices, any_sent, released_at, first_sent_at, due_at)
            SELECT $1, 1, i, $1, $2, $3, 'u:user-' || i, '+48' || (500000000 + i), 4, $4::int4, 0, true, due - $4::int4 * interval '1 second',
                due - $4::int4 * interval '1 second', due
            FROM (SELECT i, $5::timestamptz + i * $6::float8 * interval '1 second' AS due FROM generate_series(0, $7::int4 - 1) AS i) AS made";
        let (between, rows) = (rate.map_or(0.0, |rate| 1.0 / rate as f64), count as i64);
        let sql = &self.database.sql;
        sql.execute(notification, &[&run, &d.tenant_key, &d.app_key, &self.body, &state, &rows]).await?;
        let within = WITHIN;
        sql.execute(cascades, &[&run, &d.tenant_key, &d.app_key, &within, &from, &between, &(count as i32)]).await?;
        ensure!(Timestamp::now() < from, "the rows were written after the first was due");
        Ok((run, from))
    }

    /// Until nobody of the run waits. The table is counted only once the gateway has heard of so many: counting it is work too.
    async fn settled(&self, run: Uuid, messages: u64) -> Result<()> {
        let began = Instant::now();
        while self.simulators.count("sms").await?.tokens < messages && began.elapsed() < LIMIT {
            self.service.check()?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let sql = "SELECT count(*) FROM cascades WHERE run_id = $1 AND state IN (1, 2)";
        loop {
            let left: i64 = self.database.sql.query_one(sql, &[&run]).await?.get(0);
            if left == 0 {
                return Ok(());
            }
            ensure!(began.elapsed() < LIMIT, "{left} cascades are left");
            self.service.check()?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// All of them due at once, at an instant at which they have been written.
    async fn at_once(&self, count: usize, cancelled: bool) -> Result<Measured> {
        let (run, from) = self.wait_for(count, None, cancelled).await?;
        tokio::time::sleep(Duration::try_from(from.duration_since(Timestamp::now())).unwrap_or_default()).await;
        let (own, postgres) = (cpu::of(self.service.pid)?, cpu::of_family(self.stack.postgres_pid)?);
        let began = Instant::now();
        let expected = if cancelled { 0 } else { count as u64 };
        self.settled(run, expected).await?;
        let wall = began.elapsed();
        let seen = self.simulators.count("sms").await?;
        Ok(Measured {
            units: count as u64,
            wall,
            own: cpu::of(self.service.pid)?.saturating_sub(own),
            postgres: cpu::of_family(self.stack.postgres_pid)?.saturating_sub(postgres),
            lost: expected.saturating_sub(seen.tokens),
            duplicates: seen.accepted.saturating_sub(expected),
            ..Measured::default()
        })
    }

    /// `rate` of them due each second: the seconds after which 99 of 100 were with the gateway.
    async fn late(&self, rate: usize, count: usize) -> Result<f64> {
        let (run, from) = self.wait_for(count, Some(rate), false).await?;
        self.settled(run, count as u64).await?;
        let mut late = HashMap::new();
        for seen in self.simulators.accepted("sms").await? {
            let digits = seen.token.trim_start_matches('+').strip_prefix("48").context("a number")?;
            let person = digits.parse::<usize>()?.checked_sub(500_000_000).context("a number")?;
            let due = from + Duration::from_secs_f64(person as f64 / rate as f64);
            let twice = late.insert(person, seen.at.duration_since(due).as_secs_f64());
            ensure!(twice.is_none(), "a person got two messages");
        }
        ensure!(late.len() == count, "{} of {count} got a message", late.len());
        let mut sorted: Vec<f64> = late.into_values().collect();
        sorted.sort_by(f64::total_cmp);
        Ok(percentile(&sorted, 99.0))
    }
}

/// B14.
pub(crate) async fn run(options: &Options, stack: &Stack) -> Result<Vec<Row>> {
    let cascades = Cascades::start(stack).await?;
    let count = options.size(40_000, 1_000);
    cascades.at_once(count / 4, false).await?;
    let (mut measured, mut late) = (Vec::new(), Vec::new());
    let offered = options.size(OFFERED, 500);
    for _ in 0..options.pairs {
        measured.push(cascades.at_once(count, false).await?);
        late.push(cascades.late(offered, count).await?);
        if let (Some(one), Some(late)) = (measured.last(), late.last()) {
            say(&format!(
                "    {:.0}/s, {:.1} us (all {:.1}); p99 {late:.2} s at {offered}/s",
                one.rate(),
                one.own_us(),
                one.all_us()
            ));
        }
    }
    let silent = cascades.at_once(count, true).await?;
    let easy = cascades.late(offered / 4, count / 4).await?;
    let pairs = Pairs { ours: measured, ..Pairs::default() };
    let rate = Spread::of(pairs.ours.iter().map(Measured::rate));
    let mut timers =
        Row::of("B14", "cascades due, to sent messages", "/s", [5_000.0, 20_000.0, NONE], By::Rate, &pairs);
    timers.ratio = rate;
    timers.figures["cancelled_per_second"] = json!(silent.rate().round());
    let bound = "PostgreSQL: four transactions for each group, and a request for each message";
    let lateness = Spread::of(late);
    let mut lateness =
        Row::plain("B14l", "p99 lateness at 5,000 due a second", "s", [2.0, 0.5, NONE], lateness).less_is_better();
    lateness.pairs = options.pairs;
    lateness.figures["p99_at_a_quarter_of_the_rate"] = json!(easy);
    Ok(vec![
        timers.reference("a bound, no floor").bound_by(bound),
        lateness
            .reference("a bound, no floor; from the instant it was due to the gateway's reading of it")
            .bound_by(bound),
    ])
}
