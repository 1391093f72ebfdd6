//! When a cascade has fired, what is still queued of the link before it is not sent any more.

use super::due::{CascadeId, cascade_id};
use crate::claim::lock_chunks;
use crate::commit::commit;
use crate::statuses::{DeliveryId, News, write_news};
use crate::{Result, Store};
use carillon_domain::chunk::Position;
use carillon_domain::delivery_status::{Reason, Status};
use carillon_domain::ids::{ChunkId, RunId};
use carillon_failpoint::Point;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What closing did.
#[derive(Debug, Default)]
pub struct ClosedCascaded {
    /// Runs of which a chunk was closed: they may be finished now.
    pub closed_runs: Vec<RunId>,
}

/// Open chunks that may hold the persons. Persons' numbers ascend within a chunk, because pages are walked in the order of
/// persons: first and last number say whether a person can be in it.
const CHUNKS_OF: &str = "
    WITH runs AS (
        SELECT DISTINCT run_id, link FROM unnest($1::uuid[], $2::int2[]) AS f(run_id, link)
    ), ranges AS MATERIALIZED (
        SELECT c.run_id, c.chunk, c.link, substring(c.person_numbers FROM 1 FOR 4) AS low,
               substring(c.person_numbers FROM length(c.person_numbers) - 3 FOR 4) AS high
        FROM runs r JOIN chunks c ON c.run_id = r.run_id AND c.link = r.link - 1
        WHERE c.due_at IS NOT NULL AND length(c.person_numbers) >= 4
    )
    SELECT DISTINCT r.run_id, r.chunk
    FROM ranges r
    JOIN unnest($1::uuid[], $2::int2[], $3::int4[]) AS p(run_id, link, person_number)
      ON p.run_id = r.run_id AND p.link = r.link + 1 AND int4send(p.person_number) BETWEEN r.low AND r.high
    ORDER BY r.run_id, r.chunk";

const CLOSE: &str = "
    UPDATE chunks c SET states = w.states, due_at = CASE WHEN w.done THEN NULL ELSE c.due_at END,
        outstanding = c.outstanding AND NOT w.done
    FROM unnest($1::uuid[], $2::int4[], $3::bytea[], $4::bool[]) AS w(run_id, chunk, states, done)
    WHERE c.run_id = w.run_id AND c.chunk = w.chunk";

/// A row that has fired is looked at again only while a dispatcher holds one of its pushes.
const TOUCH: &str = "
    WITH touched AS (
        SELECT c.run_id, c.link, c.person_number, t.closed, t.held
        FROM unnest($1::uuid[], $2::int2[], $3::int4[], $4::int2[], $5::bool[])
             AS t(run_id, link, person_number, closed, held)
        JOIN cascades c ON c.run_id = t.run_id AND c.link = t.link AND c.person_number = t.person_number
        ORDER BY c.run_id, c.link, c.person_number
        FOR UPDATE OF c
    )
    UPDATE cascades c SET open_devices = greatest(c.open_devices - t.closed, 0),
        due_at = CASE WHEN c.state IN (1, 2) THEN c.due_at WHEN t.held THEN now() + $6::float8 * interval '1 second' END
    FROM touched t
    WHERE c.run_id = t.run_id AND c.link = t.link AND c.person_number = t.person_number";

/// Moved on before the work, so that two processes do not do it at once.
const TO_CLOSE: &str = "
    UPDATE cascades c SET due_at = now() + $2::float8 * interval '1 second'
    FROM (SELECT run_id, link, person_number FROM cascades
          WHERE due_at <= now() AND state IN (3, 5, 6) ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED) due
    WHERE c.run_id = due.run_id AND c.link = due.link AND c.person_number = due.person_number
    RETURNING c.run_id, c.link, c.person_number";

impl Store {
    /// Closes, as cancelled(cascaded), what is still queued of pushes to persons whose cascade has fired. What a dispatcher holds a lease on
    /// is left to it, and looked at again later by [`Store::cascades_to_close`].
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`]: nothing is closed; rows that have fired are looked at again by themselves.
    pub async fn close_cascaded(&self, fired: &[CascadeId], slot: i16) -> Result<ClosedCascaded> {
        let fired: BTreeSet<CascadeId> = fired.iter().copied().collect();
        if fired.is_empty() {
            return Ok(ClosedCascaded::default());
        }
        let mut connection = self.connection().await?;
        let transaction = connection.transaction().await?;
        let statement = transaction.prepare_cached(CHUNKS_OF).await?;
        let (runs, links): (Vec<Uuid>, Vec<i16>) = fired.iter().map(|f| (f.run.0, f.link)).unzip();
        let persons: Vec<i32> = fired.iter().map(|f| f.person_number).collect();
        let found = transaction.query(&statement, &[&runs, &links, &persons]).await?;
        let chunks: Vec<ChunkId> =
            found.iter().map(|row| ChunkId { run: RunId(row.get(0)), number: row.get::<_, i32>(1) as u32 }).collect();

        let mut rows = lock_chunks(&transaction, &chunks).await?;
        // Per person: positions closed, and whether a dispatcher holds one that is open.
        let mut touched: BTreeMap<CascadeId, (i16, bool)> = fired.iter().map(|f| (*f, (0, false))).collect();
        let mut news = Vec::new();
        let mut closed = Vec::new();
        for row in &mut rows {
            let mut moved = false;
            for position in 0..row.positions.len() {
                let (Some(Position::Open(_)), Some(person_number), Some(subject)) =
                    (row.positions.get(position), row.person_number(position), row.device_key(position))
                else {
                    continue;
                };
                let id = CascadeId { run: row.id.run, link: row.link + 1, person_number };
                let Some(touch) = touched.get_mut(&id) else { continue };
                if row.leased {
                    touch.1 = true;
                    continue;
                }
                moved |= row.positions.close(position, Status::Cancelled);
                touch.0 += 1;
                news.push(News {
                    id: DeliveryId { run: row.id.run, subject, link: row.link },
                    tenant: row.tenant,
                    platform: Some(row.platform),
                    status: Status::Cancelled,
                    reason: Some(Reason::Cascaded),
                    person: None,
                    provider_id: None,
                    at: row.now,
                });
            }
            if moved {
                closed.push((row.id, row.positions.states().to_vec(), row.positions.next_due().is_none()));
            }
        }
        if !closed.is_empty() {
            let statement = transaction.prepare_cached(CLOSE).await?;
            transaction
                .execute(
                    &statement,
                    &[
                        &closed.iter().map(|c| c.0.run.0).collect::<Vec<_>>(),
                        &closed.iter().map(|c| c.0.number as i32).collect::<Vec<_>>(),
                        &closed.iter().map(|c| c.1.as_slice()).collect::<Vec<_>>(),
                        &closed.iter().map(|c| c.2).collect::<Vec<_>>(),
                    ],
                )
                .await?;
        }
        let statement = transaction.prepare_cached(TOUCH).await?;
        transaction
            .execute(
                &statement,
                &[
                    &touched.keys().map(|k| k.run.0).collect::<Vec<_>>(),
                    &touched.keys().map(|k| k.link).collect::<Vec<_>>(),
                    &touched.keys().map(|k| k.person_number).collect::<Vec<_>>(),
                    &touched.values().map(|t| t.0).collect::<Vec<_>>(),
                    &touched.values().map(|t| t.1).collect::<Vec<_>>(),
                    &super::finish::CLOSE_LATER.as_secs_f64(),
                ],
            )
            .await?;
        write_news(&transaction, news, slot).await?;
        commit(transaction, Point::CascadesCloseCommit).await?;
        let done: BTreeSet<RunId> = closed.iter().filter(|c| c.2).map(|c| c.0.run).collect();
        Ok(ClosedCascaded { closed_runs: done.into_iter().collect() })
    }

    /// Takes cascades that have fired while pushes of their persons were held by a dispatcher, at most `limit`; to be given to
    /// [`Store::close_cascaded`].
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn cascades_to_close(&self, limit: i64) -> Result<Vec<CascadeId>> {
        let rows = self
            .write(Point::CascadesOvertakenCommit, TO_CLOSE, &[&limit, &super::finish::CLOSE_LATER.as_secs_f64()])
            .await?;
        Ok(rows.iter().map(cascade_id).collect())
    }
}
