//! What became of text messages, kept in groups.

use super::due::{CascadeId, cascade_id};
use crate::commit::commit;
use crate::statuses::{News, write_news};
use crate::{Error, Result, Store};
use carillon_domain::cascade::CascadeState;
use carillon_domain::delivery_status::{Reason, Status};
use carillon_domain::ids::{RunId, TenantKey};
use carillon_failpoint::Point;
use deadpool_postgres::Transaction;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;

/// When a cascade that has fired is looked at again whose pushes could not be closed, because a dispatcher was at work on them.
pub(super) const CLOSE_LATER: SignedDuration = SignedDuration::from_secs(5);

/// What became of one message.
#[derive(Clone, Debug)]
pub struct CascadeResult {
    /// The row.
    pub id: CascadeId,
    /// The claim it was sent under ([`crate::DueCascade::attempt`]).
    pub attempt: i16,
    /// What became of it.
    pub outcome: CascadeOutcome,
}

/// What a gateway made of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CascadeOutcome {
    /// It took it.
    Sent {
        /// Which gateway.
        gateway: String,
        /// Parts it is billed as, at least 1.
        segments: i16,
        /// The gateway's id of the message; nothing where only a repetition was answered.
        provider_id: Option<String>,
    },
    /// Nobody knows, and it must not be repeated.
    Unknown,
    /// It is over: refused for good (failed), or too late (expired).
    Ended {
        /// `Failed` or `Expired`.
        status: Status,
        /// Why.
        reason: Reason,
    },
    /// To be tried again.
    Retry {
        /// How long to wait.
        after: Duration,
        /// The gateway that may have taken it; nothing when none surely did.
        tried: Option<String>,
    },
}

/// What a group of results did.
#[derive(Debug, Default)]
pub struct FinishedCascades {
    /// Runs of which a cascade ended: they may be finished now.
    pub ended_runs: Vec<RunId>,
}

const LOCK: &str = "
    SELECT c.run_id, c.link, c.person_number, c.tenant_key, c.person, c.state, c.attempts, c.open_devices, now()
    FROM unnest($1::uuid[], $2::int2[], $3::int4[]) AS k(run_id, link, person_number)
    JOIN cascades c ON c.run_id = k.run_id AND c.link = k.link AND c.person_number = k.person_number
    ORDER BY c.run_id, c.link, c.person_number
    FOR UPDATE OF c";

/// `keep` keeps gateway and segments as they are.
const WRITE: &str = "
    UPDATE cascades c SET state = w.state, due_at = w.due_at, lease_until = NULL,
        gateway = CASE WHEN w.keep THEN c.gateway ELSE w.gateway END,
        segments = CASE WHEN w.keep THEN c.segments ELSE w.segments END
    FROM unnest($1::uuid[], $2::int2[], $3::int4[], $4::int2[], $5::timestamptz[], $6::text[], $7::int2[], $8::bool[])
         AS w(run_id, link, person_number, state, due_at, gateway, segments, keep)
    WHERE c.run_id = w.run_id AND c.link = w.link AND c.person_number = w.person_number";

/// A cascade row under lock.
pub(crate) struct LockedCascade {
    pub id: CascadeId,
    pub tenant: TenantKey,
    pub person: String,
    pub state: CascadeState,
    pub attempt: i16,
    pub open_devices: i16,
    pub now: Timestamp,
}

impl LockedCascade {
    /// When a row that has fired must be looked at again: never, unless pushes of its person may still be queued.
    fn closing_due(&self) -> Option<Timestamp> {
        (self.open_devices > 0).then(|| self.now + CLOSE_LATER)
    }

    fn news(&self, status: Status, reason: Option<Reason>, provider_id: Option<String>, at: Timestamp) -> News {
        News {
            id: self.id.delivery(),
            tenant: self.tenant,
            platform: None,
            status,
            reason,
            person: Some(self.person.clone()),
            provider_id,
            at,
        }
    }
}

/// What a row becomes.
pub(crate) struct WrittenCascade {
    id: CascadeId,
    state: CascadeState,
    due_at: Option<Timestamp>,
    gateway: Option<String>,
    segments: Option<i16>,
    keep: bool,
}

/// Locks rows in the order that everybody keeps.
pub(crate) async fn lock_cascades(transaction: &Transaction<'_>, ids: &[CascadeId]) -> Result<Vec<LockedCascade>> {
    let ids: BTreeSet<CascadeId> = ids.iter().copied().collect();
    let statement = transaction.prepare_cached(LOCK).await?;
    let (runs, links): (Vec<Uuid>, Vec<i16>) = ids.iter().map(|id| (id.run.0, id.link)).unzip();
    let persons: Vec<i32> = ids.iter().map(|id| id.person_number).collect();
    let rows = transaction.query(&statement, &[&runs, &links, &persons]).await?;
    rows.iter()
        .map(|row| {
            Ok(LockedCascade {
                id: cascade_id(row),
                tenant: TenantKey(row.get(3)),
                person: row.get(4),
                state: CascadeState::from_number(row.get(5)).ok_or_else(|| Error::corrupt("a cascade's state"))?,
                attempt: row.get(6),
                open_devices: row.get(7),
                now: row.get(8),
            })
        })
        .collect()
}

/// Writes rows; the number of statements does not grow with them.
pub(crate) async fn write_cascades(transaction: &Transaction<'_>, rows: &[WrittenCascade]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let statement = transaction.prepare_cached(WRITE).await?;
    transaction
        .execute(
            &statement,
            &[
                &rows.iter().map(|r| r.id.run.0).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.id.link).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.id.person_number).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.state.number()).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.due_at).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.gateway.as_deref()).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.segments).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.keep).collect::<Vec<_>>(),
            ],
        )
        .await?;
    Ok(())
}

/// The operator's word about a message: evidence whatever the row's state, and the end of every doubt about it.
pub(crate) fn reported(
    row: &LockedCascade,
    status: Status,
    reason: Option<Reason>,
    provider_id: Option<String>,
    at: Timestamp,
) -> (News, Option<WrittenCascade>) {
    let settles = matches!(row.state, CascadeState::Claimed | CascadeState::Unknown | CascadeState::Failed);
    let written = settles.then(|| WrittenCascade {
        id: row.id,
        state: CascadeState::Sent,
        due_at: row.closing_due(),
        gateway: None,
        segments: None,
        keep: true,
    });
    (row.news(status, reason, provider_id, at), written)
}

/// Applies one result: what the row becomes and what is news. That a gateway took the message is a fact whoever says it; everything
/// else counts only from the claim that holds.
fn apply(row: &LockedCascade, result: &CascadeResult) -> Option<(WrittenCascade, Option<News>)> {
    let holds = row.state == CascadeState::Claimed && row.attempt == result.attempt;
    let end = |state| WrittenCascade {
        id: row.id,
        state,
        due_at: row.closing_due(),
        gateway: None,
        segments: None,
        keep: true,
    };
    match &result.outcome {
        CascadeOutcome::Sent { gateway, segments, provider_id } => {
            let news = row.news(Status::Sent, None, provider_id.clone(), row.now);
            let gateway = Some(gateway.clone());
            let sent = WrittenCascade { gateway, segments: Some(*segments), keep: false, ..end(CascadeState::Sent) };
            Some((sent, Some(news)))
        }
        _ if !holds => None,
        CascadeOutcome::Unknown => {
            let news = row.news(Status::Unknown, Some(Reason::Unknown), None, row.now);
            Some((end(CascadeState::Unknown), Some(news)))
        }
        CascadeOutcome::Ended { status, reason } => {
            Some((end(CascadeState::Failed), Some(row.news(*status, Some(*reason), None, row.now))))
        }
        CascadeOutcome::Retry { after, tried } => {
            let after = SignedDuration::try_from(*after).unwrap_or(SignedDuration::from_hours(1));
            let due_at = Some(row.now + after);
            let later = WrittenCascade { due_at, gateway: tried.clone(), keep: false, ..end(CascadeState::Claimed) };
            Some((later, None))
        }
    }
}

impl Store {
    /// Keeps what became of messages: rows, evidence and counts together.
    ///
    /// # Errors
    /// Nothing is kept, or, if the connection broke at the commit, all or nothing is: repeating it changes nothing twice.
    pub async fn finish_cascades(&self, results: &[CascadeResult], slot: i16) -> Result<FinishedCascades> {
        if results.is_empty() {
            return Ok(FinishedCascades::default());
        }
        let mut connection = self.connection().await?;
        let transaction = connection.transaction().await?;
        let ids: Vec<CascadeId> = results.iter().map(|r| r.id).collect();
        let rows = lock_cascades(&transaction, &ids).await?;
        let by_id: BTreeMap<CascadeId, &CascadeResult> = results.iter().map(|r| (r.id, r)).collect();
        let (mut written, mut news, mut ended) = (Vec::new(), Vec::new(), BTreeSet::new());
        for row in &rows {
            let Some((write, told)) = by_id.get(&row.id).and_then(|result| apply(row, result)) else { continue };
            if write.state != CascadeState::Claimed {
                ended.insert(row.id.run);
            }
            written.push(write);
            news.extend(told);
        }
        write_cascades(&transaction, &written).await?;
        write_news(&transaction, news, slot).await?;
        commit(transaction, Point::CascadesFinishCommit).await?;
        Ok(FinishedCascades { ended_runs: ended.into_iter().collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(state: CascadeState) -> LockedCascade {
        LockedCascade {
            id: CascadeId { run: RunId(Uuid::nil()), link: 1, person_number: 4 },
            tenant: TenantKey(1),
            person: "u:a".into(),
            state,
            attempt: 2,
            open_devices: 0,
            now: Timestamp::UNIX_EPOCH,
        }
    }

    fn result(attempt: i16, outcome: CascadeOutcome) -> CascadeResult {
        CascadeResult { id: row(CascadeState::Claimed).id, attempt, outcome }
    }

    fn sent() -> CascadeOutcome {
        CascadeOutcome::Sent { gateway: "main".into(), segments: 1, provider_id: Some("x".into()) }
    }

    #[test]
    fn that_a_gateway_took_it_is_kept_even_from_an_older_claim() {
        for state in [CascadeState::Claimed, CascadeState::Unknown, CascadeState::Failed, CascadeState::Sent] {
            let (written, news) = apply(&row(state), &result(1, sent())).unwrap();
            assert_eq!((written.state, news.unwrap().status), (CascadeState::Sent, Status::Sent));
        }
    }

    #[test]
    fn doubt_and_refusal_of_an_older_claim_change_nothing() {
        let refused = CascadeOutcome::Ended { status: Status::Failed, reason: Reason::ProviderRejected };
        let later = CascadeOutcome::Retry { after: Duration::ZERO, tried: None };
        for outcome in [CascadeOutcome::Unknown, refused, later] {
            assert!(apply(&row(CascadeState::Claimed), &result(1, outcome.clone())).is_none());
            assert!(apply(&row(CascadeState::Sent), &result(2, outcome)).is_none());
        }
    }

    #[test]
    fn a_message_to_be_tried_again_stays_claimed_and_remembers_who_may_have_it() {
        let later = CascadeOutcome::Retry { after: Duration::from_secs(7), tried: Some("main".into()) };
        let (written, news) = apply(&row(CascadeState::Claimed), &result(2, later)).unwrap();
        assert!(news.is_none());
        assert_eq!(written.state, CascadeState::Claimed);
        assert_eq!(written.due_at, Some(Timestamp::from_second(7).unwrap()));
        assert_eq!(written.gateway.as_deref(), Some("main"));
    }

    #[test]
    fn a_report_ends_every_doubt() {
        let at = Timestamp::UNIX_EPOCH;
        let (news, written) = reported(&row(CascadeState::Unknown), Status::Delivered, None, None, at);
        assert_eq!((news.status, written.unwrap().state), (Status::Delivered, CascadeState::Sent));
        assert!(reported(&row(CascadeState::Sent), Status::Delivered, None, None, at).1.is_none());
    }

    #[test]
    fn a_row_with_pushes_still_queued_is_looked_at_again() {
        let mut open = row(CascadeState::Claimed);
        open.open_devices = 1;
        let (written, _) = apply(&open, &result(2, sent())).unwrap();
        assert_eq!(written.due_at, Some(Timestamp::UNIX_EPOCH + CLOSE_LATER));
    }
}
