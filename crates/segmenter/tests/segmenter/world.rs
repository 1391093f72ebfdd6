//! A database of the test's own, the broker that all share, and who collects what dispatchers would get.

use carillon_broker::{Broker, Delivery, Effects, Fault, Handler, Outgoing};
use carillon_domain::audience::Audience;
use carillon_domain::content::Content;
use carillon_domain::ids::{AppKey, NotificationId, TenantKey};
use carillon_domain::notification::Draft;
use carillon_domain::platform::Lane;
use carillon_runtime::{CancellationToken, TestScope};
use carillon_store::{NewNotification, Store};
use carillon_wire::events::{AcceptedNotification, DispatchChunk, DispatchChunks, NotificationsAccepted};
use carillon_wire::topology;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex as Guarded};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// One test after the other: the queues are everybody's.
static TURN: Mutex<()> = Mutex::const_new(());

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) sql: Client,
    pub(crate) tenant: TenantKey,
    pub(crate) app: AppKey,
    pub(crate) database: String,
    pub(crate) broker: Broker,
    received: Received,
    stop: CancellationToken,
    server: String,
    name: String,
    _turn: MutexGuard<'static, ()>,
}

/// What a dispatcher would get, and when.
#[derive(Clone, Default)]
struct Received(Arc<Guarded<Vec<(Timestamp, DispatchChunk)>>>);

impl Handler<DispatchChunks> for Received {
    async fn handle(&self, event: DispatchChunks, _: &Delivery) -> Result<Effects, Fault> {
        let now = Timestamp::now();
        self.0.lock().unwrap().extend(event.chunks.into_iter().map(|chunk| (now, chunk)));
        Ok(Vec::new())
    }
}

#[allow(clippy::disallowed_methods, reason = "tests are told their broker and database by the environment")]
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests with `make test`"))
}

#[allow(clippy::disallowed_methods, reason = "the connection of a test needs a driver")]
async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the database answers");
    tokio::spawn(connection);
    client
}

/// Everybody.
pub(crate) fn everybody() -> Audience {
    Audience { all: true, ..Default::default() }
}

/// One user, in the transactional lane.
pub(crate) fn user(name: &str) -> Audience {
    Audience { users: [name].into(), ..Default::default() }
}

impl World {
    pub(crate) async fn new() -> Self {
        let turn = TURN.lock().await;
        let server = variable("CARILLON_DATABASE__URL");
        let name = format!("segmenter_{}", Uuid::new_v4().simple());
        connect(&server).await.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
        let database = format!("{}/{name}", server.rsplit_once('/').expect("the URL names a database").0);
        let store = Store::open(&carillon_store::Config::new(database.clone()), "test").expect("the URL reads");
        store.migrate().await.expect("the migrations apply");
        let sql = connect(&database).await;
        let tenant = "INSERT INTO tenants (tenant) VALUES ('acme') RETURNING tenant_key";
        let tenant: i32 = sql.query_one(tenant, &[]).await.expect("a tenant").get(0);
        let app = "INSERT INTO apps (tenant_key, app, public_key) VALUES ($1, 'shop', 'cpk_x') RETURNING app_key";
        let app: i32 = sql.query_one(app, &[&tenant]).await.expect("an app").get(0);
        let (stop, received) = (CancellationToken::new(), Received::default());
        let config = carillon_broker::Config::new(variable("CARILLON_AMQP__URL"));
        let broker = Broker::connect(&config, "test", topology::topology(), stop.clone()).expect("a broker's URL");
        for queue in [&topology::APNS_TRANSACTIONAL, &topology::APNS_BULK] {
            broker.consume(queue, 200, 50, received.clone());
        }
        let (tenant, app) = (TenantKey(tenant), AppKey(app));
        Self { store, sql, tenant, app, database, broker, received, stop, server, name, _turn: turn }
    }

    /// A replica with small pages, that publishes all it plans.
    pub(crate) async fn replica(&self, database: &str) -> TestScope {
        self.replica_with(database, 100_000).await
    }

    /// A replica with small pages, that publishes so many chunks.
    pub(crate) async fn replica_with(&self, database: &str, outstanding_chunks: u32) -> TestScope {
        let scope = TestScope::new("segmenter");
        let variables = [
            ("CARILLON_AMQP__URL", variable("CARILLON_AMQP__URL")),
            ("CARILLON_DATABASE__URL", database.to_owned()),
            ("CARILLON_SEGMENTER__PAGE_RECIPIENTS", "10".to_owned()),
            ("CARILLON_SEGMENTER__OUTSTANDING_CHUNKS", outstanding_chunks.to_string()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        let config = carillon_runtime::config::load(None, variables).unwrap_or_else(|faults| panic!("{faults}"));
        segmenter::start(config, scope.scope()).await.expect("it starts");
        scope
    }

    /// Ends the world; its replicas have to be gone.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.broker.drained().await.expect("it drains");
        let Self { store, sql, server, name, .. } = self;
        drop((store, sql));
        connect(&server).await.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.expect("it goes");
    }

    /// Registers an APNs device each for so many users, `u000000` first.
    pub(crate) async fn people(&self, count: i32) {
        let sql = "INSERT INTO devices (tenant_key, app_key, device, person, platform, os, token, token_hash, user_id)
                   SELECT $1, $2, 'd' || i, 'u:' || u, 1, 1, 't' || i, sha256(('t' || i)::bytea), u
                   FROM generate_series(0, $3::int4 - 1) i, LATERAL (SELECT 'u' || lpad(i::text, 6, '0') AS u) n";
        self.sql.execute(sql, &[&self.tenant.0, &self.app.0, &count]).await.expect("devices");
    }

    /// Commits a notification, and wakes nobody.
    pub(crate) async fn accept(&self, to: Audience, at: Option<Timestamp>) -> NotificationId {
        let draft = Draft {
            app: "shop".into(),
            to,
            content: Content { title: Some("Hello".into()), ..Default::default() },
            ..Default::default()
        };
        let notification = draft.validate(Timestamp::now()).expect("a valid draft");
        let notification_id = NotificationId(Uuid::now_v7());
        let new = NewNotification {
            notification_id,
            tenant_key: self.tenant,
            app_key: self.app,
            reference: None,
            body: carillon_wire::encode_body(&notification),
            lane: notification.draft().to.lane(),
            scheduled_at: at,
            idempotency: None,
            traceparent: String::new(),
        };
        self.store.accept_group(&[new]).await.expect("accepted");
        notification_id
    }

    /// Wakes whoever consumes, for a page of a campaign if its number is given.
    pub(crate) async fn wake(&self, id: NotificationId, epoch: Option<i32>) {
        self.wake_in(Lane::Bulk, id, epoch).await;
    }

    /// The same in a lane.
    pub(crate) async fn wake_in(&self, lane: Lane, id: NotificationId, epoch: Option<i32>) {
        let accepted = AcceptedNotification {
            id: id.0.as_bytes().to_vec(),
            tenant_key: self.tenant.0,
            app_key: self.app.0,
            ..Default::default()
        };
        let event = NotificationsAccepted { notifications: vec![accepted] };
        let mut message = Outgoing::to(topology::runs(lane), &event);
        if let Some(epoch) = epoch {
            message = message.with_header("carillon-epoch", epoch.to_string());
        }
        let publishing = async { while self.broker.publisher().publish(message.clone()).await.is_err() {} };
        tokio::time::timeout(PATIENCE, publishing).await.expect("the broker takes it");
    }

    /// Pages committed, and whether all are, for one that nobody steered.
    pub(crate) async fn walk(&self, id: NotificationId) -> (i32, bool) {
        let sql = "SELECT epoch, expanded FROM notifications WHERE notification_id = $1";
        let row = self.sql.query_one(sql, &[&id.0]).await.unwrap();
        (row.get(0), row.get(1))
    }

    /// Recipients in chunk rows, and different ones.
    pub(crate) async fn chunked(&self, id: NotificationId) -> (i64, i64) {
        let sql = "SELECT count(*), count(DISTINCT substring(c.device_keys FROM i * 8 + 1 FOR 8))
                   FROM (SELECT device_keys || ''::bytea AS device_keys FROM chunks WHERE notification_id = $1 OFFSET 0) c,
                        generate_series(0, length(c.device_keys) / 8 - 1) i";
        let row = self.sql.query_one(sql, &[&id.0]).await.unwrap();
        (row.get(0), row.get(1))
    }

    /// When each message about the notification came, with its chunk.
    pub(crate) fn received(&self, id: NotificationId) -> Vec<(Timestamp, DispatchChunk)> {
        let all = self.received.0.lock().unwrap();
        all.iter().filter(|(_, chunk)| chunk.notification_id == id.0.as_bytes()).cloned().collect()
    }

    /// Whether a message came for every chunk row.
    pub(crate) async fn all_published(&self, id: NotificationId) -> bool {
        let sql = "SELECT count(*) FROM chunks WHERE notification_id = $1";
        let chunks: i64 = self.sql.query_one(sql, &[&id.0]).await.unwrap().get(0);
        let came: BTreeSet<u32> = self.received(id).iter().map(|(_, chunk)| chunk.chunk).collect();
        came.len() as i64 == chunks
    }

    pub(crate) async fn eventually(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let began = Instant::now();
        while !holds().await {
            assert!(began.elapsed() < PATIENCE, "not in time: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
