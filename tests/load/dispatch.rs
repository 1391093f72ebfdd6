//! A dispatcher alone, with chunks waiting in its queue, a ledger that grants everything and a simulated provider; and its floor, a bare loop
//! on the h2 crate that sends the same bytes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use carillon_broker::{Broker, Outgoing};
use carillon_domain::platform::{Lane, Platform};
use carillon_wire::events::DispatchChunks;
use carillon_wire::topology;
use serde_json::json;

use crate::fixture::{BUNDLE, Campaign, INTERNAL, MASTER, PROJECT, TEAM, apns_credential};
use crate::floor_h2::Floor;
use crate::grants::Grants;
use crate::outside::{self, Outside};
use crate::pairs::Measured;
use crate::processes::{Process, Settings};
use crate::queues::{self, Bare};
use crate::simulators::Simulators;
use crate::stack::Stack;
use crate::subscriptions::Subscriptions;
use crate::{bearers, cpu, requests};

/// Connections to a provider with a thousand streams each.
pub(crate) const CONNECTIONS: usize = 2;
/// To one with a hundred each, so that as many requests can be in flight.
pub(crate) const MORE_CONNECTIONS: usize = 8;
/// The engine's own bound for the bulk lane: three quarters of `dispatch.in_flight`.
pub(crate) const IN_FLIGHT: usize = 750;
const OURS: &str = "BENCHKEY01";
/// A key may not issue two tokens within 20 minutes, so the floor has its own.
const FLOORS: &str = "BENCHKEY02";
/// One measurement, with everything that can go wrong.
const LIMIT: Duration = Duration::from_secs(120);

/// What is measured.
pub(crate) struct Dispatch {
    platform: Platform,
    pub(crate) simulators: Simulators,
    pub(crate) grants: Grants,
    broker: Broker,
    messages: Vec<DispatchChunks>,
    pub(crate) count: u64,
    requests: PathBuf,
    plaintexts: PathBuf,
    pub(crate) dispatcher: Process,
}

/// How a provider and its dispatcher are set up.
#[derive(Default)]
pub(crate) struct Setup<'a> {
    /// Devices of the campaign.
    pub(crate) count: usize,
    /// Streams of an APNs connection.
    pub(crate) streams: u32,
    /// Messages a second that the FCM project may send.
    pub(crate) quota: Option<u32>,
    /// Further settings of the dispatcher.
    pub(crate) further: &'a [(&'a str, String)],
}

impl Dispatch {
    /// Starts all of it; nothing is connected to the provider yet.
    pub(crate) async fn start(stack: &Stack, platform: Platform, setup: Setup<'_>) -> Result<Self> {
        let Setup { count, streams, quota, further } = setup;
        let simulators = Simulators::start(&stack.directory, streams).await?;
        let mut subscriptions = None;
        let (credential, bearer) = match platform {
            Platform::Apns => {
                let ours = simulators.apns_key(TEAM, OURS, BUNDLE).await?;
                let floors = simulators.apns_key(TEAM, FLOORS, BUNDLE).await?;
                (apns_credential(&ours, OURS), bearers::apns(&floors, FLOORS)?)
            }
            Platform::Webpush => {
                let pair = bearers::VapidPair::generate()?;
                subscriptions = Some(Subscriptions::create(&simulators, count).await?);
                (pair.credential(), pair.authorization(simulators.url("webpush")?)?)
            }
            _ => {
                let account = simulators.fcm_project(PROJECT, quota).await?;
                let bearer = bearers::fcm(&account, &simulators.ca).await?;
                (json!({"service_account": account}), bearer)
            }
        };
        let grants = Grants::start().await?;
        let broker = queues::broker(&stack.amqp).await?;
        Bare::open(&stack.amqp).await?.purge(topology::chunks(platform, Lane::Bulk).name()).await?;
        let mut campaign = Campaign::new(platform, count, &credential)?;
        campaign.subscriptions = subscriptions;
        let (requests_file, plaintexts) = (stack.directory.join("requests"), stack.directory.join("plaintexts"));
        requests::write(&campaign, &requests_file, &plaintexts, &bearer)?;
        let authority = |url: &str| url.split('/').nth(2).unwrap_or_default().to_owned();
        let token_host = authority(simulators.url("fcm_token")?);
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
            ("FCM__CONNECTIONS", MORE_CONNECTIONS.to_string()),
            ("FCM__MESSAGES_PER_MINUTE", "100000000".into()),
            ("WEBPUSH__ALLOW_HOSTS", authority(simulators.url("webpush")?)),
            ("WEBPUSH__CONNECTIONS", MORE_CONNECTIONS.to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        settings.extend(further.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        let service = format!("dispatcher-{}", platform.as_str());
        let dispatcher = Process::service(&stack.directory, &service, &settings).await?;
        let messages = campaign.messages();
        Ok(Self {
            platform,
            simulators,
            grants,
            broker,
            messages,
            count: count as u64,
            requests: requests_file,
            plaintexts,
            dispatcher,
        })
    }

    /// One campaign through the dispatcher, from the first message published to the last result committed.
    pub(crate) async fn ours(&self) -> Result<Measured> {
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

    /// The same requests from the bare loop.
    pub(crate) async fn floor(&self) -> Result<Measured> {
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

    /// Where Web Push's messages lie as they are before encryption, each with the keys to use.
    pub(crate) fn plaintexts(&self) -> PathBuf {
        self.plaintexts.clone()
    }

    /// h2load with the same requests; what it accepted twice is nobody's.
    pub(crate) async fn outside(&self) -> Result<Outside> {
        self.simulators.clear().await?;
        let url = self.simulators.url(self.platform.as_str())?;
        outside::h2load(&self.requests, url, self.connections(), IN_FLIGHT)
    }

    fn connections(&self) -> usize {
        if self.platform == Platform::Apns { CONNECTIONS } else { MORE_CONNECTIONS }
    }

    /// Requests over a quota are refused and come again: those are no duplicates.
    async fn judged(&self, wall: Duration, own: Duration) -> Result<Measured> {
        let count = self.simulators.count(self.platform.as_str()).await?;
        let duplicates = count.duplicates + (count.requests - count.accepted).saturating_sub(count.throttled);
        let lost = self.count - count.tokens;
        Ok(Measured { units: self.count, wall, own, lost, duplicates, ..Measured::default() })
    }
}
