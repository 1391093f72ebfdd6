//! A database of a test's own, in the PostgreSQL that the environment names.

use carillon_domain::ids::{AppKey, TenantKey};
use carillon_store::{Config, Store};
use tokio_postgres::{Client, NoTls};

/// A migrated database with one tenant and one app; dropped by [`Database::drop_it`].
#[allow(dead_code, reason = "each of the test binaries uses its part")]
pub(crate) struct Database {
    pub(crate) store: Store,
    pub(crate) tenant: TenantKey,
    pub(crate) app: AppKey,
    /// For looking at rows behind the store's back.
    pub(crate) sql: Client,
    name: String,
    server: String,
}

#[allow(clippy::disallowed_methods, reason = "tests are told their database by the environment")]
fn server() -> String {
    std::env::var("CARILLON_DATABASE__URL").expect("CARILLON_DATABASE__URL names a PostgreSQL for tests")
}

#[allow(clippy::disallowed_methods, reason = "the connection of a test lives as long as its runtime")]
async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("PostgreSQL answers");
    tokio::spawn(connection);
    client
}

#[allow(dead_code, reason = "each of the test binaries uses its part")]
impl Database {
    pub(crate) async fn new() -> Self {
        let server = server();
        let name = format!("test_{}", uuid::Uuid::now_v7().simple());
        connect(&server).await.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
        let (head, _) = server.rsplit_once('/').expect("the URL ends with a database");
        let url = format!("{head}/{name}");
        let config: Config =
            serde_json::from_value(serde_json::json!({ "url": url, "connections": 16 })).expect("settings");
        let store = Store::open(&config, "test").expect("a pool");
        store.migrate().await.expect("a schema");
        let sql = connect(&url).await;
        let tenant = sql.query_one("INSERT INTO tenants (tenant) VALUES ('t') RETURNING tenant_key", &[]).await;
        let tenant: i32 = tenant.expect("a tenant").get(0);
        let app = sql
            .query_one(
                "INSERT INTO apps (tenant_key, app, public_key) VALUES ($1, 'shop', 'k') RETURNING app_key",
                &[&tenant],
            )
            .await;
        let app: i32 = app.expect("an app").get(0);
        Self { store, tenant: TenantKey(tenant), app: AppKey(app), sql, name, server }
    }

    pub(crate) async fn count(&self, condition: &str) -> i64 {
        let row = self.sql.query_one(&format!("SELECT count(*) FROM devices WHERE {condition}"), &[]).await;
        row.expect("a count").get(0)
    }

    /// Another connection.
    pub(crate) async fn connect(&self) -> Client {
        let (head, _) = self.server.rsplit_once('/').expect("the URL ends with a database");
        connect(&format!("{head}/{}", self.name)).await
    }

    pub(crate) async fn drop_it(self) {
        let Self { store, sql, name, server, .. } = self;
        drop((store, sql));
        let sql = format!("DROP DATABASE {name} WITH (FORCE)");
        connect(&server).await.batch_execute(&sql).await.expect("the database goes");
    }
}
