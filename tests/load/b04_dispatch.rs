//! B4, B5: what a push costs the APNs and the FCM dispatcher, against a bare loop on the h2 crate that sends the same bytes. B4c: whether a provider that
//! takes 50 ms to answer is kept as busy as its streams allow.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use carillon_broker::{Broker, Outgoing};
use carillon_domain::platform::{Lane, Platform};
use carillon_wire::events::DispatchChunks;
use carillon_wire::topology;
use serde_json::json;

use crate::bearers;
use crate::fixture::{BUNDLE, Campaign, INTERNAL, MASTER, PROJECT, TEAM, apns_credential};
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
/// With 100 streams each, so that as many requests can be in flight.
const FCM_CONNECTIONS: usize = 8;
/// The engine's own bound for the bulk lane: three quarters of `dispatch.in_flight`.
const IN_FLIGHT: usize = 750;
const OURS: &str = "BENCHKEY01";
/// A key may not issue two tokens within 20 minutes, so the floor has its own.
const FLOORS: &str = "BENCHKEY02";
/// One measurement, with everything that can go wrong.
const LIMIT: Duration = Duration::from_secs(120);

struct Dispatch {
    platform: Platform,
    simulators: Simulators,
    grants: Grants,
    broker: Broker,
    messages: Vec<DispatchChunks>,
    count: u64,
    requests: PathBuf,
    dispatcher: Process,
}

impl Dispatch {
    async fn start(
        stack: &Stack,
        platform: Platform,
        count: usize,
        streams: u32,
        further: &[(&str, String)],
    ) -> Result<Self> {
        let simulators = Simulators::start(&stack.directory, streams).await?;
        let (credential, bearer) = match platform {
            Platform::Apns => {
                let ours = simulators.apns_key(TEAM, OURS, BUNDLE).await?;
                let floors = simulators.apns_key(TEAM, FLOORS, BUNDLE).await?;
                (apns_credential(&ours, OURS), bearers::apns(&floors, FLOORS)?)
            }
            _ => {
                let account = simulators.fcm_project(PROJECT).await?;
                let bearer = bearers::fcm(&account, &simulators.ca).await?;
                (json!({"service_account": account}), bearer)
            }
        };
        let grants = Grants::start().await?;
        let broker = queues::broker(&stack.amqp).await?;
        Bare::open(&stack.amqp).await?.purge(topology::chunks(platform, Lane::Bulk).name()).await?;
        let campaign = Campaign::new(platform, count, &credential)?;
        let requests = stack.directory.join("requests");
        campaign.write_requests(&requests, &bearer)?;
        let token_host = simulators.url("fcm_token")?.split('/').nth(2).unwrap_or_default().to_owned();
        let mut settings: Settings = [
            ("AMQP__URL", stack.amqp.clone()),
            ("SECRETS__KEY", MASTER.into()),
            ("INTERNAL__TOKEN", INTERNAL.into()),
            ("LEDGER__URL", format!("http://{}", grants.address)),
            ("TLS__EXTRA_CA", simulators.ca.display().to_string()),
            ("APNS__PRODUCTION_URL", simulators.url("apns")?.to_owned()),
            ("APNS__SANDBOX_URL", simulators.url("apns_sandbox")?.to_owned()),
            ("APNS__CONNECTIONS", CONNECTIONS.to_string()),
            ("FCM__URL", simulators.url("fcm")?.to_owned()),
            ("FCM__ALLOW_HOSTS", token_host),
            ("FCM__MESSAGES_PER_MINUTE", "100000000".into()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        settings.extend(further.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        let service = format!("dispatcher-{}", platform.as_str());
        let dispatcher = Process::service(&stack.directory, &service, &settings).await?;
        let messages = campaign.messages();
        Ok(Self { platform, simulators, grants, broker, messages, count: count as u64, requests, dispatcher })
    }

    /// One campaign through the dispatcher, from the first message published to the last result committed.
    async fn ours(&self) -> Result<Measured> {
        self.simulators.clear().await?;
        self.grants.reset(self.count);
        let outgoing = self
            .messages
            .iter()
            .map(|message| Outgoing::to(topology::chunks(self.platform, Lane::Bulk), message))
            .collect();
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
            url: self.simulators.url(self.platform.as_str())?,
            ca: &self.simulators.ca,
            connections: self.connections(),
            in_flight: IN_FLIGHT,
        };
        let (taken, wall, own) = floor.measure()?;
        ensure!(taken == self.count, "the floor: {taken} of {} were taken", self.count);
        self.judged(wall, own).await
    }

    fn connections(&self) -> usize {
        if self.platform == Platform::Apns { CONNECTIONS } else { FCM_CONNECTIONS }
    }

    async fn judged(&self, wall: Duration, own: Duration) -> Result<Measured> {
        let count = self.simulators.count(self.platform.as_str()).await?;
        let duplicates = count.duplicates + (count.requests - count.accepted);
        let lost = self.count - count.tokens;
        Ok(Measured { units: self.count, wall, own, lost, duplicates, ..Measured::default() })
    }
}

/// B4.
pub(crate) async fn run(options: &Options, stack: &Stack) -> Result<Row> {
    let dispatch = Dispatch::start(stack, Platform::Apns, options.size(150_000, 3_000), 1000, &[]).await?;
    // The first one opens connections and signs.
    dispatch.ours().await?;
    let pairs = Pairs::measure(options.pairs, || dispatch.ours(), || dispatch.floor()).await?;
    let (now, peak) = cpu::memory(dispatch.dispatcher.pid)?;
    let by = By::Cost(Measured::own_us);
    let mut row = Row::of("B4", "APNs dispatch, CPU per push", "us/push", [0.50, 0.75, 0.90], by, &pairs);
    row.figures["memory_mib"] = json!({"now": now >> 20, "peak": peak >> 20});
    row.figures["reports_per_thousand"] = json!(dispatch.grants.reports() * 1000 / dispatch.count);
    let row = row.reference("bare h2 loop in one thread, same bytes, connections and streams in flight");
    Ok(row.bound_by("CPU a push: the message's decoding, rendering, ids, timers, counters and its report"))
}

/// B5.
pub(crate) async fn fcm(options: &Options, stack: &Stack) -> Result<Row> {
    let connections = [("FCM__CONNECTIONS", FCM_CONNECTIONS.to_string())];
    let dispatch = Dispatch::start(stack, Platform::Fcm, options.size(100_000, 3_000), 1000, &connections).await?;
    dispatch.ours().await?;
    let pairs = Pairs::measure(options.pairs, || dispatch.ours(), || dispatch.floor()).await?;
    let by = By::Cost(Measured::own_us);
    let row = Row::of("B5", "FCM dispatch, CPU per push", "us/push", [0.50, 0.75, 0.90], by, &pairs);
    let row = row.reference("bare h2 loop in one thread, same bytes, connections and streams in flight");
    Ok(row.bound_by("CPU a push: the message's decoding, rendering, ids, timers, counters and its report"))
}

/// B4c.
pub(crate) async fn with_delay(options: &Options, stack: &Stack) -> Result<Row> {
    const STREAMS: u32 = 500;
    const DELAY_MS: u64 = 50;
    let window = f64::from(STREAMS) * CONNECTIONS as f64 / (DELAY_MS as f64 / 1000.0);
    // The bulk lane gets three quarters of what may be in flight.
    let in_flight = STREAMS as usize * CONNECTIONS * 4 / 3;
    let further = [("DISPATCH__IN_FLIGHT", in_flight.to_string()), ("DISPATCH__IN_FLIGHT_PER_CHUNK", "500".into())];
    let dispatch = Dispatch::start(stack, Platform::Apns, options.size(150_000, 3_000), STREAMS, &further).await?;
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
    Ok(row
        .reference("streams x connections / delay")
        .bound_by("the ends of chunks: the last of one is awaited while its streams rest"))
}
