//! A database of one row of the bench, filled by its own server.

use anyhow::{Context as _, Result};
use carillon_store::Store;
use tokio_postgres::{Client, NoTls};

use crate::fixture::{APP, TENANT, apns_credential, seal};
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
    /// Makes it anew, with the tenant and the app.
    pub(crate) async fn create(stack: &Stack, name: &str) -> Result<Self> {
        let mut database = Self::empty(stack, name).await?;
        database.sql.execute("INSERT INTO tenants (tenant) VALUES ($1)", &[&TENANT]).await?;
        let statement =
            "INSERT INTO apps (tenant_key, app, public_key) SELECT tenant_key, $1, 'cpk_bench' FROM tenants";
        database.sql.execute(statement, &[&APP]).await?;
        database.read_keys().await?;
        Ok(database)
    }

    /// Reads what the one tenant and the one app are known by inside.
    pub(crate) async fn read_keys(&mut self) -> Result<()> {
        let row = self.sql.query_one("SELECT tenant_key, app_key FROM apps", &[]).await?;
        (self.tenant_key, self.app_key) = (row.get(0), row.get(1));
        Ok(())
    }

    /// Makes it anew, with the schema alone.
    pub(crate) async fn empty(stack: &Stack, name: &str) -> Result<Self> {
        let admin = connect(&stack.database).await?;
        admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        let url = format!("{}/{name}", stack.database.rsplit_once('/').context("the URL names a database")?.0);
        let store = Store::open(&carillon_store::Config::new(url.clone()), "bench")?;
        store.migrate().await?;
        let sql = connect(&url).await?;
        Ok(Self { url, store, sql, tenant_key: 0, app_key: 0 })
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
        self.credential(1, "apns", &apns_credential(private_key, key_id).to_string()).await
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
