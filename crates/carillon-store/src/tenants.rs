//! Tenants, and the form that every listing has.

use crate::commit::commit;
use crate::steer::cancel_of_app;
use crate::{Result, Store};
use carillon_domain::ids::{AppKey, TenantKey};
use carillon_failpoint::Point;
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

/// Where a page of a listing ended: the time and the id of its last item. Listings are ordered newest first by both, so
/// rows that arrive meanwhile move nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor<Id> {
    /// When the last item was made.
    pub at: Timestamp,
    /// Its id, which decides between items of the same microsecond.
    pub id: Id,
}

/// Which page of a listing is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest<Id> {
    /// Items on the page, 1-500.
    pub limit: u32,
    /// The end of the page before; the first page without.
    pub after: Option<Cursor<Id>>,
}

impl<Id> PageRequest<Id> {
    /// One row more than the page holds tells whether another page follows.
    fn fetch(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// The three parameters every listing's statement ends with: time, id, rows.
    pub(crate) fn parts(&self) -> (Option<Timestamp>, Option<&Id>, i64) {
        (self.after.as_ref().map(|a| a.at), self.after.as_ref().map(|a| &a.id), self.fetch())
    }

    /// Cuts the rows of a listing to the page.
    pub(crate) fn cut<T>(
        &self,
        rows: &[Row],
        read: impl Fn(&Row) -> Result<T>,
        end: impl Fn(&T) -> Cursor<Id>,
    ) -> Result<Listed<T, Id>> {
        let limit = self.limit as usize;
        let items = rows.iter().take(limit).map(read).collect::<Result<Vec<T>>>()?;
        let next = if rows.len() > limit { items.last().map(end) } else { None };
        Ok(Listed { items, next })
    }
}

/// A page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T, Id = String> {
    /// The items, newest first.
    pub items: Vec<T>,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor<Id>>,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its number in tables and events.
    pub tenant_key: TenantKey,
    /// Its id.
    pub tenant: String,
    /// A name for people.
    pub name: Option<String>,
    /// The switch: off refuses registrations and sends.
    pub push_enabled: bool,
    /// IANA zone for recipients without one.
    pub default_timezone: Option<String>,
    /// ISO 3166 region for phone numbers without a country.
    pub default_region: Option<String>,
    /// BCP 47 locale for recipients without one.
    pub default_locale: Option<String>,
    /// Days that history is kept, 1-400.
    pub retention_days: i32,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What is to be changed of a tenant: the outer `None` leaves a field as it is, the inner one clears it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantChange {
    /// A name for people.
    pub name: Option<Option<String>>,
    /// The switch.
    pub push_enabled: Option<bool>,
    /// IANA zone.
    pub default_timezone: Option<Option<String>>,
    /// ISO 3166 region.
    pub default_region: Option<Option<String>>,
    /// BCP 47 locale.
    pub default_locale: Option<Option<String>>,
    /// Days that history is kept, 1-400.
    pub retention_days: Option<i32>,
}

/// What a tenant has at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantUsage {
    /// Apps.
    pub apps: i64,
    /// Installations that can be sent to.
    pub devices: i64,
    /// Keys that are neither revoked nor expired.
    pub keys: i64,
}

const PUT: &str = "
    INSERT INTO tenants AS t (tenant, name, push_enabled, default_timezone, default_region, default_locale, retention_days)
    VALUES ($1, $3, coalesce($4, true), $6, $8, $10, coalesce($11, 90))
    ON CONFLICT (tenant) DO UPDATE SET
        name = CASE WHEN $2 THEN $3 ELSE t.name END,
        push_enabled = coalesce($4, t.push_enabled),
        default_timezone = CASE WHEN $5 THEN $6 ELSE t.default_timezone END,
        default_region = CASE WHEN $7 THEN $8 ELSE t.default_region END,
        default_locale = CASE WHEN $9 THEN $10 ELSE t.default_locale END,
        retention_days = coalesce($11, t.retention_days)
    RETURNING tenant_key, tenant, name, push_enabled, default_timezone, default_region, default_locale, retention_days,
              created_at, xmax = 0";

const CHANGE: &str = "
    UPDATE tenants SET
        name = CASE WHEN $2 THEN $3 ELSE name END,
        push_enabled = coalesce($4, push_enabled),
        default_timezone = CASE WHEN $5 THEN $6 ELSE default_timezone END,
        default_region = CASE WHEN $7 THEN $8 ELSE default_region END,
        default_locale = CASE WHEN $9 THEN $10 ELSE default_locale END,
        retention_days = coalesce($11, retention_days)
    WHERE tenant = $1
    RETURNING tenant_key, tenant, name, push_enabled, default_timezone, default_region, default_locale, retention_days,
              created_at";

const GET: &str = "
    SELECT tenant_key, tenant, name, push_enabled, default_timezone, default_region, default_locale, retention_days, created_at
    FROM tenants WHERE tenant = $1";

const LIST: &str = "
    SELECT tenant_key, tenant, name, push_enabled, default_timezone, default_region, default_locale, retention_days, created_at
    FROM tenants
    WHERE $1::timestamptz IS NULL OR (created_at, tenant) < ($1, $2)
    ORDER BY created_at DESC, tenant DESC LIMIT $3";

const USAGE: &str = "
    SELECT (SELECT count(*) FROM apps WHERE tenant_key = $1),
           (SELECT count(*) FROM apps a JOIN tenants t ON t.tenant_key = a.tenant_key AND t.push_enabled
            JOIN devices d ON d.app_key = a.app_key AND d.state <> 5
            WHERE a.tenant_key = $1 AND a.push_enabled AND d.tenant_key = $1 AND d.state = 1),
           (SELECT count(*) FROM api_keys WHERE tenant_key = $1 AND revoked_at IS NULL
                                            AND (expires_at IS NULL OR expires_at > now()))";

const ERASE_DEVICES: &str = "
    DELETE FROM devices WHERE tenant_key = $1 AND device_key IN (
        SELECT device_key FROM devices WHERE app_key = $2 AND tenant_key = $1 AND state <> 5 LIMIT $3)";

impl Store {
    /// Makes a tenant, or changes the given fields of the one that is there; says whether it is new.
    pub async fn put_tenant(&self, tenant: &str, change: &TenantChange) -> Result<(Tenant, bool)> {
        let row = self.write_row(Point::SetupCommit, PUT, &Change::of(change).parameters(&tenant)).await?;
        Ok((read_tenant(&row)?, row.try_get(9)?))
    }

    /// Changes the given fields; nothing when there is no such tenant.
    pub async fn change_tenant(&self, tenant: &str, change: &TenantChange) -> Result<Option<Tenant>> {
        self.write_maybe_row(Point::SetupCommit, CHANGE, &Change::of(change).parameters(&tenant))
            .await?
            .as_ref()
            .map(read_tenant)
            .transpose()
    }

    /// One tenant.
    pub async fn tenant(&self, tenant: &str) -> Result<Option<Tenant>> {
        self.maybe_row(GET, &[&tenant]).await?.as_ref().map(read_tenant).transpose()
    }

    /// A page of all tenants.
    pub async fn list_tenants(&self, page: &PageRequest<String>) -> Result<Listed<Tenant>> {
        let (at, id, rows) = page.parts();
        let rows = self.rows(LIST, &[&at, &id, &rows]).await?;
        page.cut(&rows, read_tenant, |t| Cursor { at: t.created_at, id: t.tenant.clone() })
    }

    /// Deletes a tenant with its keys, apps and credentials; false when there is none. What was not sent of its notifications is cancelled
    /// with it. Its devices are deleted before, in pages, by [`Store::erase_devices`].
    pub async fn delete_tenant(&self, tenant: &str) -> Result<bool> {
        let mut connection = self.connection().await?;
        let transaction = connection.transaction().await?;
        let found = transaction.query_opt("SELECT tenant_key FROM tenants WHERE tenant = $1", &[&tenant]).await?;
        let Some(tenant_key) = found.map(|row| TenantKey(row.get(0))) else { return Ok(false) };
        cancel_of_app(&transaction, tenant_key, None).await?;
        let deleted = transaction.execute("DELETE FROM tenants WHERE tenant_key = $1", &[&tenant_key.0]).await?;
        commit(transaction, Point::SetupCommit).await?;
        Ok(deleted > 0)
    }

    /// Deletes up to `limit` devices of an app, so that no transaction grows with the audience; returns how many it were.
    pub async fn erase_devices(&self, tenant_key: TenantKey, app_key: AppKey, limit: u32) -> Result<u64> {
        self.write_count(Point::PurgeCommit, ERASE_DEVICES, &[&tenant_key.0, &app_key.0, &i64::from(limit)]).await
    }

    /// What a tenant has at the moment.
    pub async fn tenant_usage(&self, tenant_key: TenantKey) -> Result<TenantUsage> {
        let row = self.row(USAGE, &[&tenant_key.0]).await?;
        Ok(TenantUsage { apps: row.try_get(0)?, devices: row.try_get(1)?, keys: row.try_get(2)? })
    }
}

/// A change as statements take it: whether a field is given, and its value.
struct Change<'a> {
    name: (bool, Option<&'a str>),
    push_enabled: Option<bool>,
    timezone: (bool, Option<&'a str>),
    region: (bool, Option<&'a str>),
    locale: (bool, Option<&'a str>),
    retention_days: Option<i32>,
}

impl<'a> Change<'a> {
    fn of(change: &'a TenantChange) -> Self {
        fn field(change: &Option<Option<String>>) -> (bool, Option<&str>) {
            (change.is_some(), change.as_ref().and_then(Option::as_deref))
        }
        Self {
            name: field(&change.name),
            push_enabled: change.push_enabled,
            timezone: field(&change.default_timezone),
            region: field(&change.default_region),
            locale: field(&change.default_locale),
            retention_days: change.retention_days,
        }
    }

    fn parameters<'b>(&'b self, tenant: &'b (dyn ToSql + Sync)) -> [&'b (dyn ToSql + Sync); 11] {
        [
            tenant,
            &self.name.0,
            &self.name.1,
            &self.push_enabled,
            &self.timezone.0,
            &self.timezone.1,
            &self.region.0,
            &self.region.1,
            &self.locale.0,
            &self.locale.1,
            &self.retention_days,
        ]
    }
}

fn read_tenant(row: &Row) -> Result<Tenant> {
    Ok(Tenant {
        tenant_key: TenantKey(row.try_get(0)?),
        tenant: row.try_get(1)?,
        name: row.try_get(2)?,
        push_enabled: row.try_get(3)?,
        default_timezone: row.try_get(4)?,
        default_region: row.try_get(5)?,
        default_locale: row.try_get(6)?,
        retention_days: row.try_get(7)?,
        created_at: row.try_get(8)?,
    })
}
