//! A database of the test's own, with one tenant, one app and devices.

use carillon_domain::chunk::Positions;
use carillon_domain::delivery_status::{Reason, Status};
use carillon_domain::ids::{AppKey, ChunkId, NotificationId, RunId, TenantKey};
use carillon_domain::outcome::{Outcome, Progress, TokenVerdict};
use carillon_domain::platform::{Lane, Platform};
use carillon_store::{
    ChunkReport, Config, Granted, NewCascade, NewChunk, NewNotification, Page, Recipient, Reported, Selector,
    SelectorName, StatusChange, Store,
};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

pub(crate) struct World {
    /// As the ledger and the segmenter open it.
    pub(crate) store: Store,
    pub(crate) sql: Client,
    pub(crate) tenant: TenantKey,
    pub(crate) app: AppKey,
}

#[allow(clippy::disallowed_methods, reason = "tests find the database where `make test` says it is")]
pub(crate) fn url() -> String {
    std::env::var("CARILLON_DATABASE__URL").expect("CARILLON_DATABASE__URL is not set: run the tests with `make test`")
}

#[allow(clippy::disallowed_methods, reason = "the connection of a test needs a driver")]
async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the database answers");
    tokio::spawn(connection);
    client
}

impl World {
    /// A fresh, migrated database.
    pub(crate) async fn new() -> Self {
        let admin = connect(&url()).await;
        let name = format!("ledger_{}", Uuid::new_v4().simple());
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database can be made");
        let own = format!("{}/{name}", url().rsplit_once('/').expect("the URL names a database").0);
        let store = Store::open_for_work(&Config::new(own.clone()), "test").expect("the URL reads");
        store.migrate().await.expect("the migrations apply");
        let sql = connect(&own).await;
        let tenant: i32 = sql
            .query_one("INSERT INTO tenants (tenant) VALUES ('acme') RETURNING tenant_key", &[])
            .await
            .unwrap()
            .get(0);
        let app: i32 = sql
            .query_one(
                "INSERT INTO apps (tenant_key, app, public_key) VALUES ($1, 'shop', 'cpk_x') RETURNING app_key",
                &[&tenant],
            )
            .await
            .unwrap()
            .get(0);
        Self { store, sql, tenant: TenantKey(tenant), app: AppKey(app) }
    }

    /// A user's APNs device; returns its key.
    pub(crate) async fn device(&self, user: &str, device: &str) -> i64 {
        let token = format!("{:064x}", Uuid::new_v4().as_u128());
        self.sql
            .query_one(
                "INSERT INTO devices (tenant_key, app_key, device, person, platform, os, token, token_hash, user_id)
                 VALUES ($1, $2, $3, 'u:' || $4::text, 1, 1, $5, sha256($5::text::bytea), $4) RETURNING device_key",
                &[&self.tenant.0, &self.app.0, &device, &user, &token],
            )
            .await
            .unwrap()
            .get(0)
    }

    /// Another tenant with an app: their keys.
    pub(crate) async fn other_tenant(&self, tenant: &str) -> (i32, i32) {
        let sql = "WITH t AS (INSERT INTO tenants (tenant) VALUES ($1) RETURNING tenant_key)
                   INSERT INTO apps (tenant_key, app, public_key) SELECT tenant_key, 'shop', 'cpk_' || $1 FROM t
                   RETURNING tenant_key, app_key";
        let row = self.sql.query_one(sql, &[&tenant]).await.unwrap();
        (row.get(0), row.get(1))
    }

    /// Rows of bulk chunks to the same one device, due since `due` seconds ago, as a page of a campaign leaves them that had no credit.
    pub(crate) async fn waiting_chunks(&self, (tenant, app): (i32, i32), count: i32, due: i32) -> RunId {
        let run = RunId(Uuid::now_v7());
        self.sql
            .execute(
                "INSERT INTO notifications (notification_id, tenant_key, app_key, body, state, lane, run_id, run_started_at,
                    expires_at, expanded, next_chunk, pushes)
                 VALUES ($1, $2, $3, '', 2, 2, $1, now(), now() + interval '1 hour', true, $4::int4, $4::int4)",
                &[&run.0, &tenant, &app, &count],
            )
            .await
            .unwrap();
        self.sql
            .execute(
                "INSERT INTO chunks (run_id, chunk, notification_id, tenant_key, app_key, platform, lane, device_keys, states,
                    run_started_at, expires_at, due_at)
                 SELECT $1, i, $1, $2, $3, 1, 2, int8send(1), decode('00', 'hex'), now(), now() + interval '1 hour',
                    now() - $5::int4 * interval '1 second'
                 FROM generate_series(0, $4::int4 - 1) i",
                &[&run.0, &tenant, &app, &count, &due],
            )
            .await
            .unwrap();
        run
    }

    /// Accepts a notification.
    pub(crate) async fn accept(&self) -> NotificationId {
        let notification_id = NotificationId(Uuid::now_v7());
        let new = self.notification(notification_id);
        self.store.accept_group(&[new]).await.expect("accepted");
        notification_id
    }

    pub(crate) fn notification(&self, notification_id: NotificationId) -> NewNotification {
        NewNotification {
            notification_id,
            tenant_key: self.tenant,
            app_key: self.app,
            reference: None,
            body: vec![1, 2, 3],
            lane: Lane::Transactional,
            scheduled_at: None,
            idempotency: None,
            traceparent: String::new(),
        }
    }

    /// Expands a notification to one chunk of the users' devices; with `cascade`, also a cascade row each.
    pub(crate) async fn expand(&self, id: NotificationId, users: &[&str], cascade: Option<NewCascadeShape>) -> ChunkId {
        let (expansion, runs) = self.store.expand(&[id]).await.expect("expands");
        assert_eq!(runs.len(), 1, "the notification is due and nobody else works on it");
        let selectors: Vec<Selector> = users
            .iter()
            .map(|u| Selector { run: 0, app_key: self.app, name: SelectorName::User((*u).to_owned()) })
            .collect();
        let devices: Vec<Recipient> = expansion
            .select(&selectors, None, 1_000)
            .await
            .expect("selects")
            .found
            .into_iter()
            .map(|s| s.device)
            .collect();
        let now = expansion.now();
        let numbers: Vec<i32> =
            devices.iter().map(|d| users.iter().position(|u| d.person.user_id() == Some(u)).unwrap() as i32).collect();
        let cascades = cascade.map_or(Vec::new(), |shape| {
            users
                .iter()
                .enumerate()
                .map(|(i, user)| NewCascade {
                    person_number: i as i32,
                    person: carillon_domain::person::Person::user(user),
                    phone: Some("+48501502503".into()),
                    locale: None,
                    unless: shape.unless,
                    within: shape.within,
                    open_devices: numbers.iter().filter(|n| **n == i as i32).count() as i16,
                    fires: true,
                })
                .collect()
        });
        let page = Page {
            notification_id: id,
            tenant_key: self.tenant,
            app_key: self.app,
            lane: Lane::Transactional,
            run: id.as_run(),
            run_started_at: now,
            expires_at: now + jiff::SignedDuration::from_secs(3600),
            first_chunk: 0,
            chunks: vec![NewChunk {
                platform: Platform::Apns,
                devices: devices.iter().map(|d| d.key).collect(),
                person_numbers: cascade.map(|_| numbers),
                published: true,
                lease: None,
            }],
            suppressed: Vec::new(),
            cascades,
            persons: users.len() as i32,
            cursor: None,
            last: true,
            rests: false,
        };
        expansion.commit(vec![page], 0).await.expect("commits");
        ChunkId { run: id.as_run(), number: 0 }
    }

    /// A notification to users, ready to be claimed.
    pub(crate) async fn chunk(&self, users: &[&str]) -> ChunkId {
        let id = self.accept().await;
        self.expand(id, users, None).await
    }

    pub(crate) async fn claim(&self, chunk: ChunkId) -> Option<Granted> {
        let lease = (Uuid::new_v4().as_u128() as u64 >> 1) as i64;
        self.claim_with(chunk, None, lease).await
    }

    /// Claims with the lease that a copy was granted in advance.
    pub(crate) async fn claim_with(&self, chunk: ChunkId, advance_lease: Option<i64>, lease: i64) -> Option<Granted> {
        let asked = carillon_store::Asked { chunk, advance_lease };
        self.store.claim(&[asked], &[lease], false).await.expect("the ledger answers").0.remove(0)
    }

    pub(crate) async fn report(&self, chunk: ChunkId, lease: i64, outcomes: Vec<Outcome>, release: bool) -> Reported {
        self.store.report(&[ChunkReport { chunk, lease, outcomes, release }], 0).await.expect("the ledger takes it")
    }

    /// The status counts of a run's channel: sent, failed, cancelled, delivered, opened.
    pub(crate) async fn counts(&self, run: RunId, channel: i16) -> (i64, i64, i64, i64, i64) {
        let row = self
            .sql
            .query_one(
                "SELECT coalesce(sum(sent), 0)::int8, coalesce(sum(failed), 0)::int8, coalesce(sum(cancelled), 0)::int8,
                        coalesce(sum(delivered), 0)::int8, coalesce(sum(opened), 0)::int8
                 FROM run_counters WHERE run_id = $1 AND channel = $2",
                &[&run.0, &channel],
            )
            .await
            .unwrap();
        (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4))
    }

    /// What is to be told, and was not taken yet.
    pub(crate) async fn told(&self) -> Vec<StatusChange> {
        let batches = self.store.take_status_batches(100).await.unwrap();
        batches.into_iter().flat_map(|batch| batch.changes).collect()
    }

    pub(crate) async fn positions(&self, chunk: ChunkId) -> Positions {
        let row = self
            .sql
            .query_one(
                "SELECT states, not_before FROM chunks WHERE run_id = $1 AND chunk = $2",
                &[&chunk.run.0, &(chunk.number as i32)],
            )
            .await
            .unwrap();
        Positions::from_row(row.get(0), row.get(1))
    }

    pub(crate) async fn cascade_state(&self, run: RunId, person: i32) -> (i16, Option<f64>) {
        let row = self
            .sql
            .query_one(
                "SELECT state, extract(epoch FROM due_at - now())::float8 FROM cascades WHERE run_id = $1 AND person_number = $2",
                &[&run.0, &person],
            )
            .await
            .unwrap();
        (row.get(0), row.get(1))
    }
}

#[derive(Clone, Copy)]
pub(crate) struct NewCascadeShape {
    pub(crate) unless: carillon_domain::cascade::Unless,
    pub(crate) within: u32,
}

pub(crate) fn sent(position: u16) -> Outcome {
    closed(position, Status::Sent, None)
}

pub(crate) fn closed(position: u16, status: Status, reason: Option<Reason>) -> Outcome {
    Outcome {
        position,
        progress: Progress::Closed { status, reason, provider_id: None },
        token: TokenVerdict::Keep,
        generation: 1,
    }
}
