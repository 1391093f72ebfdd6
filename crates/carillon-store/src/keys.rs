//! Who may call: API keys, the broker's users, and whom a key's hash belongs to.

use crate::{Cursor, Listed, PageRequest, Result, Store};
use carillon_domain::ids::{AppKey, DeviceKey, TenantKey};
use carillon_failpoint::Point;
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

/// An API key as its owner sees it: everything but the secret, of which only the hash is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyRecord {
    /// Its id.
    pub key_id: Uuid,
    /// A name for people.
    pub name: Option<String>,
    /// What it may do.
    pub scopes: Vec<String>,
    /// The only apps it may touch; all of the tenant's without.
    pub apps: Option<Vec<String>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewApiKey<'a> {
    /// Its id, minted by the caller.
    pub key_id: Uuid,
    /// Whose; an operator's key has no tenant.
    pub tenant_key: Option<TenantKey>,
    /// SHA-256 of the secret.
    pub secret_hash: [u8; 32],
    /// A name for people.
    pub name: Option<&'a str>,
    /// What it may do.
    pub scopes: &'a [String],
    /// The only apps it may touch.
    pub apps: Option<&'a [String]>,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// What rotating a key came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotated {
    /// The new key, and when the old one ends.
    Done {
        /// The new key; it may do what the old one may.
        new: ApiKeyRecord,
        /// When the old key ends.
        old_expires_at: Timestamp,
    },
    /// The key is revoked or expired: there is nothing to rotate.
    Ended,
    /// The tenant has no such key.
    Unknown,
}

/// Whom a live key belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOwner {
    /// The key's id.
    pub key_id: Uuid,
    /// The tenant and its id; an operator's key has none.
    pub tenant: Option<(TenantKey, String)>,
    /// What it may do.
    pub scopes: Vec<String>,
    /// The only apps it may touch.
    pub apps: Option<Vec<String>>,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// Whom a public key of an app belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppOwner {
    /// The tenant.
    pub tenant_key: TenantKey,
    /// The tenant's id.
    pub tenant: String,
    /// The app.
    pub app_key: AppKey,
    /// The app's id.
    pub app: String,
}

/// Whom an installation's own key belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceOwner {
    /// The app it is an installation of.
    pub app: AppOwner,
    /// The installation.
    pub device_key: DeviceKey,
    /// The installation's id.
    pub device: String,
}

/// A user of the broker that may publish events for a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmqpUser {
    /// The user's name in the broker, as the property `user_id` carries it.
    pub amqp_user: String,
    /// The tenant.
    pub tenant_key: TenantKey,
    /// The tenant's id.
    pub tenant: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// The only apps it may touch.
    pub apps: Option<Vec<String>>,
    /// When it was mapped.
    pub created_at: Timestamp,
}

const CREATE: &str = "
    INSERT INTO api_keys (key_id, tenant_key, secret_hash, name, scopes, apps, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    RETURNING key_id, name, scopes, apps, created_at, expires_at, revoked_at";

const LIST: &str = "
    SELECT key_id, name, scopes, apps, created_at, expires_at, revoked_at
    FROM api_keys
    WHERE tenant_key = $1 AND ($2::timestamptz IS NULL OR (created_at, key_id) < ($2, $3))
    ORDER BY created_at DESC, key_id DESC LIMIT $4";

const ROTATE: &str = "
    WITH old AS (
        SELECT key_id, tenant_key, name, scopes, apps, expires_at FROM api_keys
        WHERE tenant_key = $1 AND key_id = $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
        FOR UPDATE
    ), ending AS (
        UPDATE api_keys k SET expires_at = least(coalesce(old.expires_at, 'infinity'), now() + make_interval(secs => $5))
        FROM old WHERE k.key_id = old.key_id RETURNING k.expires_at
    )
    INSERT INTO api_keys (key_id, tenant_key, secret_hash, name, scopes, apps, expires_at)
    SELECT $3, tenant_key, $4, name, scopes, apps, expires_at FROM old
    RETURNING key_id, name, scopes, apps, created_at, expires_at, revoked_at, (SELECT expires_at FROM ending)";

const REVOKE: &str = "
    UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE tenant_key = $1 AND key_id = $2";

const OWNER: &str = "
    SELECT k.key_id, k.tenant_key, t.tenant, k.scopes, k.apps, k.expires_at
    FROM api_keys k LEFT JOIN tenants t ON t.tenant_key = k.tenant_key
    WHERE k.secret_hash = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())";

const APP_OWNER: &str = "
    SELECT t.tenant_key, t.tenant, a.app_key, a.app
    FROM apps a JOIN tenants t ON t.tenant_key = a.tenant_key
    WHERE a.public_key = $1";

const DEVICE_OWNER: &str = "
    SELECT t.tenant_key, t.tenant, a.app_key, a.app, d.device_key, d.device
    FROM devices d
    JOIN apps a ON a.app_key = d.app_key AND a.tenant_key = d.tenant_key
    JOIN tenants t ON t.tenant_key = a.tenant_key
    WHERE d.secret_hash = $1 AND d.state <> 5";

const PUT_AMQP_USER: &str = "
    INSERT INTO amqp_users AS u (amqp_user, tenant_key, scopes, apps) VALUES ($2, $1, $3, $4)
    ON CONFLICT (amqp_user) DO UPDATE SET scopes = $3, apps = $4 WHERE u.tenant_key = $1
    RETURNING created_at, xmax = 0";

const AMQP_USER: &str = "
    SELECT u.amqp_user, u.tenant_key, t.tenant, u.scopes, u.apps, u.created_at
    FROM amqp_users u JOIN tenants t ON t.tenant_key = u.tenant_key
    WHERE u.amqp_user = $1";

impl Store {
    /// Keeps a new key.
    pub async fn create_api_key(&self, key: &NewApiKey<'_>) -> Result<ApiKeyRecord> {
        let tenant = key.tenant_key.map(|t| t.0);
        let hash = key.secret_hash.as_slice();
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
            [&key.key_id, &tenant, &hash, &key.name, &key.scopes, &key.apps, &key.expires_at];
        read_key(&self.write_row(Point::SetupCommit, CREATE, &parameters).await?)
    }

    /// A page of a tenant's keys, the ended ones too.
    pub async fn list_api_keys(
        &self,
        tenant_key: TenantKey,
        page: &PageRequest<Uuid>,
    ) -> Result<Listed<ApiKeyRecord, Uuid>> {
        let (at, id, rows) = page.parts();
        let rows = self.rows(LIST, &[&tenant_key.0, &at, &id, &rows]).await?;
        page.cut(&rows, read_key, |k| Cursor { at: k.created_at, id: k.key_id })
    }

    /// Makes a key that may do what `old` may, and lets `old` end after `overlap_seconds`.
    pub async fn rotate_api_key(
        &self,
        tenant_key: TenantKey,
        old: Uuid,
        new: Uuid,
        secret_hash: [u8; 32],
        overlap_seconds: u32,
    ) -> Result<Rotated> {
        let overlap = f64::from(overlap_seconds);
        let row = self
            .write_maybe_row(
                Point::SetupCommit,
                ROTATE,
                &[&tenant_key.0, &old, &new, &secret_hash.as_slice(), &overlap],
            )
            .await?;
        if let Some(row) = row {
            return Ok(Rotated::Done { new: read_key(&row)?, old_expires_at: row.try_get(7)? });
        }
        let known = "SELECT 1 FROM api_keys WHERE tenant_key = $1 AND key_id = $2";
        let known = self.maybe_row(known, &[&tenant_key.0, &old]).await?;
        Ok(if known.is_some() { Rotated::Ended } else { Rotated::Unknown })
    }

    /// Revokes a key for good; false when the tenant has no such key.
    pub async fn revoke_api_key(&self, tenant_key: TenantKey, key_id: Uuid) -> Result<bool> {
        Ok(self.write_count(Point::SetupCommit, REVOKE, &[&tenant_key.0, &key_id]).await? > 0)
    }

    /// Whom a live key belongs to, by the SHA-256 of its text.
    pub async fn api_key_by_hash(&self, secret_hash: &[u8; 32]) -> Result<Option<KeyOwner>> {
        let Some(row) = self.maybe_row(OWNER, &[&secret_hash.as_slice()]).await? else { return Ok(None) };
        let tenant_key: Option<i32> = row.try_get(1)?;
        let tenant: Option<String> = row.try_get(2)?;
        Ok(Some(KeyOwner {
            key_id: row.try_get(0)?,
            tenant: tenant_key.map(TenantKey).zip(tenant),
            scopes: row.try_get(3)?,
            apps: row.try_get(4)?,
            expires_at: row.try_get(5)?,
        }))
    }

    /// Whom an app's public key belongs to.
    pub async fn app_by_public_key(&self, public_key: &str) -> Result<Option<AppOwner>> {
        self.maybe_row(APP_OWNER, &[&public_key]).await?.as_ref().map(read_app_owner).transpose()
    }

    /// Whom an installation's own key belongs to, by the SHA-256 of its text.
    pub async fn device_by_secret_hash(&self, secret_hash: &[u8; 32]) -> Result<Option<DeviceOwner>> {
        let Some(row) = self.maybe_row(DEVICE_OWNER, &[&secret_hash.as_slice()]).await? else { return Ok(None) };
        Ok(Some(DeviceOwner {
            app: read_app_owner(&row)?,
            device_key: DeviceKey(row.try_get(4)?),
            device: row.try_get(5)?,
        }))
    }

    /// Maps a user of the broker to a tenant, or changes what it may do. Returns when it was mapped and whether that is
    /// new; nothing when it is mapped to another tenant.
    pub async fn put_amqp_user(
        &self,
        tenant_key: TenantKey,
        amqp_user: &str,
        scopes: &[String],
        apps: Option<&[String]>,
    ) -> Result<Option<(Timestamp, bool)>> {
        let row = self
            .write_maybe_row(Point::SetupCommit, PUT_AMQP_USER, &[&tenant_key.0, &amqp_user, &scopes, &apps])
            .await?;
        row.map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose()
    }

    /// Forgets a user of the broker; false when the tenant has no such user.
    pub async fn delete_amqp_user(&self, tenant_key: TenantKey, amqp_user: &str) -> Result<bool> {
        let sql = "DELETE FROM amqp_users WHERE tenant_key = $1 AND amqp_user = $2";
        Ok(self.write_count(Point::SetupCommit, sql, &[&tenant_key.0, &amqp_user]).await? > 0)
    }

    /// Which tenant a user of the broker speaks for.
    pub async fn amqp_user(&self, amqp_user: &str) -> Result<Option<AmqpUser>> {
        let Some(row) = self.maybe_row(AMQP_USER, &[&amqp_user]).await? else { return Ok(None) };
        Ok(Some(AmqpUser {
            amqp_user: row.try_get(0)?,
            tenant_key: TenantKey(row.try_get(1)?),
            tenant: row.try_get(2)?,
            scopes: row.try_get(3)?,
            apps: row.try_get(4)?,
            created_at: row.try_get(5)?,
        }))
    }
}

fn read_key(row: &Row) -> Result<ApiKeyRecord> {
    Ok(ApiKeyRecord {
        key_id: row.try_get(0)?,
        name: row.try_get(1)?,
        scopes: row.try_get(2)?,
        apps: row.try_get(3)?,
        created_at: row.try_get(4)?,
        expires_at: row.try_get(5)?,
        revoked_at: row.try_get(6)?,
    })
}

fn read_app_owner(row: &Row) -> Result<AppOwner> {
    Ok(AppOwner {
        tenant_key: TenantKey(row.try_get(0)?),
        tenant: row.try_get(1)?,
        app_key: AppKey(row.try_get(2)?),
        app: row.try_get(3)?,
    })
}
