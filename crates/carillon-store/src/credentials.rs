//! Apps' credentials at the providers: sealed, every version kept, the newest that is not deleted in use.

use crate::{Error, Result, Store};
use carillon_domain::ids::{AppKey, TenantKey};
use carillon_domain::platform::Platform;
use carillon_failpoint::Point;
use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::Row;

/// A credential. The secret is sealed; whoever opens it needs the key of its kind, and its tenant, app and version.
#[derive(Clone, Debug, PartialEq)]
pub struct Credential {
    /// For which platform.
    pub platform: Platform,
    /// Counted from 1 per app and platform.
    pub version: i32,
    /// The sealed secret.
    pub sealed: Vec<u8>,
    /// What may be shown: ids and public keys.
    pub facts: Value,
    /// What tells two secrets apart without telling anything about them.
    pub fingerprint: String,
    /// `ok`, `expiring`, `suspended` or `unverified`.
    pub status: String,
    /// Why, when it is not `ok`.
    pub reason: Option<String>,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When a provider last told something about it.
    pub checked_at: Option<Timestamp>,
    /// When this version was kept.
    pub created_at: Timestamp,
}

/// A version to be kept.
#[derive(Clone, Debug)]
pub struct NewCredential<'a> {
    /// For which platform.
    pub platform: Platform,
    /// One more than the newest, deleted ones included ([`Store::last_credential_version`]).
    pub version: i32,
    /// The secret, sealed for exactly this version.
    pub sealed: &'a [u8],
    /// What may be shown.
    pub facts: &'a Value,
    /// What tells two secrets apart.
    pub fingerprint: &'a str,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

const INSERT: &str = "
    INSERT INTO credentials (app_key, platform, version, tenant_key, sealed, facts, fingerprint, expires_at)
    SELECT app_key, $3, $4, tenant_key, $5, $6, $7, $8 FROM apps WHERE tenant_key = $1 AND app_key = $2
    RETURNING platform, version, sealed, facts, fingerprint, status, reason, expires_at, checked_at, created_at";

const CURRENT: &str = "
    SELECT platform, version, sealed, facts, fingerprint, status, reason, expires_at, checked_at, created_at
    FROM credentials
    WHERE tenant_key = $1 AND app_key = $2 AND platform = $3 AND deleted_at IS NULL
    ORDER BY version DESC LIMIT 1";

const ALL_CURRENT: &str = "
    SELECT DISTINCT ON (platform)
           platform, version, sealed, facts, fingerprint, status, reason, expires_at, checked_at, created_at
    FROM credentials
    WHERE tenant_key = $1 AND app_key = $2 AND deleted_at IS NULL
    ORDER BY platform, version DESC";

/// The rows stay, so that no version number is used twice; the secrets go.
const DELETE: &str = "
    UPDATE credentials SET deleted_at = now(), sealed = ''
    WHERE tenant_key = $1 AND app_key = $2 AND platform = $3 AND deleted_at IS NULL";

impl Store {
    /// Keeps a new version; nothing when the tenant has no such app.
    ///
    /// # Errors
    /// [`Error::Duplicate`] when somebody else has just kept this version: read the last one again and seal anew.
    pub async fn insert_credential(
        &self,
        tenant_key: TenantKey,
        app_key: AppKey,
        new: &NewCredential<'_>,
    ) -> Result<Option<Credential>> {
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 8] = [
            &tenant_key.0,
            &app_key.0,
            &new.platform.number(),
            &new.version,
            &new.sealed,
            &new.facts,
            &new.fingerprint,
            &new.expires_at,
        ];
        self.write_maybe_row(Point::SetupCommit, INSERT, &parameters).await?.as_ref().map(read).transpose()
    }

    /// The highest version there ever was, deleted ones included; 0 when there was none.
    pub async fn last_credential_version(
        &self,
        tenant_key: TenantKey,
        app_key: AppKey,
        platform: Platform,
    ) -> Result<i32> {
        let sql = "SELECT coalesce(max(version), 0) FROM credentials
                   WHERE tenant_key = $1 AND app_key = $2 AND platform = $3";
        Ok(self.row(sql, &[&tenant_key.0, &app_key.0, &platform.number()]).await?.try_get(0)?)
    }

    /// The version in use.
    pub async fn current_credential(
        &self,
        tenant_key: TenantKey,
        app_key: AppKey,
        platform: Platform,
    ) -> Result<Option<Credential>> {
        let row = self.maybe_row(CURRENT, &[&tenant_key.0, &app_key.0, &platform.number()]).await?;
        row.as_ref().map(read).transpose()
    }

    /// The versions in use of all platforms of an app.
    pub async fn current_credentials(&self, tenant_key: TenantKey, app_key: AppKey) -> Result<Vec<Credential>> {
        self.rows(ALL_CURRENT, &[&tenant_key.0, &app_key.0]).await?.iter().map(read).collect()
    }

    /// Deletes a platform's credential, all versions of it; false when there is none.
    pub async fn delete_credential(&self, tenant_key: TenantKey, app_key: AppKey, platform: Platform) -> Result<bool> {
        Ok(self.write_count(Point::SetupCommit, DELETE, &[&tenant_key.0, &app_key.0, &platform.number()]).await? > 0)
    }
}

fn read(row: &Row) -> Result<Credential> {
    Ok(Credential {
        platform: Platform::from_number(row.try_get(0)?).ok_or_else(|| Error::corrupt("credentials.platform"))?,
        version: row.try_get(1)?,
        sealed: row.try_get(2)?,
        facts: row.try_get(3)?,
        fingerprint: row.try_get(4)?,
        status: row.try_get(5)?,
        reason: row.try_get(6)?,
        expires_at: row.try_get(7)?,
        checked_at: row.try_get(8)?,
        created_at: row.try_get(9)?,
    })
}
