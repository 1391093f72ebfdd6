//! A database of one row of the bench, filled by its own server.

use anyhow::{Context as _, Result};
use carillon_store::Store;
use tokio_postgres::{Client, NoTls};

use crate::fixture::{APP, TAG, TENANT, apns_credential, seal};
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

    /// Devices `0..count`, every second one of FCM and the others with the tag [`TAG`], each of a user of its own. A token begins with the device's ordinal; persons
    /// are in no order, as in life, so that walking them in their order is not walking the table in its own.
    pub(crate) async fn devices(&self, count: usize) -> Result<()> {
        self.more_devices(0, count).await
    }

    /// Devices `from..to`.
    pub(crate) async fn more_devices(&self, from: usize, to: usize) -> Result<()> {
        let app = format!("(SELECT {}, {}) AS a(tenant_key, app_key)", self.tenant_key, self.app_key);
        self.fill(&format!("{app}, generate_series({from}, {to} - 1) AS i")).await
    }

    /// Devices `from..to` of an app beside the one.
    pub(crate) async fn devices_of_another_app(&self, from: usize, to: usize) -> Result<()> {
        let app = "INSERT INTO apps (tenant_key, app, public_key) VALUES ($1, 'other', 'cpk_other') RETURNING tenant_key, app_key";
        let row = self.sql.query_one(app, &[&self.tenant_key]).await?;
        let (tenant_key, app_key): (i32, i32) = (row.get(0), row.get(1));
        let app = format!("(SELECT {tenant_key}, {app_key}) AS a(tenant_key, app_key)");
        self.fill(&format!("{app}, generate_series({from}, {to} - 1) AS i")).await
    }

    /// Apps, each with an APNs credential that nobody opens, spread evenly over tenants; their keys.
    pub(crate) async fn apps(&self, tenants: usize, apps: usize) -> Result<Vec<(i32, i32)>> {
        let tenants =
            format!("INSERT INTO tenants (tenant) SELECT 'tenant-' || i FROM generate_series(1, {tenants}) AS i");
        self.sql.batch_execute(&tenants).await?;
        let statement = "
            WITH t AS (SELECT tenant_key, row_number() OVER (ORDER BY tenant_key) - 1 AS n, count(*) OVER () AS of FROM tenants)
            INSERT INTO apps (tenant_key, app, public_key)
            SELECT t.tenant_key, 'app-' || i, 'cpk_' || i FROM generate_series(0, $1::int8 - 1) AS i JOIN t ON t.n = i % t.of
            RETURNING tenant_key, app_key";
        let rows = self.sql.query(statement, &[&(apps as i64)]).await?;
        let sealed = seal("apns", "not used: nothing is sent")?;
        let credentials = "INSERT INTO credentials (app_key, platform, version, tenant_key, sealed, fingerprint)
                           SELECT app_key, 1, 1, tenant_key, $1, 'f' FROM apps";
        self.sql.execute(credentials, &[&sealed]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Gives every device so many tags more, before those that it has.
    pub(crate) async fn more_tags(&self, count: usize) -> Result<()> {
        let tags = format!(
            "UPDATE devices d SET tags = ARRAY(SELECT 'tag-' || (d.device_key * 31 + n * 7) % 1000 FROM generate_series(1, {count}) AS n) || d.tags"
        );
        self.sql.batch_execute(&tags).await?;
        // As if they had been registered so.
        self.sql.batch_execute("VACUUM FULL ANALYZE devices").await?;
        self.sql.batch_execute("CHECKPOINT").await.map_err(Into::into)
    }

    /// As many devices of each of these apps, `count` in all.
    pub(crate) async fn devices_of(&self, apps: &[(i32, i32)], count: usize) -> Result<()> {
        let each = count / apps.len();
        let values: Vec<String> =
            apps.iter().enumerate().map(|(n, (tenant, app))| format!("({tenant}, {app}, {n})")).collect();
        let apps = format!("(VALUES {}) AS a(tenant_key, app_key, n)", values.join(","));
        let series = format!("generate_series(a.n::int8 * {each}, (a.n::int8 + 1) * {each} - 1)");
        self.fill(&format!("{apps}, LATERAL {series} AS i")).await
    }

    /// Devices of what a `FROM` clause yields: `a.tenant_key`, `a.app_key`, and the ordinal `i`.
    async fn fill(&self, from: &str) -> Result<()> {
        let statement = format!(
            "INSERT INTO devices (tenant_key, app_key, device, person, platform, os, token, token_hash, user_id, locale, tags, environment)
             SELECT tenant_key, app_key, 'device-' || lpad(i::text, 12, '0'), 'u:' || u, 1 + i % 2, 1 + i % 2, t, sha256(t::bytea), u, 'en',
                    CASE WHEN i % 2 = 0 THEN '{{{TAG}}}'::text[] ELSE '{{summer}}' END, 1
             FROM (SELECT a.tenant_key, a.app_key, i, 'user-' || substr(md5(i::text), 1, 14) AS u,
                          lpad(to_hex(i), 16, '0') || md5('a' || i) || substr(md5('b' || i), 1, 16) AS t
                   FROM {from}) AS made"
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
