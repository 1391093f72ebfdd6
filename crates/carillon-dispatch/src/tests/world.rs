//! A dispatcher in a test: its ledger, a provider with a script, a clock that only waits move.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use carillon_broker::Fault;
use carillon_domain::device::Environment;
use carillon_domain::platform::{Lane, Platform};
use carillon_runtime::Clock;
use carillon_telemetry::Secret;
use carillon_vault::{Context, Vault};
use carillon_wire::events::{
    AdvanceGrant, Delivery, DispatchChunk, DispatchChunks, SealedCredential, Target, Variant, splice::What,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::ledger::{EPOCH_MS, FakeLedger};
use crate::credentials::Credentials;
use crate::dispatcher::Dispatcher;
use crate::engine::{Bounds, Engine, Shared};
use crate::ledger::{Ledger, Reporter};
use crate::metrics::Meters;
use crate::pace::Paces;
use crate::provider::{ChunkFacts, Message, Misconfigured, Provider, Quota, Verdict};
use crate::room::Room;

pub(super) const MASTER: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

/// Full chunks that may be in work.
pub(super) const ROOM: usize = 8;

/// What the provider does with a message: its verdict, from the token and how often the token was seen before.
type Judge = dyn Fn(&str, usize) -> Verdict + Send + Sync;

/// A provider is somebody else's system, so a test may script one.
pub(super) struct Scripted {
    judge: Box<Judge>,
    delay: Duration,
    quota: Option<Quota>,
    /// What so many preparations come to.
    unprepared: Option<(usize, Verdict)>,
    two_hosts: bool,
    pub(super) calls: Arc<Calls>,
}

#[derive(Default)]
pub(super) struct Calls {
    /// When which token was sent to, with which body.
    pub(super) seen: Mutex<Vec<(Instant, String, String)>>,
    flying: AtomicUsize,
    pub(super) most_flying: AtomicUsize,
    pub(super) prepared: AtomicUsize,
}

impl Calls {
    pub(super) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub(super) fn of(&self, token: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|(_, seen, _)| seen == token).count()
    }

    pub(super) fn last(&self) -> Instant {
        self.seen.lock().unwrap().last().unwrap().0
    }
}

impl Scripted {
    pub(super) fn new(judge: impl Fn(&str, usize) -> Verdict + Send + Sync + 'static) -> Self {
        Self {
            judge: Box::new(judge),
            delay: Duration::ZERO,
            quota: None,
            unprepared: None,
            two_hosts: false,
            calls: Arc::default(),
        }
    }

    pub(super) fn sends() -> Self {
        Self::new(|token, _| Verdict::Sent { provider_id: Some(format!("id of {token}")) })
    }

    pub(super) fn within(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    pub(super) fn unprepared(self, verdict: Verdict) -> Self {
        self.unprepared_at_first(usize::MAX, verdict)
    }

    pub(super) fn unprepared_at_first(mut self, times: usize, verdict: Verdict) -> Self {
        self.unprepared = Some((times, verdict));
        self
    }

    /// Tokens with an even number belong to one host, the others to another.
    pub(super) fn two_hosts(mut self) -> Self {
        self.two_hosts = true;
        self
    }

    pub(super) fn quota(mut self, per_second: f64) -> Self {
        self.quota = Some(Quota { key: "project".into(), per_second, burst: 1.0 });
        self
    }
}

impl Provider for Scripted {
    type Credential = ();
    type Prepared = ();

    fn open(&self, plaintext: &[u8]) -> Result<(), Misconfigured> {
        if plaintext == b"good" { Ok(()) } else { Err(Misconfigured("no good".into())) }
    }

    async fn prepare(&self, chunk: &ChunkFacts, _: &Arc<()>) -> Result<(), Verdict> {
        assert_ne!(chunk.app, "cursed");
        let before = self.calls.prepared.fetch_add(1, Ordering::SeqCst);
        let refused = self.unprepared.as_ref().filter(|(times, _)| before < *times);
        refused.map_or(Ok(()), |(_, verdict)| Err(verdict.clone()))
    }

    async fn send(&self, _: &(), message: Message<'_>) -> Verdict {
        let before = self.calls.of(message.token);
        let body = String::from_utf8(message.body.to_vec()).unwrap();
        self.calls.seen.lock().unwrap().push((Instant::now(), message.token.to_owned(), body));
        let flying = self.calls.flying.fetch_add(1, Ordering::SeqCst) + 1;
        self.calls.most_flying.fetch_max(flying, Ordering::SeqCst);
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        self.calls.flying.fetch_sub(1, Ordering::SeqCst);
        (self.judge)(message.token, before)
    }

    fn host<'a>(&self, token: &'a str, _: Environment) -> &'a str {
        let even = token.ends_with(|last: char| last.to_digit(10).is_some_and(|digit| digit % 2 == 0));
        if self.two_hosts && even { "even.example" } else { "" }
    }

    fn quota(&self, _: &()) -> Option<Quota> {
        self.quota.clone()
    }
}

pub(super) struct World {
    pub(super) ledger: Arc<FakeLedger>,
    pub(super) calls: Arc<Calls>,
    pub(super) stop: CancellationToken,
    pub(super) lost: CancellationToken,
    pub(super) dispatcher: Dispatcher<Scripted>,
    _tasks: JoinSet<()>,
}

impl World {
    pub(super) fn new(provider: Scripted) -> Self {
        Self::bounded(provider, 256, 1000)
    }

    pub(super) fn bounded(provider: Scripted, in_flight_per_chunk: usize, in_flight: usize) -> Self {
        let mut tasks = JoinSet::new();
        let ledger = FakeLedger::new();
        let channel = ledger.channel(&mut tasks);
        let client = Ledger::over(vec![channel], &Secret::new("internal"), Platform::Apns, Duration::from_secs(2));
        let client = Arc::new(client.unwrap());
        let (reporter, reports) = Reporter::new(Arc::clone(&client));
        tasks.spawn(reports.run());
        let (calls, stop) = (Arc::clone(&provider.calls), CancellationToken::new());
        let vault = Vault::from_list(MASTER).unwrap().for_kind("apns").unwrap();
        let shared = Shared {
            provider,
            ledger: client,
            reporter,
            credentials: Credentials::new(vault),
            paces: Paces::default(),
            bounds: Bounds { in_flight_per_chunk, send_timeout: Duration::from_secs(15) },
            clock: Clock::manual(jiff::Timestamp::from_millisecond(EPOCH_MS).unwrap()),
            stopping: stop.clone(),
        };
        let engine = Engine {
            shared: Arc::new(shared),
            lane: Lane::Bulk,
            room: Room::for_chunks(ROOM),
            permits: Arc::new(Semaphore::new(in_flight)),
            meters: Meters::new(Platform::Apns, Lane::Bulk, "dispatcher-apns.bulk"),
        };
        let (dispatcher, lost) = (Dispatcher::new(engine), CancellationToken::new());
        Self { ledger, calls, stop, lost, dispatcher, _tasks: tasks }
    }

    pub(super) async fn send(&self, chunks: Vec<DispatchChunk>) -> Result<(), Fault> {
        self.deliver(chunks, false).await
    }

    pub(super) async fn deliver(&self, chunks: Vec<DispatchChunk>, redelivered: bool) -> Result<(), Fault> {
        let event = DispatchChunks { chunks, published_at_ms: EPOCH_MS };
        self.dispatcher.work(event, redelivered, &self.lost).await
    }

    /// Lets everything happen that happens without waiting for this long.
    pub(super) async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// A chunk of this number with so many targets, of app `a`, that expires in an hour.
pub(super) fn chunk(number: u32, targets: u32) -> DispatchChunk {
    of_app("a", number, targets)
}

/// A credential of this app, sealed now.
pub(super) fn sealed_for(app: &str) -> Bytes {
    let vault = Vault::from_list(MASTER).unwrap().for_kind("apns").unwrap();
    let context = Context { tenant: "t", app: Some(app), kind: "apns", version: 1 };
    vault.seal(&context, b"good").unwrap().into()
}

pub(super) fn of_app(app: &str, number: u32, targets: u32) -> DispatchChunk {
    static SEALED: Mutex<BTreeMap<String, Bytes>> = Mutex::new(BTreeMap::new());
    // A credential is sealed once, however many chunks carry it.
    let sealed = SEALED.lock().unwrap().entry(app.to_owned()).or_insert_with(|| sealed_for(app)).clone();
    DispatchChunk {
        run_id: Uuid::from_u128(1).as_bytes().to_vec(),
        chunk: number,
        notification_id: Uuid::from_u128(1).as_bytes().to_vec(),
        tenant: "t".into(),
        app: app.into(),
        credential: Some(SealedCredential { version: 1, sealed }),
        released_at_ms: EPOCH_MS,
        expires_at_ms: EPOCH_MS + 3_600_000,
        delivery: Some(Delivery { shown: true, collapse_id: "c".into(), ..Default::default() }),
        variants: vec![variant(br#"{"d":""}"#, &[(6, What::Device)])],
        targets: (0..targets).map(target).collect(),
        ..Default::default()
    }
}

pub(super) fn variant(body: &'static [u8], splices: &[(u32, What)]) -> Variant {
    let splice = |(offset, what): &(u32, What)| carillon_wire::events::Splice { offset: *offset, what: *what as i32 };
    Variant { body: body.into(), splices: splices.iter().map(splice).collect() }
}

fn target(position: u32) -> Target {
    let name = format!("t{position}");
    Target { position, device: format!("d{position}"), generation: 3, token: name, ..Default::default() }
}

/// The same chunk, granted in advance by a ledger whose clock shows its beginning.
pub(super) fn granted(mut chunk: DispatchChunk) -> DispatchChunk {
    chunk.grant = Some(AdvanceGrant { lease: 99, granted_at_ms: EPOCH_MS, lease_ms: 3_000 });
    chunk
}
