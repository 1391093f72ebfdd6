//! One platform for all platform tests of a run: each test has a tenant of its own.

use crate::environment::server;
use crate::replicas::{Replica, free_address};
use crate::{Environment, Service, Spans};
use carillon_broker::{Broker, Outgoing};
use carillon_domain::audience::Audience;
use carillon_domain::content::Content;
use carillon_domain::ids::{AppKey, NotificationId, TenantKey};
use carillon_domain::notification::Draft;
use carillon_runtime::CancellationToken;
use carillon_store::{NewNotification, Steered, Store};
use carillon_vault::{Context, Vault};
use carillon_wire::events::{AcceptedNotification, NotificationsAccepted};
use carillon_wire::topology;
use provider_sim::{ApnsKey, Query, Sim};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

const MASTER: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
const TEAM: &str = "TEAM123456";
const KEY_ID: &str = "KEY1234567";

/// A whole platform.
pub struct World {
    /// The providers.
    pub sim: Sim,
    /// The database, through the door that services use.
    pub store: Store,
    /// The database, for looking at rows.
    pub sql: Client,
    /// Where REST is served.
    pub ingest: SocketAddr,
    /// What the services export of traces; those that begin here are not recorded.
    pub spans: Spans,
    broker: Broker,
    replicas: Mutex<Vec<Replica>>,
    apns_key: String,
}

/// A device of a test.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Phone {
    /// Its public id.
    pub device: String,
    /// Its APNs token.
    pub token: String,
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime"))
}

impl World {
    /// What the operator shows ingest-api.
    pub const OPERATOR_KEY: &str = "cak_0123456789abcdefghijklmnopqrstuvwxyz";

    /// Runs a test against the world that all tests of this process share.
    pub fn run<F: Future<Output = ()>>(test: impl FnOnce(&'static World) -> F) {
        // One at a time: a test that kills a replica would take along what another one is watching.
        static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        static WORLD: OnceLock<World> = OnceLock::new();
        let world = WORLD.get_or_init(|| runtime().block_on(World::start()));
        runtime().block_on(test(world));
    }

    async fn start() -> World {
        let sim = Sim::start(provider_sim::Config::default()).await.expect("the simulators start");
        let database = server("CARILLON_DATABASE__URL");
        let admin = connect(&database).await;
        let name = format!("world_{}", Uuid::new_v4().simple());
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database can be made");
        let own = format!("{}/{name}", database.rsplit_once('/').expect("the URL names a database").0);
        let store = Store::open(&carillon_store::Config::new(own.clone()), "test").expect("the URL reads");
        store.migrate().await.expect("the migrations apply");

        let ca = std::env::temp_dir().join(format!("carillon-{name}.pem"));
        std::fs::write(&ca, sim.ca_pem()).expect("the authority can be written");
        let ledgers = [free_address(), free_address()];
        let amqp = server("CARILLON_AMQP__URL");
        let mut environment = Environment::default();
        for (key, value) in [
            ("AMQP__URL", amqp.clone()),
            ("DATABASE__URL", own.clone()),
            ("SECRETS__KEY", MASTER.into()),
            ("INTERNAL__TOKEN", "internal-token-of-the-tests".into()),
            ("LEDGER__URL", ledgers.map(|a| format!("http://{a}")).join(",")),
            ("TLS__EXTRA_CA", ca.display().to_string()),
            ("APNS__PRODUCTION_URL", sim.urls().apns.clone()),
            ("APNS__SANDBOX_URL", sim.urls().apns_sandbox.clone()),
            ("SEGMENTER__CHUNK_RECIPIENTS", "25".into()),
        ] {
            environment.set(key, value);
        }
        let (spans, collector) = Spans::collect().await;
        environment.set("TELEMETRY__SAMPLE_RATIO", "0");
        environment.set_foreign("OTEL_EXPORTER_OTLP_ENDPOINT", collector);
        environment.set_foreign("OTEL_BSP_SCHEDULE_DELAY", "100");
        let mut replicas = Vec::new();
        for ledger in ledgers {
            replicas.push(Service::StatusCollector.start(&environment.with("INTERNAL__LISTEN", ledger.to_string())));
        }
        for service in [Service::Segmenter, Service::Segmenter, Service::DispatcherApns, Service::DispatcherApns] {
            replicas.push(service.start(&environment));
        }
        let ingest = free_address();
        let doors =
            environment.with("HTTP__LISTEN", ingest.to_string()).with("GRPC__LISTEN", free_address().to_string());
        replicas.push(Service::IngestApi.start(&doors.with("OPERATOR__KEY", Self::OPERATOR_KEY)));
        let broker = Broker::connect(
            &carillon_broker::Config::new(amqp),
            "test",
            topology::topology(),
            CancellationToken::new(),
        )
        .expect("the broker's URL reads");
        let sql = connect(&own).await;
        let apns_key = register_key(&sim);
        World { sim, store, sql, ingest, spans, broker, replicas: Mutex::new(replicas), apns_key }
    }

    /// Kills one replica with SIGKILL, and starts another in its place.
    pub async fn kill_one(&self, service: Service) {
        let mut replicas = self.replicas.lock().await;
        let at = replicas.iter().position(|r| r.service == service).expect("such a replica runs");
        let killed = replicas.remove(at);
        replicas.push(killed.kill_and_replace());
    }

    /// A tenant of the test's own with an app and an APNs credential.
    pub async fn tenant(&'static self) -> Tenant {
        let tenant = format!("t{}", &Uuid::new_v4().simple().to_string()[..12]);
        let row = self.sql.query_one("INSERT INTO tenants (tenant) VALUES ($1) RETURNING tenant_key", &[&tenant]).await;
        let tenant_key: i32 = row.unwrap().get(0);
        let sql = "INSERT INTO apps (tenant_key, app, public_key) VALUES ($1, 'shop', $2) RETURNING app_key";
        let app_key: i32 = self.sql.query_one(sql, &[&tenant_key, &format!("cpk_{tenant}")]).await.unwrap().get(0);
        let plain = serde_json::json!({"auth": "token", "key_id": KEY_ID, "team_id": TEAM, "bundle_id": "com.example.shop",
            "private_key": self.apns_key});
        let vault = Vault::from_list(MASTER).and_then(|v| v.for_kind("apns")).expect("a vault");
        let context = Context { tenant: &tenant, app: Some("shop"), kind: "apns", version: 1 };
        let sealed = vault.seal(&context, plain.to_string().as_bytes()).expect("sealed");
        let sql = "INSERT INTO credentials (app_key, platform, version, tenant_key, sealed, fingerprint) VALUES ($1, 1, 1, $2, $3, 'f')";
        self.sql.execute(sql, &[&app_key, &tenant_key, &sealed]).await.unwrap();
        Tenant { world: self, name: tenant, tenant_key: TenantKey(tenant_key), app_key: AppKey(app_key) }
    }
}

/// A tenant of one test.
pub struct Tenant {
    world: &'static World,
    name: String,
    tenant_key: TenantKey,
    app_key: AppKey,
}

impl Tenant {
    /// Its id.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Registers devices of a user.
    pub async fn phones(&self, user: &str, count: usize) -> Vec<Phone> {
        let mut phones = Vec::with_capacity(count);
        for _ in 0..count {
            phones.push(self.phone(user, &format!("d-{}", Uuid::new_v4().simple())).await);
        }
        phones
    }

    /// Registers one device.
    pub async fn phone(&self, user: &str, device: &str) -> Phone {
        let token = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let sql = "INSERT INTO devices (tenant_key, app_key, device, person, platform, os, token, token_hash, user_id)
                   VALUES ($1, $2, $3, 'u:' || $4::text, 1, 1, $5, sha256($5::text::bytea), $4)";
        self.world.sql.execute(sql, &[&self.tenant_key.0, &self.app_key.0, &device, &user, &token]).await.unwrap();
        Phone { device: device.to_owned(), token }
    }

    /// Accepts a notification and wakes the segmenter, as ingest does.
    pub async fn send(&self, to: Audience) -> NotificationId {
        self.send_together(vec![(to, String::new())]).await[0]
    }

    /// Accepts notifications of one lane with their callers' traces and wakes the segmenter for all at once, as ingest does for
    /// what shares a commit.
    pub async fn send_together(&self, each: Vec<(Audience, String)>) -> Vec<NotificationId> {
        let lane = each[0].0.lane();
        let (mut items, mut woken) = (Vec::new(), Vec::new());
        for (to, traceparent) in each {
            let id = NotificationId(Uuid::now_v7());
            items.push(self.item(id, to));
            woken.push(AcceptedNotification {
                id: id.0.as_bytes().to_vec(),
                tenant_key: self.tenant_key.0,
                app_key: self.app_key.0,
                traceparent,
            });
        }
        self.world.store.accept_group(&items).await.expect("accepted");
        let event = NotificationsAccepted { notifications: woken };
        // A wake-up that is lost is made up for by the scan.
        let _ = self.world.broker.publisher().publish(Outgoing::to(topology::runs(lane), &event)).await;
        items.iter().map(|item| item.notification_id).collect()
    }

    /// Accepts a notification with its caller's trace, and wakes nobody, as an ingest does that dies right after the commit.
    pub async fn accept_and_die(&self, to: Audience, traceparent: String) -> NotificationId {
        let id = NotificationId(Uuid::now_v7());
        let item = NewNotification { traceparent, ..self.item(id, to) };
        self.world.store.accept_group(&[item]).await.expect("accepted");
        id
    }

    fn item(&self, id: NotificationId, to: Audience) -> NewNotification {
        let draft = Draft {
            app: "shop".into(),
            to,
            content: Content { title: Some("Hello".into()), ..Default::default() },
            ..Default::default()
        };
        let notification = draft.validate(jiff::Timestamp::now()).expect("a valid draft");
        NewNotification {
            notification_id: id,
            tenant_key: self.tenant_key,
            app_key: self.app_key,
            reference: None,
            body: carillon_wire::encode_body(&notification),
            lane: notification.draft().to.lane(),
            scheduled_at: None,
            idempotency: None,
            traceparent: String::new(),
        }
    }

    /// Pauses a notification, or resumes it, as ingest does.
    pub async fn pause(&self, id: NotificationId, pause: bool) {
        let store = &self.world.store;
        let steered = if pause {
            store.pause_notification(self.tenant_key, id, None).await
        } else {
            store.resume_notification(self.tenant_key, id, None).await
        };
        assert_eq!(steered.expect("the database answers"), Steered::Done);
    }

    /// How often each device was accepted for by the provider, by token.
    pub fn seen(&self, id: NotificationId) -> BTreeMap<String, usize> {
        let query = Query { notification_id: Some(id.0.to_string()), accepted: Some(true), ..Query::default() };
        let mut seen = BTreeMap::new();
        for record in self.world.sim.ledger().records(&query) {
            *seen.entry(record.token).or_default() += 1;
        }
        seen
    }

    /// The counters of a notification's pushes and its total: (total, sent, everything that is closed).
    pub async fn counts(&self, id: NotificationId) -> (i64, i64, i64) {
        let sql = "SELECT n.pushes, coalesce(sum(c.sent), 0)::int8,
                          coalesce(sum(c.sent + c.failed + c.expired + c.suppressed + c.cancelled), 0)::int8
                   FROM notifications n LEFT JOIN run_counters c ON c.run_id = n.run_id AND c.channel = 1
                   WHERE n.notification_id = $1 GROUP BY n.pushes";
        let row = self.world.sql.query_one(sql, &[&id.0]).await.unwrap();
        (row.get(0), row.get(1), row.get(2))
    }

    /// Whether the notification is marked as finished.
    pub async fn is_finished(&self, id: NotificationId) -> bool {
        let sql = "SELECT state = 5 FROM notifications WHERE notification_id = $1";
        self.world.sql.query_one(sql, &[&id.0]).await.unwrap().get(0)
    }

    /// Whether nothing of this tenant's that was committed waits to be told.
    pub async fn is_told(&self) -> bool {
        let sql = "SELECT NOT EXISTS (SELECT 1 FROM status_batches b, notifications n
                   WHERE n.tenant_key = $1 AND convert_from(b.changes, 'UTF8') LIKE '%' || n.run_id || '%')";
        self.world.sql.query_one(sql, &[&self.tenant_key.0]).await.unwrap().get(0)
    }

    /// The rows of the database, for what has no word here.
    pub fn sql(&self) -> &Client {
        &self.world.sql
    }

    /// The app's key.
    pub fn app_key(&self) -> i32 {
        self.app_key.0
    }
}

/// Waits until `check` says so, looking again and again; panics with `what` after half a minute.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    let start = Instant::now();
    while !check().await {
        assert!(start.elapsed() < Duration::from_secs(60), "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[allow(clippy::disallowed_methods, reason = "the connection of a test needs a driver")]
async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the database answers");
    tokio::spawn(connection);
    client
}

/// Makes a key known to the simulator, and returns its private half as Apple hands it out.
fn register_key(sim: &Sim) -> String {
    let key = ApnsKey {
        team_id: TEAM.into(),
        key_id: KEY_ID.into(),
        public_key: None,
        bundle_ids: vec!["com.example.shop".into()],
        environment: None,
    };
    sim.register_apns_key(key).expect("the simulator takes the key").expect("the simulator made the pair")
}
