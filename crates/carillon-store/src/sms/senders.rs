//! Sender names of a tenant, and which gateways send for them.

use super::gateways::{SmsGateway, read_gateway};
use crate::commit::commit;
use crate::{Cursor, Listed, PageRequest, Result, Store};
use carillon_domain::ids::TenantKey;
use carillon_failpoint::Point;
use jiff::Timestamp;
use tokio_postgres::Row;

/// A sender name of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmsSender {
    /// The name.
    pub sender: String,
    /// The gateways that send for it, the first one first; the next when one surely did not take a message.
    pub gateways: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What became of a wish to keep a sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutSmsSender {
    /// It is kept; whether it is new.
    Kept(SmsSender, bool),
    /// These are no gateways of the tenant.
    UnknownGateways(Vec<String>),
}

/// All that a tenant's messages may go through.
#[derive(Clone, Debug)]
pub struct SmsRoutes {
    /// Whose.
    pub tenant_key: TenantKey,
    /// The tenant's public id.
    pub tenant: String,
    /// Its gateways.
    pub gateways: Vec<SmsGateway>,
    /// Its senders.
    pub senders: Vec<SmsSender>,
}

const PUT: &str = "
    INSERT INTO sms_senders (tenant_key, sender, gateways) VALUES ($1, $2, $3)
    ON CONFLICT (tenant_key, sender) DO UPDATE SET gateways = excluded.gateways
    RETURNING sender, gateways, created_at, xmax = 0";

const LIST: &str = "
    SELECT sender, gateways, created_at
    FROM sms_senders
    WHERE tenant_key = $1 AND ($2::timestamptz IS NULL OR (created_at, sender) < ($2, $3))
    ORDER BY created_at DESC, sender DESC LIMIT $4";

const GATEWAYS_OF: &str = "
    SELECT t.tenant_key, t.tenant, g.gateway, g.kind, g.sealed, g.facts, g.callback_secret, g.version, g.created_at
    FROM tenants t LEFT JOIN sms_gateways g ON g.tenant_key = t.tenant_key
    WHERE t.tenant_key = ANY($1) ORDER BY t.tenant_key, g.created_at, g.gateway";

const SENDERS_OF: &str = "
    SELECT sender, gateways, created_at, tenant_key FROM sms_senders WHERE tenant_key = ANY($1) ORDER BY tenant_key, created_at, sender";

impl Store {
    /// Keeps a sender, if all its gateways are the tenant's.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn put_sms_sender(
        &self,
        tenant_key: TenantKey,
        sender: &str,
        gateways: &[String],
    ) -> Result<PutSmsSender> {
        let mut connection = self.connection().await?;
        let transaction = connection.transaction().await?;
        // Held until the commit, so that none of them is deleted meanwhile.
        let known = transaction
            .prepare_cached(
                "SELECT gateway FROM sms_gateways WHERE tenant_key = $1 AND gateway = ANY($2) ORDER BY gateway FOR SHARE",
            )
            .await?;
        let known: Vec<String> =
            transaction.query(&known, &[&tenant_key.0, &gateways]).await?.iter().map(|row| row.get(0)).collect();
        let unknown: Vec<String> = gateways.iter().filter(|g| !known.contains(g)).cloned().collect();
        if !unknown.is_empty() {
            return Ok(PutSmsSender::UnknownGateways(unknown));
        }
        let put = transaction.prepare_cached(PUT).await?;
        let row = transaction.query_one(&put, &[&tenant_key.0, &sender, &gateways]).await?;
        commit(transaction, Point::SetupCommit).await?;
        Ok(PutSmsSender::Kept(read_sender(&row)?, row.try_get(3)?))
    }

    /// One sender.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn sms_sender(&self, tenant_key: TenantKey, sender: &str) -> Result<Option<SmsSender>> {
        let sql = "SELECT sender, gateways, created_at FROM sms_senders WHERE tenant_key = $1 AND sender = $2";
        self.maybe_row(sql, &[&tenant_key.0, &sender]).await?.as_ref().map(read_sender).transpose()
    }

    /// A page of a tenant's senders.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn list_sms_senders(
        &self,
        tenant_key: TenantKey,
        page: &PageRequest<String>,
    ) -> Result<Listed<SmsSender>> {
        let (at, id, rows) = page.parts();
        let rows = self.rows(LIST, &[&tenant_key.0, &at, &id, &rows]).await?;
        page.cut(&rows, read_sender, |s| Cursor { at: s.created_at, id: s.sender.clone() })
    }

    /// Deletes a sender; false when there is none.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn delete_sms_sender(&self, tenant_key: TenantKey, sender: &str) -> Result<bool> {
        let sql = "DELETE FROM sms_senders WHERE tenant_key = $1 AND sender = $2";
        Ok(self.write_count(Point::SetupCommit, sql, &[&tenant_key.0, &sender]).await? > 0)
    }

    /// Gateways and senders of these tenants, in two statements.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn sms_routes(&self, tenants: &[TenantKey]) -> Result<Vec<SmsRoutes>> {
        let keys: Vec<i32> = tenants.iter().map(|t| t.0).collect();
        let mut routes: Vec<SmsRoutes> = Vec::new();
        for row in self.rows(GATEWAYS_OF, &[&keys]).await? {
            let tenant_key = TenantKey(row.try_get(0)?);
            if routes.last().is_none_or(|last| last.tenant_key != tenant_key) {
                let tenant = row.try_get(1)?;
                routes.push(SmsRoutes { tenant_key, tenant, gateways: Vec::new(), senders: Vec::new() });
            }
            if let (Some(last), Some(_)) = (routes.last_mut(), row.try_get::<_, Option<String>>(2)?) {
                last.gateways.push(read_gateway(&row, 2)?);
            }
        }
        for row in self.rows(SENDERS_OF, &[&keys]).await? {
            let tenant_key = TenantKey(row.try_get(3)?);
            if let Some(route) = routes.iter_mut().find(|r| r.tenant_key == tenant_key) {
                route.senders.push(read_sender(&row)?);
            }
        }
        Ok(routes)
    }
}

fn read_sender(row: &Row) -> Result<SmsSender> {
    Ok(SmsSender { sender: row.try_get(0)?, gateways: row.try_get(1)?, created_at: row.try_get(2)? })
}
