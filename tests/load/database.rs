//! A database of one row of the bench, filled by its own server.

use anyhow::{Context as _, Result};
use carillon_store::Store;
use serde_json::json;
use tokio_postgres::{Client, NoTls};

use crate::fixture::{APP, BUNDLE, TEAM, TENANT, seal};
use crate::stack::Stack;

/// A schema with one tenant and one app.
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) store: Store,
    pub(crate) sql: Client,
    pub(crate) tenant_key: i32,
    pub(crate) app_key: i32,
}

impl Database {
    /// Makes it anew.
    pub(crate) async fn create(stack: &Stack, name: &str) -> Result<Self> {
        let admin = connect(&stack.database).await?;
        admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        let url = format!("{}/{name}", stack.database.rsplit_once('/').context("the URL names a database")?.0);
        let store = Store::open(&carillon_store::Config::new(url.clone()), "bench")?;
        store.migrate().await?;
        let sql = connect(&url).await?;
        let row = sql.query_one("INSERT INTO tenants (tenant) VALUES ($1) RETURNING tenant_key", &[&TENANT]).await?;
        let tenant_key: i32 = row.get(0);
        let statement = "INSERT INTO apps (tenant_key, app, public_key) VALUES ($1, $2, 'cpk_bench') RETURNING app_key";
        let app_key: i32 = sql.query_one(statement, &[&tenant_key, &APP]).await?.get(0);
        Ok(Self { url, store, sql, tenant_key, app_key })
    }

    /// A credential of the app, sealed as ingest-api does.
    pub(crate) async fn credential(&self, platform: i16, kind: &str, plain: &str) -> Result<()> {
        let sealed = seal(kind, plain)?;
        let statement = "INSERT INTO credentials (app_key, platform, version, tenant_key, sealed, fingerprint) VALUES ($1, $2, 1, $3, $4, 'f')";
        self.sql.execute(statement, &[&self.app_key, &platform, &self.tenant_key, &sealed]).await?;
        Ok(())
    }

    /// The app's APNs credential.
    pub(crate) async fn apns_credential(&self, key_id: &str, private_key: &str) -> Result<()> {
        let plain = json!({"auth": "token", "key_id": key_id, "team_id": TEAM, "bundle_id": BUNDLE, "private_key": private_key});
        self.credential(1, "apns", &plain.to_string()).await
    }

    /// Devices `0..count`, every second one of FCM, each of a user of its own. A token begins with the device's ordinal; persons
    /// are in no order, as in life, so that walking them in their order is not walking the table in its own.
    pub(crate) async fn devices(&self, count: usize) -> Result<()> {
        let statement = format!(
            "INSERT INTO devices (tenant_key, app_key, device, person, platform, os, token, token_hash, user_id, locale, tags, environment)
             SELECT {}, {}, 'device-' || lpad(i::text, 12, '0'), 'u:' || u, 1 + i % 2, 1 + i % 2, t, sha256(t::bytea), u, 'en', '{{vip}}', 1
             FROM (SELECT i, 'user-' || substr(md5(i::text), 1, 14) AS u,
                          lpad(to_hex(i), 16, '0') || md5('a' || i) || substr(md5('b' || i), 1, 16) AS t
                   FROM generate_series(0, {}) AS i) AS made",
            self.tenant_key,
            self.app_key,
            count - 1
        );
        self.sql.batch_execute(&statement).await?;
        self.sql.batch_execute("VACUUM ANALYZE devices").await?;
        self.sql.batch_execute("CHECKPOINT").await.map_err(Into::into)
    }
}

/// A connection.
#[allow(clippy::disallowed_methods, reason = "the driver of a connection ends with it")]
pub(crate) async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
