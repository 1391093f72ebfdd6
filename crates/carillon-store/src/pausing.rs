//! What comes due while its notification is paused is set aside by whoever meets it, and taken up again after the resume.
//!
//! Setting aside needs the notification's row in share mode, and does not wait for it: so the state that was read still holds when
//! it commits, whoever resumes comes after it, and nobody waits for a run while holding its chunks or cascades. What cannot be set
//! aside at the moment stays due, and is met again.

use crate::claim::rest_due;
use crate::commit::commit;
use crate::{Result, Store};
use carillon_domain::chunk::Positions;
use carillon_domain::ids::{ChunkId, NotificationId, RunId};
use carillon_failpoint::Point;
use deadpool_postgres::{GenericClient, Transaction};
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio_postgres::Row;
use uuid::Uuid;

/// Chunks that one look takes up, in even shares of the notifications that it finds.
const CHUNKS: i64 = 1_000;
/// Cascades that one look takes up, shared likewise.
const CASCADES: i64 = 5_000;
/// Notifications that one look finds.
const NOTIFICATIONS: i64 = 20;

/// One that has expired is not due either: it is for the closing of what expired, which does not ask when it is due, and looking at it again
/// and again would keep the scan from all others.
const SET_ASIDE: &str = "
    WITH asked AS MATERIALIZED (
        SELECT c.run_id, c.chunk, c.notification_id FROM unnest($1::uuid[], $2::int4[]) AS k(run_id, chunk)
        JOIN chunks c ON c.run_id = k.run_id AND c.chunk = k.chunk
    ), paused AS MATERIALIZED (
        SELECT n.notification_id FROM notifications n
        WHERE n.notification_id = ANY(ARRAY(SELECT notification_id FROM asked)) AND n.state = 3
        FOR SHARE SKIP LOCKED
    )
    UPDATE chunks c SET outstanding = false,
        due_at = CASE WHEN c.expires_at > now() THEN c.expires_at ELSE now() + interval '1 minute' END
    FROM asked a JOIN paused p ON p.notification_id = a.notification_id
    WHERE c.run_id = a.run_id AND c.chunk = a.chunk AND c.due_at IS NOT NULL";

/// What a copy of its message was spent on that found it paused, and that is not set aside: it was resumed at that very moment.
const GIVE_BACK: &str = "
    UPDATE chunks c SET due_at = now(), outstanding = false
    FROM unnest($1::uuid[], $2::int4[]) AS k(run_id, chunk)
    WHERE c.run_id = k.run_id AND c.chunk = k.chunk AND c.due_at IS NOT NULL AND c.outstanding";

const RESUMED: &str = "
    SELECT notification_id, resumed_at FROM notifications WHERE resumed_at IS NOT NULL ORDER BY resumed_at LIMIT $1";

const LOCK: &str = "
    SELECT run_id FROM notifications WHERE notification_id = $1 AND resumed_at = $2 FOR NO KEY UPDATE SKIP LOCKED";

const ASIDE: &str = "
    SELECT chunk, states, not_before, run_started_at, expires_at, now() FROM chunks
    WHERE run_id = $1 AND chunk > $2 AND due_at = expires_at
    ORDER BY chunk LIMIT $3 FOR NO KEY UPDATE";

const TAKE_UP: &str = "
    UPDATE chunks c SET due_at = w.due_at FROM unnest($2::int4[], $3::timestamptz[]) AS w(chunk, due_at)
    WHERE c.run_id = $1 AND c.chunk = w.chunk";

/// One whose devices are all through goes on at once; the others wait on, as long as they still had to when the pause began.
const TAKE_UP_CASCADES: &str = "
    UPDATE cascades c SET due_at = CASE WHEN c.state = 2 OR c.open_devices <= 0 AND NOT c.any_sent THEN now()
        ELSE greatest(now(), carillon_waited(coalesce(c.first_sent_at, c.released_at),
                                            c.within_seconds * interval '1 second', n.pauses)) END
    FROM (SELECT run_id, link, person_number FROM cascades WHERE run_id = $1 AND state IN (1, 2) AND due_at IS NULL
          ORDER BY run_id, link, person_number LIMIT $2 FOR NO KEY UPDATE) aside, notifications n
    WHERE c.run_id = aside.run_id AND c.link = aside.link AND c.person_number = aside.person_number
      AND n.notification_id = c.notification_id";

const TAKEN_UP: &str = "
    UPDATE notifications SET resumed_at = NULL WHERE notification_id = $1
    AND NOT EXISTS (SELECT 1 FROM cascades WHERE run_id = $2 AND state IN (1, 2) AND due_at IS NULL)";

const DUE_PAUSED: &str = "
    SELECT notification_id, epoch, body, coalesce(scheduled_at, created_at), expires_at, now(), run_id FROM notifications
    WHERE due_at <= now() AND state = 3 ORDER BY due_at LIMIT $1";

const LOOK_LATER: &str = "UPDATE notifications SET due_at = $3 WHERE notification_id = $1 AND epoch = $2 AND state = 3";

/// As a resume: nothing of it can be sent any more, and all of it ends as expired.
const LET_EXPIRE: &str = "
    UPDATE notifications SET state = 2, epoch = epoch + 1, copies = 0, paused_at = NULL,
        due_at = CASE WHEN NOT expanded THEN now() END, resumed_at = CASE WHEN run_id IS NOT NULL THEN now() END
    WHERE notification_id = $1 AND epoch = $2 AND state = 3";

/// A paused notification whose look is due.
pub struct DuePaused {
    /// The notification.
    pub notification_id: NotificationId,
    /// Names the row as it was read.
    pub epoch: i32,
    /// What it says (`carillon_wire::decode_body`).
    pub body: Vec<u8>,
    /// When sending was due.
    pub released_at: Timestamp,
    /// When its messages expire, once its run started.
    pub expires_at: Option<Timestamp>,
    /// The database's clock.
    pub now: Timestamp,
    /// Its run, once started.
    pub run: Option<RunId>,
}

/// Sets chunks aside that are locked by this transaction, as far as their notifications are paused; how many.
pub(crate) async fn set_aside(transaction: &impl GenericClient, chunks: &[ChunkId]) -> Result<u64> {
    if chunks.is_empty() {
        return Ok(0);
    }
    let (runs, numbers): (Vec<Uuid>, Vec<i32>) = chunks.iter().map(|c| (c.run.0, c.number as i32)).unzip();
    let statement = transaction.prepare_cached(SET_ASIDE).await?;
    Ok(transaction.execute(&statement, &[&runs, &numbers]).await?)
}

/// As [`set_aside`], for chunks whose messages were spent on claims that found them paused: what cannot be set aside is due now.
pub(crate) async fn set_aside_or_give_back(transaction: &Transaction<'_>, chunks: &[ChunkId]) -> Result<()> {
    if set_aside(transaction, chunks).await? < chunks.len() as u64 {
        let (runs, numbers): (Vec<Uuid>, Vec<i32>) = chunks.iter().map(|c| (c.run.0, c.number as i32)).unzip();
        let statement = transaction.prepare_cached(GIVE_BACK).await?;
        transaction.execute(&statement, &[&runs, &numbers]).await?;
    }
    Ok(())
}

/// How far this process has come with what was resumed, by notification and resume: the last chunk that it looked at. Forgetting it costs a
/// second look at chunks that stay aside because they have nothing to do before they expire.
#[derive(Default)]
pub(crate) struct TakingUp(Mutex<HashMap<(Uuid, Timestamp), i32>>);

impl TakingUp {
    fn last(&self, resumed: (Uuid, Timestamp)) -> i32 {
        self.lock().get(&resumed).copied().unwrap_or(-1)
    }

    fn came_to(&self, resumed: (Uuid, Timestamp), chunk: i32) {
        self.lock().insert(resumed, chunk);
    }

    fn keep_only(&self, resumed: &[(Uuid, Timestamp)]) {
        self.lock().retain(|one, _| resumed.contains(one));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Uuid, Timestamp), i32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one look at resumed notifications did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakenUp {
    /// Notifications of which nothing is set aside any more.
    pub through: u64,
    /// Something is left that can be taken up at once.
    pub more: bool,
}

impl Store {
    /// Takes up what was set aside of notifications that were resumed, a page of it: chunks are due again, cascades wait on. However much
    /// there is, the call stays short, and each of the notifications has its share of it.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away; what is left is found by the next call.
    pub async fn take_up_resumed(&self) -> Result<TakenUp> {
        let rows = self.rows(RESUMED, &[&NOTIFICATIONS]).await?;
        let resumed: Vec<(Uuid, Timestamp)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        self.taking_up.keep_only(&resumed);
        let share = (resumed.len() as i64).max(1);
        let mut taken_up = TakenUp::default();
        let full = resumed.len() as i64 == NOTIFICATIONS;
        for one in resumed {
            match self.take_up(one, self.taking_up.last(one), share).await? {
                Page::Through => {
                    taken_up.through += 1;
                    // Others may stand behind it.
                    taken_up.more |= full;
                }
                Page::More(chunk) => {
                    self.taking_up.came_to(one, chunk);
                    taken_up.more = true;
                }
                Page::Elsewhere => {}
            }
        }
        Ok(taken_up)
    }

    async fn take_up(&self, (notification, resumed_at): (Uuid, Timestamp), after: i32, share: i64) -> Result<Page> {
        let (most_chunks, most_cascades) = (CHUNKS / share, CASCADES / share);
        let mut connection = self.connection().await?;
        let transaction = connection.transaction().await?;
        let lock = transaction.prepare_cached(LOCK).await?;
        // Paused again, or another process is at it.
        let Some(run) = transaction.query_opt(&lock, &[&notification, &resumed_at]).await? else {
            return Ok(Page::Elsewhere);
        };
        let run: Uuid = run.get(0);
        let aside = transaction.prepare_cached(ASIDE).await?;
        let rows = transaction.query(&aside, &[&run, &after, &most_chunks]).await?;
        let (chunks, due): (Vec<i32>, Vec<Option<Timestamp>>) =
            rows.iter().map(|row| (row.get::<_, i32>(0), rested(row))).unzip();
        if !chunks.is_empty() {
            let take_up = transaction.prepare_cached(TAKE_UP).await?;
            transaction.execute(&take_up, &[&run, &chunks, &due]).await?;
        }
        let cascades = transaction.prepare_cached(TAKE_UP_CASCADES).await?;
        transaction.execute(&cascades, &[&run, &most_cascades]).await?;
        let mut through = (chunks.len() as i64) < most_chunks;
        if through {
            let taken_up = transaction.prepare_cached(TAKEN_UP).await?;
            through = transaction.execute(&taken_up, &[&notification, &run]).await? > 0;
        }
        commit(transaction, Point::CancelledCommit).await?;
        Ok(if through { Page::Through } else { Page::More(chunks.last().copied().unwrap_or(after)) })
    }

    /// Paused notifications whose look is due, at most `limit`: their time has come, or they may have expired.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn due_paused(&self, limit: i64) -> Result<Vec<DuePaused>> {
        let rows = self.rows(DUE_PAUSED, &[&limit]).await?;
        let read = |row: &Row| DuePaused {
            notification_id: NotificationId(row.get(0)),
            epoch: row.get(1),
            body: row.get(2),
            released_at: row.get(3),
            expires_at: row.get(4),
            now: row.get(5),
            run: row.get::<_, Option<Uuid>>(6).map(RunId),
        };
        Ok(rows.iter().map(read).collect())
    }

    /// Has a paused notification looked at again later.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn look_later(&self, paused: &DuePaused, at: Timestamp) -> Result<()> {
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&paused.notification_id.0, &paused.epoch, &at];
        self.write_count(Point::DueNotificationsCommit, LOOK_LATER, &parameters).await.map(drop)
    }

    /// Ends the pause of a notification that has expired, so that what it did not send is closed as expired.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn let_expire(&self, paused: &DuePaused) -> Result<()> {
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&paused.notification_id.0, &paused.epoch];
        self.write_count(Point::DueNotificationsCommit, LET_EXPIRE, &parameters).await.map(drop)
    }
}

enum Page {
    /// All is taken up.
    Through,
    /// More may follow behind this chunk.
    More(i32),
    /// Not this call's to do.
    Elsewhere,
}

/// When a chunk that nobody works on is due.
fn rested(row: &Row) -> Option<Timestamp> {
    rest_due(&Positions::from_row(row.get(1), row.get(2)), row.get(3), row.get(4), row.get(5))
}
