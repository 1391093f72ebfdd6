//! B4: what a push costs the APNs dispatcher, against a bare loop on the h2 crate that sends the same bytes. B4c: whether a provider that
//! takes 50 ms to answer is kept as busy as its streams allow.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use carillon_broker::{Broker, Outgoing};
use carillon_wire::events::DispatchChunks;
use carillon_wire::topology;
use serde_json::json;

use crate::fixture::{BUNDLE, Campaign, INTERNAL, MASTER, TEAM, provider_token};
use crate::floor_h2::Floor;
use crate::grants::Grants;
use crate::pairs::{By, Measured, Pairs, Spread};
use crate::processes::{Process, Settings};
use crate::queues::{self, Bare};
use crate::report::Row;
use crate::simulators::Simulators;
use crate::stack::Stack;
use crate::{Options, cpu};

const CONNECTIONS: usize = 2;
/// The engine's own bound for the bulk lane: three quarters of `dispatch.in_flight`.
const IN_FLIGHT: usize = 750;
const OURS: &str = "BENCHKEY01";
/// A key may not issue two tokens within 20 minutes, so the floor has its own.
const FLOORS: &str = "BENCHKEY02";
/// One measurement, with everything that can go wrong.
const LIMIT: Duration = Duration::from_secs(120);

struct Dispatch {
    simulators: Simulators,
    grants: Grants,
    broker: Broker,
    messages: Vec<DispatchChunks>,
    count: u64,
    requests: PathBuf,
    dispatcher: Process,
}

impl Dispatch {
    async fn start(stack: &Stack, count: usize, streams: u32, further: &[(&str, String)]) -> Result<Self> {
        let simulators = Simulators::start(&stack.directory, streams).await?;
        let ours = simulators.apns_key(TEAM, OURS, BUNDLE).await?;
        let floors = simulators.apns_key(TEAM, FLOORS, BUNDLE).await?;
        let grants = Grants::start().await?;
        let broker = queues::broker(&stack.amqp).await?;
        Bare::open(&stack.amqp).await?.purge(topology::APNS_BULK.name()).await?;
        let campaign = Campaign::apns(count, &ours, OURS)?;
        let requests = stack.directory.join("apns-requests");
        campaign.write_requests(&requests, &provider_token(&floors, FLOORS)?)?;
        let mut settings: Settings = [
            ("AMQP__URL", stack.amqp.clone()),
            ("SECRETS__KEY", MASTER.into()),
            ("INTERNAL__TOKEN", INTERNAL.into()),
            ("LEDGER__URL", format!("http://{}", grants.address)),
            ("TLS__EXTRA_CA", simulators.ca.display().to_string()),
            ("APNS__PRODUCTION_URL", simulators.url("apns")?.to_owned()),
            ("APNS__SANDBOX_URL", simulators.url("apns_sandbox")?.to_owned()),
            ("APNS__CONNECTIONS", CONNECTIONS.to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        settings.extend(further.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        let dispatcher = Process::service(&stack.directory, "dispatcher-apns", &settings).await?;
        let messages = campaign.messages();
        Ok(Self { simulators, grants, broker, messages, count: count as u64, requests, dispatcher })
    }

    /// One campaign through the dispatcher, from the first message published to the last result committed.
    async fn ours(&self) -> Result<Measured> {
        self.simulators.clear().await?;
        self.grants.reset(self.count);
        let outgoing = self.messages.iter().map(|message| Outgoing::to(&topology::APNS_BULK, message)).collect();
        let (before, began) = (cpu::of(self.dispatcher.pid)?, Instant::now());
        let confirmed = self.broker.publisher().publish_all(outgoing).await;
        ensure!(confirmed.iter().all(Result::is_ok), "chunks were not confirmed");
        self.grants.all_sent(LIMIT).await?;
        let wall = began.elapsed();
        let own = cpu::of(self.dispatcher.pid)? - before;
        self.dispatcher.check()?;
        self.judged(wall, own).await
    }

    async fn floor(&self) -> Result<Measured> {
        self.simulators.clear().await?;
        let floor = Floor {
            file: &self.requests,
            url: self.simulators.url("apns")?,
            ca: &self.simulators.ca,
            connections: CONNECTIONS,
            in_flight: IN_FLIGHT,
        };
        let (taken, wall, own) = floor.measure()?;
        ensure!(taken == self.count, "the floor: {taken} of {} were taken", self.count);
        self.judged(wall, own).await
    }

    async fn judged(&self, wall: Duration, own: Duration) -> Result<Measured> {
        let count = self.simulators.count("apns").await?;
        let duplicates = count.duplicates + (count.requests - count.accepted);
        let lost = self.count - count.tokens;
        Ok(Measured { units: self.count, wall, own, lost, duplicates, ..Measured::default() })
    }
}

/// B4.
pub(crate) async fn run(options: &Options, stack: &Stack) -> Result<Row> {
    let dispatch = Dispatch::start(stack, options.size(150_000, 3_000), 1000, &[]).await?;
    // The first one opens connections and signs.
    dispatch.ours().await?;
    let pairs = Pairs::measure(options.pairs, || dispatch.ours(), || dispatch.floor()).await?;
    let (now, peak) = cpu::memory(dispatch.dispatcher.pid)?;
    let by = By::Cost(Measured::own_us);
    let mut row = Row::of("B4", "APNs dispatch, CPU per push", "us/push", [0.50, 0.75, 0.90], by, &pairs);
    row.figures["memory_mib"] = json!({"now": now >> 20, "peak": peak >> 20});
    row.figures["reports_per_thousand"] = json!(dispatch.grants.reports() * 1000 / dispatch.count);
    Ok(row.reference("bare h2 loop in one thread, same bytes, connections and streams in flight"))
}

/// B4c.
pub(crate) async fn with_delay(options: &Options, stack: &Stack) -> Result<Row> {
    const STREAMS: u32 = 500;
    const DELAY_MS: u64 = 50;
    let window = f64::from(STREAMS) * CONNECTIONS as f64 / (DELAY_MS as f64 / 1000.0);
    // The bulk lane gets three quarters of what may be in flight.
    let in_flight = STREAMS as usize * CONNECTIONS * 4 / 3;
    let further = [("DISPATCH__IN_FLIGHT", in_flight.to_string()), ("DISPATCH__IN_FLIGHT_PER_CHUNK", "500".into())];
    let dispatch = Dispatch::start(stack, options.size(150_000, 3_000), STREAMS, &further).await?;
    dispatch.ours().await?;
    dispatch.simulators.conditions("apns", &json!({"delay_ms": DELAY_MS})).await?;
    let mut measured = Vec::new();
    for _ in 0..options.pairs {
        measured.push(dispatch.ours().await?);
    }
    let ratio = Spread::of(measured.iter().map(|one| one.rate() / window));
    let pairs = Pairs { ours: measured, ..Pairs::default() };
    let title = "APNs dispatch, provider takes 50 ms";
    let mut row = Row::of("B4c", title, "push/s", [0.70, 0.90, 0.97], By::Rate, &pairs);
    (row.floor, row.ratio) = (window, ratio);
    Ok(row.reference("streams x connections / delay"))
}
