//! One service for all tests of this binary, with a database of its own; each test has a tenant of its own.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use carillon_broker::{Broker, Delivery, Effects, Fault, Handler};
use carillon_runtime::{CancellationToken, TestScope};
use carillon_vault::{ApiKey, ApiKeyKind};
use carillon_wire::events::NotificationsAccepted;
use carillon_wire::topology;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

const OPERATOR: &str = "cak_operator-of-the-tests-0123456789";
const PATIENCE: Duration = Duration::from_secs(20);

/// The service and what it runs on; lives as long as the test process.
pub(crate) struct World {
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) amqp_url: String,
    pub(crate) database_url: String,
    pub(crate) woken: Arc<Mutex<HashSet<Uuid>>>,
    _runtime: Runtime,
    _scope: TestScope,
    _broker: Broker,
}

static WORLD: LazyLock<World> = LazyLock::new(|| std::thread::spawn(World::start).join().expect("the service starts"));

#[allow(clippy::disallowed_methods, reason = "tests are told their broker and database by the environment")]
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `make test`, which starts what is needed"))
}

#[allow(clippy::disallowed_methods, reason = "the connection of a test lives as long as its runtime")]
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("PostgreSQL answers");
    tokio::spawn(connection);
    client
}

/// A new database; those of earlier runs that nobody uses any more go.
async fn make_database() -> String {
    let server = variable("CARILLON_DATABASE__URL");
    let client = connect(&server).await;
    let old = client.query("SELECT datname FROM pg_database WHERE datname LIKE 'test\\_ingest\\_%'", &[]).await;
    for row in old.expect("a list of databases") {
        // One that is in use refuses.
        let _ = client.batch_execute(&format!("DROP DATABASE {}", row.get::<_, String>(0))).await;
    }
    let name = format!("test_ingest_{}", Uuid::now_v7().simple());
    client.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
    let (head, _) = server.rsplit_once('/').expect("the URL ends with a database");
    format!("{head}/{name}")
}

/// The settings of a service on any free ports.
pub(crate) fn settings(database_url: &str, amqp_url: &str) -> ingest_api::Config {
    let settings = [
        ("CARILLON_DATABASE__URL", database_url),
        ("CARILLON_AMQP__URL", amqp_url),
        ("CARILLON_SECRETS__KEY", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
        ("CARILLON_OPERATOR__KEY", OPERATOR),
        ("CARILLON_HTTP__LISTEN", "127.0.0.1:0"),
        ("CARILLON_GRPC__LISTEN", "127.0.0.1:0"),
    ];
    carillon_runtime::config::load(None, settings).expect("settings")
}

impl World {
    pub(crate) fn get() -> &'static World {
        &WORLD
    }

    fn start() -> World {
        let runtime = Runtime::new().expect("a runtime");
        runtime.block_on(Self::start_in()).into_world(runtime)
    }

    async fn start_in() -> Parts {
        let (amqp_url, database_url) = (variable("CARILLON_AMQP__URL"), make_database().await);
        let store = serde_json::json!({ "url": database_url });
        let store = carillon_store::Store::open(&serde_json::from_value(store).expect("settings"), "test");
        store.expect("a pool").migrate().await.expect("a schema");
        let scope = TestScope::new("ingest-api");
        let ports =
            ingest_api::start_on(settings(&database_url, &amqp_url), scope.scope()).await.expect("the service starts");
        let woken = Arc::new(Mutex::new(HashSet::new()));
        let broker = Broker::connect(
            &carillon_broker::Config::new(&amqp_url),
            "test",
            topology::topology(),
            CancellationToken::new(),
        );
        let broker = broker.expect("a broker's URL");
        for queue in [&topology::RUNS_TRANSACTIONAL, &topology::RUNS_BULK] {
            broker.consume(queue, 64, 8, Wakes(woken.clone()));
        }
        Parts { ports, amqp_url, database_url, woken, scope, broker }
    }

    /// Waits until the segmenter would have been woken for a notification.
    pub(crate) async fn wakes(&self, id: Uuid) {
        let seen = || self.woken.lock().expect("a set").contains(&id);
        eventually("a wake-up", async || seen().then_some(())).await;
    }

    /// A connection for looking at rows behind the service's back.
    pub(crate) async fn sql(&self) -> Client {
        connect(&self.database_url).await
    }
}

struct Parts {
    ports: ingest_api::Ports,
    amqp_url: String,
    database_url: String,
    woken: Arc<Mutex<HashSet<Uuid>>>,
    scope: TestScope,
    broker: Broker,
}

impl Parts {
    fn into_world(self, runtime: Runtime) -> World {
        World {
            http: self.ports.http,
            grpc: self.ports.grpc,
            amqp_url: self.amqp_url,
            database_url: self.database_url,
            woken: self.woken,
            _runtime: runtime,
            _scope: self.scope,
            _broker: self.broker,
        }
    }
}

/// Notes whom the segmenter would be woken for.
struct Wakes(Arc<Mutex<HashSet<Uuid>>>);

impl Handler<NotificationsAccepted> for Wakes {
    async fn handle(&self, event: NotificationsAccepted, _: &Delivery) -> Result<Effects, Fault> {
        let ids = event.notifications.iter().filter_map(|one| Uuid::from_slice(&one.id).ok());
        self.0.lock().expect("a set").extend(ids);
        Ok(Vec::new())
    }
}

/// Asks again until there is an answer, at most for the patience of a test.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A tenant with one app `shop`, and keys.
pub(crate) struct Tenant {
    pub(crate) tenant_key: i32,
    pub(crate) app_key: i32,
    /// `csk_` with every scope.
    pub(crate) key: String,
    /// `cpk_` of the app.
    pub(crate) public_key: String,
    pub(crate) sql: Client,
}

impl Tenant {
    pub(crate) async fn new() -> Self {
        let sql = World::get().sql().await;
        let tenant = format!("t-{}", Uuid::now_v7().simple());
        let row = sql.query_one("INSERT INTO tenants (tenant) VALUES ($1) RETURNING tenant_key", &[&tenant]).await;
        let tenant_key: i32 = row.expect("a tenant").get(0);
        let public = ApiKey::mint(ApiKeyKind::Public).expect("a key");
        let row = sql
            .query_one(
                "INSERT INTO apps (tenant_key, app, public_key) VALUES ($1, 'shop', $2) RETURNING app_key",
                &[&tenant_key, &public.expose()],
            )
            .await;
        let app_key = row.expect("an app").get(0);
        let mut made = Self { tenant_key, app_key, key: String::new(), public_key: public.expose().to_owned(), sql };
        made.key = made.server_key(&["send", "devices", "read", "admin"], None).await;
        made
    }

    /// A key of the tenant's backend.
    pub(crate) async fn server_key(&self, scopes: &[&str], apps: Option<&[&str]>) -> String {
        let key = ApiKey::mint(ApiKeyKind::Server).expect("a key");
        let sql = "INSERT INTO api_keys (key_id, tenant_key, secret_hash, scopes, apps) VALUES ($1, $2, $3, $4, $5)";
        let made =
            self.sql.execute(sql, &[&Uuid::now_v7(), &self.tenant_key, &key.hash().as_slice(), &scopes, &apps]).await;
        made.expect("a key");
        key.expose().to_owned()
    }

    /// A credential, as far as accepting looks at it.
    pub(crate) async fn credential(&self, platform: i16) {
        let sql = "INSERT INTO credentials (app_key, platform, version, tenant_key, sealed, fingerprint)
                   VALUES ($1, $2, 1, $3, '', 'f')";
        self.sql.execute(sql, &[&self.app_key, &platform, &self.tenant_key]).await.expect("a credential");
    }

    /// Runs SQL that names the tenant as `$1`.
    pub(crate) async fn run(&self, sql: &str) {
        self.sql.execute(sql, &[&self.tenant_key]).await.expect("SQL");
    }

    /// Counts by SQL that names the tenant as `$1`.
    pub(crate) async fn count(&self, sql: &str) -> i64 {
        self.sql.query_one(sql, &[&self.tenant_key]).await.expect("a count").get(0)
    }
}
