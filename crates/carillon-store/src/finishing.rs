//! The ends of runs: what a cancelled one left open is closed in pages, and what has nothing open is marked as finished.

use crate::cascades::{CascadeTouch, touch_cascades};
use crate::claim::{ChunkRow, lock_chunks};
use crate::commit::commit;
use crate::statuses::{DeliveryId, News, write_news};
use crate::{Result, Store};
use carillon_domain::cascade::fires_at_once;
use carillon_domain::chunk::Positions;
use carillon_domain::delivery_status::{Reason, Status};
use carillon_domain::ids::{ChunkId, RunId, TenantKey};
use carillon_domain::notification::State;
use carillon_domain::platform::Platform;
use carillon_failpoint::Point;
use deadpool_postgres::Transaction;
use uuid::Uuid;

/// Chunks that one page of closing takes.
const CLOSED_CHUNKS: i64 = 50;
/// Cascades that one page of closing takes.
const CLOSED_CASCADES: i64 = 5_000;
/// Runs that one page of finishing looks at.
const STALE_RUNS: i64 = 500;

const CLOSING: &str = "
    SELECT run_id FROM notifications
    WHERE state = 4 AND finished_at IS NULL AND run_id IS NOT NULL ORDER BY notification_id LIMIT 20 FOR UPDATE SKIP LOCKED";

const OPEN_CHUNKS: &str = "
    SELECT run_id, chunk, tenant_key, platform, device_keys, states, not_before, link, now() FROM chunks
    WHERE run_id = $1 AND due_at IS NOT NULL AND (lease_until IS NULL OR lease_until <= now())
    ORDER BY chunk LIMIT $2 FOR UPDATE SKIP LOCKED";

const CLOSE_CHUNKS: &str = "
    UPDATE chunks c SET states = w.states, due_at = NULL, outstanding = false
    FROM unnest($1::uuid[], $2::int4[], $3::bytea[]) AS w(run_id, chunk, states)
    WHERE c.run_id = w.run_id AND c.chunk = w.chunk";

const CANCEL_CASCADES: &str = "
    UPDATE cascades SET state = 4, due_at = NULL
    WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM cascades WHERE run_id = $1 AND state = 1
        ORDER BY run_id, link, person_number LIMIT $2 FOR UPDATE SKIP LOCKED))";

/// A message whose fate was open when its notification was paused: nobody would look at it any more.
const TAKE_UP_CLAIMED: &str = "
    UPDATE cascades SET due_at = now() WHERE run_id = ANY($1) AND state = 2 AND due_at IS NULL";

const FINISH_CANCELLED: &str = "
    UPDATE notifications n SET finished_at = now(), due_at = NULL, expanded = true
    WHERE n.run_id = ANY($1) AND n.state = 4
      AND (SELECT 1 FROM chunks c WHERE c.run_id = n.run_id AND c.due_at IS NOT NULL LIMIT 1) IS NULL
      AND (SELECT 1 FROM cascades s WHERE s.run_id = n.run_id AND s.state = 1
           ORDER BY s.run_id, s.link, s.person_number LIMIT 1) IS NULL";

/// A run's last chunk is mostly the last one to be closed: asking for it first spares looking through the thousands before it each time one
/// of them is closed. Rows are locked in one order, since several processes finish runs.
///
/// Scalar subqueries, not `NOT EXISTS`: that may become a join, and then reads the tables of all runs. With an order, so that a waiting cascade is
/// looked for by the index of those that wait: where nearly all of a run waited when the table was last analysed, reading it through promises
/// the first one at once, and soon reads through all that have ended.
const FINISH: &str = "
    WITH candidate AS MATERIALIZED (
        SELECT n.notification_id, n.run_id FROM notifications n
        WHERE n.run_id = ANY($1) AND n.state IN (2, 3) AND n.expanded
          AND (SELECT 1 FROM chunks c
               WHERE c.run_id = n.run_id AND c.chunk = n.next_chunk - 1 AND c.due_at IS NOT NULL LIMIT 1) IS NULL
        ORDER BY n.notification_id
        FOR NO KEY UPDATE OF n
    )
    UPDATE notifications n SET state = 5, finished_at = now(), due_at = NULL FROM candidate k
    WHERE n.notification_id = k.notification_id AND n.state IN (2, 3)
      AND (SELECT 1 FROM chunks c WHERE c.run_id = k.run_id AND c.due_at IS NOT NULL LIMIT 1) IS NULL
      AND (SELECT 1 FROM cascades s WHERE s.run_id = k.run_id AND s.state IN (1, 2)
           ORDER BY s.run_id, s.link, s.person_number LIMIT 1) IS NULL";

const STALE: &str = "
    SELECT run_id FROM notifications
    WHERE state = 2 AND expanded AND run_id > $2 AND run_started_at < now() - $1 * interval '1 second'
    ORDER BY run_id LIMIT $3";

/// Beyond the half minute that a dispatcher gives to what is to go at once or never. What was set aside is due within a
/// minute again and again: it is closed before.
const EXPIRED_CHUNKS: &str = "
    SELECT run_id, chunk FROM chunks
    WHERE due_at <= now() + interval '1 minute' AND expires_at < now() - interval '1 minute' AND (lease_until IS NULL OR lease_until <= now())
    LIMIT $1 FOR UPDATE SKIP LOCKED";

impl Store {
    /// Closes what expired a while ago and what no dispatcher came for: at most a page of chunks that nobody holds a lease on. Returns the runs
    /// of which a chunk was closed: they may be finished now.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn close_expired(&self, slot: i16) -> Result<Vec<RunId>> {
        let mut connection = self.connection().await?;
        let transaction = connection.transaction().await?;
        let statement = transaction.prepare_cached(EXPIRED_CHUNKS).await?;
        let found = transaction.query(&statement, &[&CLOSED_CHUNKS]).await?;
        let ids: Vec<ChunkId> =
            found.iter().map(|row| ChunkId { run: RunId(row.get(0)), number: row.get::<_, i32>(1) as u32 }).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut rows = lock_chunks(&transaction, &ids).await?;
        rows.retain(|row| matches!(row.state, Some(State::Sending | State::Paused)));
        let (mut news, mut touches) = (Vec::new(), Vec::new());
        for row in &mut rows {
            expire(row, &mut news, &mut touches);
        }
        let close = transaction.prepare_cached(CLOSE_CHUNKS).await?;
        let runs: Vec<Uuid> = rows.iter().map(|r| r.id.run.0).collect();
        let numbers: Vec<i32> = rows.iter().map(|r| r.id.number as i32).collect();
        let states: Vec<&[u8]> = rows.iter().map(|r| r.positions.states()).collect();
        transaction.execute(&close, &[&runs, &numbers, &states]).await?;
        touch_cascades(&transaction, &touches).await?;
        write_news(&transaction, news, slot).await?;
        commit(transaction, Point::ExpiredCommit).await?;
        let mut closed: Vec<RunId> = rows.iter().map(|r| r.id.run).collect();
        closed.dedup();
        Ok(closed)
    }

    /// Closes what cancelled notifications left open, a page at a time: chunks that nobody holds a lease on, and cascades that wait. `true`: the
    /// page was full, so more can be closed at once.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn close_cancelled(&self, slot: i16) -> Result<bool> {
        let mut connection = self.connection().await?;
        let transaction = connection.transaction().await?;
        let runs = transaction.prepare_cached(CLOSING).await?;
        let runs: Vec<Uuid> = transaction.query(&runs, &[]).await?.iter().map(|r| r.get(0)).collect();
        if runs.is_empty() {
            return Ok(false);
        }
        let (news, chunks_left) = close_chunks(&transaction, &runs).await?;
        let cascades_left = cancel_cascades(&transaction, &runs).await?;
        // Cascades before deliveries, as receipts have it.
        let claimed = transaction.prepare_cached(TAKE_UP_CLAIMED).await?;
        transaction.execute(&claimed, &[&runs]).await?;
        write_news(&transaction, news, slot).await?;
        let more = chunks_left == 0 || cascades_left == 0;
        // Behind a full page, looking whether a run is through would be reading its closed chunks once a page.
        if !more {
            let finish = transaction.prepare_cached(FINISH_CANCELLED).await?;
            transaction.execute(&finish, &[&runs]).await?;
        }
        commit(transaction, Point::CancelledCommit).await?;
        Ok(more)
    }

    /// Marks runs as finished of which nothing is queued and no cascade waits. Called after the commit that closed a chunk or a cascade or that
    /// wrote the last page, so the last of these commits sees all of them.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away; the row is then found by [`Store::finish_stale`].
    pub async fn finish_runs(&self, runs: &[RunId]) -> Result<u64> {
        let runs: Vec<Uuid> = runs.iter().map(|r| r.0).collect();
        self.write_count(Point::FinishedCommit, FINISH, &[&runs]).await
    }

    /// Finds runs that were left unfinished by a crash between a commit and [`Store::finish_runs`], a page at a time in the order of their
    /// ids. `older_than` in seconds; `after` is where the last page ended. Returns how many were finished, and where this
    /// page ended if more may follow.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn finish_stale(&self, older_than: f64, after: Option<RunId>) -> Result<(u64, Option<RunId>)> {
        let after = after.map_or(Uuid::nil(), |run| run.0);
        let rows = self.rows(STALE, &[&older_than, &after, &STALE_RUNS]).await?;
        let runs: Vec<RunId> = rows.iter().map(|r| RunId(r.get(0))).collect();
        let more = runs.last().copied().filter(|_| runs.len() as i64 == STALE_RUNS);
        let finished = if runs.is_empty() { 0 } else { self.finish_runs(&runs).await? };
        Ok((finished, more))
    }
}

/// Closes a page of chunks; returns what is news, and how many more the page would have taken.
async fn close_chunks(transaction: &Transaction<'_>, runs: &[Uuid]) -> Result<(Vec<News>, i64)> {
    let lock = transaction.prepare_cached(OPEN_CHUNKS).await?;
    let mut news = Vec::new();
    let (mut ids, mut numbers, mut states) = (Vec::new(), Vec::<i32>::new(), Vec::new());
    let mut left = CLOSED_CHUNKS;
    for run in runs {
        let rows = transaction.query(&lock, &[run, &left]).await?;
        left -= rows.len() as i64;
        for row in &rows {
            ids.push(*run);
            numbers.push(row.get(1));
            states.push(cancelled(row, &mut news));
        }
        if left == 0 {
            break;
        }
    }
    let close = transaction.prepare_cached(CLOSE_CHUNKS).await?;
    transaction.execute(&close, &[&ids, &numbers, &states]).await?;
    Ok((news, left))
}

/// The states of a chunk's row with everything open closed as cancelled.
fn cancelled(row: &tokio_postgres::Row, news: &mut Vec<News>) -> Vec<u8> {
    let mut positions = Positions::from_row(row.get(5), row.get(6));
    let keys: &[u8] = row.get(4);
    for (position, _) in positions.clone().open_positions() {
        positions.close(position, Status::Cancelled);
        let Some(key) = keys.get(position * 8..position * 8 + 8).and_then(|b| b.try_into().ok()) else { continue };
        news.push(News {
            id: DeliveryId { run: RunId(row.get(0)), subject: i64::from_be_bytes(key), link: row.get(7) },
            tenant: TenantKey(row.get(2)),
            platform: Platform::from_number(row.get(3)),
            status: Status::Cancelled,
            reason: Some(Reason::Cancelled),
            person: None,
            provider_id: None,
            at: row.get(8),
        });
    }
    positions.states().to_vec()
}

/// Closes everything open in a chunk as expired.
fn expire(row: &mut ChunkRow, news: &mut Vec<News>, touches: &mut Vec<CascadeTouch>) {
    for (position, _) in row.positions.clone().open_positions() {
        row.positions.close(position, Status::Expired);
        let Some(subject) = row.device_key(position) else { continue };
        news.push(News {
            id: DeliveryId { run: row.id.run, subject, link: row.link },
            tenant: row.tenant,
            platform: Some(row.platform),
            status: Status::Expired,
            reason: Some(Reason::Ttl),
            person: None,
            provider_id: None,
            at: row.now,
        });
        if let Some(person_number) = row.person_number(position) {
            touches.push(CascadeTouch {
                run: row.id.run,
                link: row.link + 1,
                person_number,
                closed: 1,
                sent: false,
                fires: fires_at_once(Status::Expired, Some(Reason::Ttl)),
            });
        }
    }
}

/// Ends a page of cascades; returns how many more the page would have taken.
async fn cancel_cascades(transaction: &Transaction<'_>, runs: &[Uuid]) -> Result<i64> {
    let statement = transaction.prepare_cached(CANCEL_CASCADES).await?;
    let mut left = CLOSED_CASCADES;
    for run in runs {
        left -= transaction.execute(&statement, &[run, &left]).await? as i64;
        if left == 0 {
            break;
        }
    }
    Ok(left)
}
