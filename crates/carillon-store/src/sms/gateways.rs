//! SMS gateways of a tenant.

use crate::commit::commit;
use crate::{Cursor, Listed, PageRequest, Result, Store};
use carillon_domain::ids::TenantKey;
use carillon_failpoint::Point;
use jiff::Timestamp;
use std::fmt;
use tokio_postgres::Row;

/// A gateway of a tenant.
#[derive(Clone, PartialEq, Eq)]
pub struct SmsGateway {
    /// Its id.
    pub gateway: String,
    /// Which protocol it speaks (`smsapi`).
    pub kind: String,
    /// Its secrets, sealed under the key of kind `sms` for the tenant, no app and [`SmsGateway::version`].
    pub sealed: Vec<u8>,
    /// What answers may show.
    pub facts: serde_json::Value,
    /// Stands in the path of its callback. Whoever knows it may report deliveries: never shown in logs.
    pub callback_secret: String,
    /// Rises with every change.
    pub version: i32,
    /// When it was made.
    pub created_at: Timestamp,
}

impl fmt::Debug for SmsGateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gateway, kind, version, .. } = self;
        f.debug_struct("SmsGateway")
            .field("gateway", gateway)
            .field("kind", kind)
            .field("version", version)
            .finish_non_exhaustive()
    }
}

/// A gateway to keep.
#[derive(Clone, Copy)]
pub struct NewSmsGateway<'a> {
    /// Its id.
    pub gateway: &'a str,
    /// Which protocol it speaks.
    pub kind: &'a str,
    /// Its secrets, sealed for `version`.
    pub sealed: &'a [u8],
    /// What answers may show.
    pub facts: &'a serde_json::Value,
    /// The secret of its callback, used only when the gateway is new.
    pub callback_secret: &'a str,
    /// One more than the version that is there; 1 for a new one.
    pub version: i32,
}

/// What became of a wish to delete something that others may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeletedSmsGateway {
    /// It is gone.
    Deleted,
    /// There was none.
    Absent,
    /// A sender names it.
    InUse,
}

/// A conflict with another version writes nothing. The secret of the callback stays: gateways keep URLs of messages on their way.
const PUT: &str = "
    INSERT INTO sms_gateways AS g (tenant_key, gateway, kind, sealed, facts, callback_secret, version)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (tenant_key, gateway) DO UPDATE SET
        kind = excluded.kind, sealed = excluded.sealed, facts = excluded.facts, version = excluded.version
    WHERE g.version = excluded.version - 1
    RETURNING gateway, kind, sealed, facts, callback_secret, version, created_at, xmax = 0";

const GET: &str = "
    SELECT gateway, kind, sealed, facts, callback_secret, version, created_at
    FROM sms_gateways WHERE tenant_key = $1 AND gateway = $2";

const LIST: &str = "
    SELECT gateway, kind, sealed, facts, callback_secret, version, created_at
    FROM sms_gateways
    WHERE tenant_key = $1 AND ($2::timestamptz IS NULL OR (created_at, gateway) < ($2, $3))
    ORDER BY created_at DESC, gateway DESC LIMIT $4";

/// The lock waits for a sender that is being written and names this gateway; the next statement sees it.
const LOCK: &str = "SELECT 1 FROM sms_gateways WHERE tenant_key = $1 AND gateway = $2 FOR UPDATE";

const DELETE: &str = "
    DELETE FROM sms_gateways g WHERE g.tenant_key = $1 AND g.gateway = $2
      AND NOT EXISTS (SELECT 1 FROM sms_senders s WHERE s.tenant_key = $1 AND g.gateway = ANY(s.gateways))";

impl Store {
    /// Keeps a gateway; nothing when somebody else changed it meanwhile: read it again and seal anew. Says whether it is new.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn put_sms_gateway(
        &self,
        tenant_key: TenantKey,
        new: &NewSmsGateway<'_>,
    ) -> Result<Option<(SmsGateway, bool)>> {
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
            [&tenant_key.0, &new.gateway, &new.kind, &new.sealed, &new.facts, &new.callback_secret, &new.version];
        let row = self.write_maybe_row(Point::SetupCommit, PUT, &parameters).await?;
        row.map(|row| Ok((read_gateway(&row, 0)?, row.try_get(7)?))).transpose()
    }

    /// One gateway.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn sms_gateway(&self, tenant_key: TenantKey, gateway: &str) -> Result<Option<SmsGateway>> {
        self.maybe_row(GET, &[&tenant_key.0, &gateway]).await?.map(|row| read_gateway(&row, 0)).transpose()
    }

    /// A page of a tenant's gateways.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn list_sms_gateways(
        &self,
        tenant_key: TenantKey,
        page: &PageRequest<String>,
    ) -> Result<Listed<SmsGateway>> {
        let (at, id, rows) = page.parts();
        let rows = self.rows(LIST, &[&tenant_key.0, &at, &id, &rows]).await?;
        page.cut(&rows, |row| read_gateway(row, 0), |g| Cursor { at: g.created_at, id: g.gateway.clone() })
    }

    /// Deletes a gateway that no sender names.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn delete_sms_gateway(&self, tenant_key: TenantKey, gateway: &str) -> Result<DeletedSmsGateway> {
        let mut connection = self.connection().await?;
        let transaction = connection.transaction().await?;
        let lock = transaction.prepare_cached(LOCK).await?;
        if transaction.query_opt(&lock, &[&tenant_key.0, &gateway]).await?.is_none() {
            return Ok(DeletedSmsGateway::Absent);
        }
        let delete = transaction.prepare_cached(DELETE).await?;
        let gone = transaction.execute(&delete, &[&tenant_key.0, &gateway]).await?;
        commit(transaction, Point::SetupCommit).await?;
        Ok(if gone > 0 { DeletedSmsGateway::Deleted } else { DeletedSmsGateway::InUse })
    }

    /// Whose gateway reports under this secret: the tenant and the gateway's kind.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn sms_gateway_of_callback(&self, secret: &str) -> Result<Option<(TenantKey, String)>> {
        let sql = "SELECT tenant_key, kind FROM sms_gateways WHERE callback_secret = $1";
        Ok(self.maybe_row(sql, &[&secret]).await?.map(|row| (TenantKey(row.get(0)), row.get(1))))
    }
}

pub(super) fn read_gateway(row: &Row, at: usize) -> Result<SmsGateway> {
    Ok(SmsGateway {
        gateway: row.try_get(at)?,
        kind: row.try_get(at + 1)?,
        sealed: row.try_get(at + 2)?,
        facts: row.try_get(at + 3)?,
        callback_secret: row.try_get(at + 4)?,
        version: row.try_get(at + 5)?,
        created_at: row.try_get(at + 6)?,
    })
}
