//! A database of the test's own, a gateway, and services to start and to kill.

use carillon_domain::audience::Audience;
use carillon_domain::cascade::{CascadeLink, CascadeState, Sms, Unless};
use carillon_domain::content::Content;
use carillon_domain::delivery_status::{Evidence, Reason, Status};
use carillon_domain::ids::{AppKey, ChunkId, DeviceKey, NotificationId, RunId, TenantKey};
use carillon_domain::notification::Draft;
use carillon_domain::outcome::{Outcome, Progress, TokenVerdict};
use carillon_domain::person::Person;
use carillon_domain::platform::{Lane, Platform};
use carillon_domain::receipt::{CascadeEffect, Event};
use carillon_domain::reference::Reference;
use carillon_domain::span::Seconds;
use carillon_runtime::TestScope;
use carillon_store::{ChunkReport, NewCascade, NewChunk, NewNotification, NewSmsGateway, Page, ReceiptItem, Store};
use carillon_vault::{Context, Vault};
use provider_sim::{Provider, Query, Record, Sim, SmsAccount};
use std::time::{Duration, Instant};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
/// The token of the account that every world's gateway has.
pub(crate) const TOKEN: &str = "good-token";
/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) sql: Client,
    pub(crate) sim: Sim,
    pub(crate) tenant: TenantKey,
    pub(crate) app: AppKey,
    url: String,
    server: String,
    name: String,
}

/// Somebody a notification goes to.
#[derive(Clone)]
pub(crate) struct Somebody {
    pub(crate) phone: Option<String>,
    pub(crate) devices: usize,
}

/// A person with one device and a phone number of their own.
pub(crate) fn reachable(number: usize) -> Somebody {
    Somebody { phone: Some(phone(number)), devices: 1 }
}

pub(crate) fn phone(number: usize) -> String {
    format!("+48{}", 500_000_000 + number)
}

/// A notification under way; all its devices stand in one chunk, person by person.
pub(crate) struct Sent {
    pub(crate) run: RunId,
    pub(crate) chunk: ChunkId,
    pub(crate) devices: usize,
}

/// How a delivery and its cascade stand.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) state: CascadeState,
    pub(crate) status: Status,
    pub(crate) reason: Option<Reason>,
    pub provider_id: bool,
}

#[allow(clippy::disallowed_methods, reason = "tests find the database where `make test` says it is")]
fn server() -> String {
    std::env::var("CARILLON_DATABASE__URL").expect("CARILLON_DATABASE__URL is not set: run the tests with `make test`")
}

#[allow(clippy::disallowed_methods, reason = "the connection of a test needs a driver")]
async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the database answers");
    tokio::spawn(connection);
    client
}

impl World {
    /// A migrated database with a tenant, an app and one gateway `main`.
    pub(crate) async fn new() -> Self {
        let world = Self::without_gateway().await;
        world.gateway("main", TOKEN).await;
        world
    }

    pub(crate) async fn without_gateway() -> Self {
        let server = server();
        let name = format!("cascade_{}", Uuid::new_v4().simple());
        connect(&server).await.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
        let url = format!("{}/{name}", server.rsplit_once('/').expect("the URL names a database").0);
        let settings = serde_json::json!({ "url": url, "connections": 16 });
        let store = Store::open(&serde_json::from_value(settings).expect("settings"), "test").expect("the URL reads");
        store.migrate().await.expect("the migrations apply");
        let sql = connect(&url).await;
        let tenant = "INSERT INTO tenants (tenant) VALUES ('acme') RETURNING tenant_key";
        let tenant: i32 = sql.query_one(tenant, &[]).await.expect("a tenant").get(0);
        let app = "INSERT INTO apps (tenant_key, app, public_key) VALUES ($1, 'shop', 'cpk_x') RETURNING app_key";
        let app: i32 = sql.query_one(app, &[&tenant]).await.expect("an app").get(0);
        let sim = Sim::start(provider_sim::Config::default()).await.expect("a simulator");
        sim.register_sms_account(SmsAccount::new(TOKEN)).expect("an account");
        Self { store, sql, sim, tenant: TenantKey(tenant), app: AppKey(app), url, server, name }
    }

    pub(crate) async fn gateway(&self, gateway: &str, token: &str) {
        let vault = Vault::from_list(KEY).unwrap().for_kind("sms").unwrap();
        let context = Context { tenant: "acme", app: None, kind: "sms", version: 1 };
        let sealed = vault.seal(&context, serde_json::json!({ "token": token }).to_string().as_bytes()).unwrap();
        let new = NewSmsGateway {
            gateway,
            kind: "smsapi",
            sealed: &sealed,
            facts: &serde_json::json!({}),
            callback_secret: &Uuid::new_v4().simple().to_string(),
            version: 1,
        };
        self.store.put_sms_gateway(self.tenant, &new).await.unwrap().expect("a new gateway");
    }

    /// Ends the world.
    pub(crate) async fn end(self) {
        let Self { store, sql, server, name, sim, .. } = self;
        drop((store, sql));
        sim.stop().await;
        connect(&server).await.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.expect("it goes");
    }

    /// A replica of the service, with further settings.
    pub(crate) async fn service(&self, more: &[(&str, &str)]) -> TestScope {
        let scope = TestScope::new("sms-cascade");
        let own = [
            ("CARILLON_DATABASE__URL", self.url.as_str()),
            ("CARILLON_SECRETS__KEY", KEY),
            ("CARILLON_SMSAPI__URL", &self.sim.urls().sms),
            ("CARILLON_SMSAPI__TIMEOUT", "1s"),
            ("CARILLON_CASCADE__LEASE", "6s"),
            ("CARILLON_CASCADE__TICK", "20ms"),
        ];
        let variables = own.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let config = carillon_runtime::config::load(None, variables).unwrap_or_else(|faults| panic!("{faults}"));
        sms_cascade::start(config, scope.scope()).await.expect("it starts");
        scope
    }

    /// Accepts and expands a notification with a cascade.
    pub(crate) async fn send(&self, sms: Sms, within: u32, people: &[Somebody]) -> Sent {
        let id = NotificationId(Uuid::now_v7());
        let draft = Draft {
            app: "shop".into(),
            to: Audience { all: true, ..Default::default() },
            content: Content {
                title: Some("Order 17".into()),
                body: Some("It is on its way".into()),
                ..Default::default()
            },
            cascade: vec![CascadeLink { unless: Unless::Read, within: Seconds(within), sms }],
            ..Default::default()
        };
        let notification = draft.validate(jiff::Timestamp::now()).expect("a valid notification");
        let new = NewNotification {
            notification_id: id,
            tenant_key: self.tenant,
            app_key: self.app,
            reference: None,
            body: carillon_wire::encode_body(&notification),
            lane: Lane::Bulk,
            scheduled_at: None,
            idempotency: None,
            traceparent: String::new(),
        };
        self.store.accept_group(&[new]).await.expect("accepted");
        let devices = self.devices(people).await;
        let (expansion, runs) = self.store.expand(&[id]).await.expect("expands");
        assert_eq!(runs.len(), 1);
        let now = expansion.now();
        let cascades = people.iter().enumerate().map(|(i, somebody)| NewCascade {
            person_number: i as i32,
            person: Person::user(&format!("u{i}")),
            phone: somebody.phone.clone(),
            locale: None,
            unless: Unless::Read,
            within,
            open_devices: somebody.devices as i16,
            fires: true,
        });
        let chunk = NewChunk {
            platform: Platform::Apns,
            devices: devices.iter().map(|d| d.1).collect(),
            person_numbers: Some(devices.iter().map(|d| d.0).collect()),
            published: true,
            lease: None,
        };
        let page = Page {
            notification_id: id,
            tenant_key: self.tenant,
            app_key: self.app,
            lane: Lane::Bulk,
            run: id.as_run(),
            run_started_at: now,
            expires_at: now + jiff::SignedDuration::from_secs(3600),
            first_chunk: 0,
            chunks: if devices.is_empty() { Vec::new() } else { vec![chunk] },
            suppressed: Vec::new(),
            cascades: cascades.collect(),
            persons: people.len() as i32,
            cursor: None,
            last: true,
            rests: false,
        };
        expansion.commit(vec![page], 0).await.expect("commits");
        Sent { run: id.as_run(), chunk: ChunkId { run: id.as_run(), number: 0 }, devices: devices.len() }
    }

    async fn devices(&self, people: &[Somebody]) -> Vec<(i32, DeviceKey)> {
        let all: Vec<(i32, String)> = people
            .iter()
            .enumerate()
            .flat_map(|(i, somebody)| {
                (0..somebody.devices).map(move |d| (i as i32, format!("d{i}-{d}-{}", Uuid::new_v4())))
            })
            .collect();
        let (numbers, names): (Vec<i32>, Vec<String>) = all.into_iter().unzip();
        let users: Vec<String> = numbers.iter().map(|i| format!("u{i}")).collect();
        let sql = "
            INSERT INTO devices (tenant_key, app_key, device, person, platform, os, token, token_hash, user_id)
            SELECT $1, $2, device, 'u:' || user_id, 1, 1, device, sha256(device::bytea), user_id
            FROM unnest($3::text[], $4::text[]) WITH ORDINALITY AS d(device, user_id, i) ORDER BY i
            RETURNING device_key";
        let rows = self.sql.query(sql, &[&self.tenant.0, &self.app.0, &names, &users]).await.expect("devices");
        numbers.into_iter().zip(rows.iter().map(|row| DeviceKey(row.get(0)))).collect()
    }

    /// The provider accepts every push of a notification: clocks start.
    pub(crate) async fn accept_pushes(&self, sent: &Sent) {
        let lease = (Uuid::new_v4().as_u128() as u64 >> 1) as i64;
        let asked = carillon_store::Asked { chunk: sent.chunk, advance_lease: None };
        let granted = self.store.claim(&[asked], &[lease], false).await.expect("the ledger answers").0.remove(0);
        let granted = granted.expect("the chunk is free");
        let outcome = |(position, _)| Outcome {
            position,
            progress: Progress::Closed { status: Status::Sent, reason: None, provider_id: None },
            token: TokenVerdict::Keep,
            generation: 1,
        };
        let outcomes = granted.positions.into_iter().map(outcome).collect();
        let report = ChunkReport { chunk: sent.chunk, lease, outcomes, release: true };
        self.store.report(&[report], 0).await.expect("the ledger takes it");
    }

    /// Receipts of an open, by the positions of devices; what they did to cascades.
    pub(crate) async fn open(
        store: &Store,
        tenant: TenantKey,
        chunk: ChunkId,
        positions: &[usize],
    ) -> Vec<CascadeEffect> {
        let item = |position: &usize| ReceiptItem {
            app_scope: None,
            device_scope: None,
            notification_id: None,
            reference: Some(Reference { chunk, position: *position as u16 }),
            device: None,
            event: Event::Opened,
            at: None,
            action: None,
        };
        let items: Vec<ReceiptItem> = positions.iter().map(item).collect();
        let results = store.record_receipts(tenant, &items, 1).await.expect("receipts are taken");
        results.into_iter().map(|r| r.cascade).collect()
    }

    /// The messages that the gateway took.
    pub(crate) fn texts(&self) -> Vec<Record> {
        let query = Query { provider: Some(Provider::Sms), accepted: Some(true), ..Query::default() };
        self.sim.ledger().records(&query)
    }

    /// Waits until no cascade of the run waits or is being sent.
    pub(crate) async fn settled(&self, run: RunId) {
        self.eventually("cascades are settled", async || {
            let sql = "SELECT count(*) FROM cascades WHERE run_id = $1 AND state IN (1, 2)";
            self.sql.query_one(sql, &[&run.0]).await.unwrap().get::<_, i64>(0) == 0
        })
        .await;
    }

    pub(crate) async fn eventually(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let began = Instant::now();
        while !holds().await {
            assert!(began.elapsed() < PATIENCE, "not in time: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A person's cascade and text message.
    pub(crate) async fn standing(&self, run: RunId, person: i32) -> Standing {
        let sql = "
            SELECT c.state, d.bits, d.reason, d.provider_id IS NOT NULL
            FROM cascades c LEFT JOIN deliveries d ON d.run_id = c.run_id AND d.link = c.link AND d.subject = -1 - c.person_number
            WHERE c.run_id = $1 AND c.person_number = $2";
        let row = self.sql.query_one(sql, &[&run.0, &person]).await.unwrap();
        Standing {
            state: CascadeState::from_number(row.get(0)).unwrap(),
            status: Evidence(row.get::<_, Option<i16>>(1).unwrap_or(0) as u16).status(),
            reason: row.get::<_, Option<i16>>(2).and_then(Reason::from_number),
            provider_id: row.get(3),
        }
    }

    /// A count of a run's channel (1 push, 2 sms).
    pub(crate) async fn count(&self, run: RunId, channel: i16, column: &str) -> i64 {
        let sql =
            format!("SELECT coalesce(sum({column}), 0)::int8 FROM run_counters WHERE run_id = $1 AND channel = $2");
        self.sql.query_one(&sql, &[&run.0, &channel]).await.unwrap().get(0)
    }

    pub(crate) async fn finished(&self, run: RunId) -> bool {
        let sql = "SELECT state FROM notifications WHERE run_id = $1";
        self.sql.query_one(sql, &[&run.0]).await.unwrap().get::<_, i16>(0) == 5
    }
}
