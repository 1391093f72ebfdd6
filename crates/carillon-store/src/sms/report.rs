//! Delivery reports: the operator's word about a message, by our reference.

use super::reference::SmsReference;
use crate::cascades::{lock_cascades, reported, write_cascades};
use crate::commit::commit;
use crate::statuses::write_news;
use crate::{CascadeId, FinishedCascades, Result, Store};
use carillon_domain::delivery_status::{Reason, Status};
use carillon_domain::ids::TenantKey;
use carillon_failpoint::Point;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// One report.
#[derive(Clone, Debug)]
pub struct SmsReport {
    /// Which message.
    pub reference: SmsReference,
    /// `Sent`, `Delivered` or `Undelivered`.
    pub status: Status,
    /// Why it was not delivered.
    pub reason: Option<Reason>,
    /// The gateway's id of the message.
    pub provider_id: Option<String>,
    /// When, by the gateway's clock; never later than the database's.
    pub at: Option<Timestamp>,
}

/// What a group of reports did.
#[derive(Debug, Default)]
pub struct ReportedSms {
    /// Reports that name a message of this tenant.
    pub known: usize,
    /// Runs that may be finished.
    pub finished: FinishedCascades,
}

impl Store {
    /// Keeps reports about a tenant's messages; those about others are left aside. Reports may come before the answer to the message
    /// they are about, late, or twice. When it returns they are committed.
    ///
    /// # Errors
    /// Nothing is kept, or, if the connection broke at the commit, all or nothing is: repeating it changes nothing twice.
    pub async fn record_sms_reports(&self, tenant: TenantKey, reports: &[SmsReport], slot: i16) -> Result<ReportedSms> {
        if reports.is_empty() {
            return Ok(ReportedSms::default());
        }
        let mut connection = self.connection().await?;
        let transaction = connection.transaction().await?;
        let ids: Vec<CascadeId> = reports.iter().map(|r| r.reference.0).collect();
        let rows = lock_cascades(&transaction, &ids).await?;
        let rows: BTreeMap<CascadeId, _> =
            rows.into_iter().filter(|row| row.tenant == tenant).map(|row| (row.id, row)).collect();
        let (mut known, mut news, mut ended) = (0, Vec::new(), BTreeSet::new());
        let mut written = BTreeMap::new();
        for report in reports {
            let Some(row) = rows.get(&report.reference.0) else { continue };
            known += 1;
            let at = report.at.filter(|at| *at <= row.now).unwrap_or(row.now);
            let (told, write) = reported(row, report.status, report.reason, report.provider_id.clone(), at);
            news.push(told);
            if let Some(write) = write {
                ended.insert(row.id.run);
                written.insert(row.id, write);
            }
        }
        write_cascades(&transaction, &written.into_values().collect::<Vec<_>>()).await?;
        write_news(&transaction, news, slot).await?;
        commit(transaction, Point::SmsReportsCommit).await?;
        Ok(ReportedSms { known, finished: FinishedCascades { ended_runs: ended.into_iter().collect() } })
    }
}
