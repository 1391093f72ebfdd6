//! Cancelling, pausing and resuming: the row is flipped, everybody reads it, and what has to follow is done in pages behind it
//! (the scan).

use crate::{Error, Result, Store};
use carillon_domain::ids::{AppKey, NotificationId, TenantKey};
use carillon_domain::notification::State;
use carillon_failpoint::Point;
use deadpool_postgres::Transaction;
use tokio_postgres::types::ToSql;

/// Pauses of one notification that are kept apart; beyond that the time between the earlier ones counts as paused too.
const PAUSES: i64 = 64;
/// Looks at a row that others are changing at the same time.
const LOOKS: usize = 5;

/// What became of a wish to cancel, pause or resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steered {
    /// It stands as wished, now or before.
    Done,
    /// It is cancelled or finished: nothing is left to steer.
    Over(State),
    /// There is no such notification.
    Absent,
}

/// Pushes of `n` that are closed.
const CLOSED: &str = "(SELECT sum(c.suppressed + c.cancelled + c.expired + c.unknown + c.failed + c.sent)
    FROM run_counters c WHERE c.run_id = n.run_id AND c.channel = 1)";

/// Nothing of `n` is queued and no cascade waits, whatever its row says yet. `closed` is how many of its pushes are closed.
pub(crate) fn through(closed: &str) -> String {
    format!(
        "(n.expanded AND n.pushes <= coalesce({closed}, 0)
          AND NOT EXISTS (SELECT 1 FROM cascades w WHERE w.run_id = n.run_id AND w.state IN (1, 2)))"
    )
}

const MINE: &str = "n.tenant_key = $1 AND n.notification_id = $2 AND a.app_key = n.app_key
    AND ($3::text[] IS NULL OR a.app = ANY($3))";

/// A run that never started has nothing to close; else the closing is due now.
const CANCELLED: &str = "state = 4, epoch = n.epoch + 1, paused_at = NULL, resumed_at = NULL,
    due_at = CASE WHEN n.run_id IS NOT NULL THEN now() END, finished_at = CASE WHEN n.run_id IS NULL THEN now() END";

/// One that waits behind an expansion sees the row as that one leaves it.
const CANCEL: &str = "
    UPDATE notifications n SET {cancelled} FROM apps a
    WHERE {mine} AND (n.state = 1 OR n.state IN (2, 3) AND NOT {through})";

/// When it expires is known once it started; until then the look at its time finds it out.
const PAUSE: &str = "
    UPDATE notifications n SET state = 3, epoch = n.epoch + 1, paused_at = now(), resumed_at = NULL,
        due_at = coalesce(n.expires_at, n.scheduled_at, n.created_at)
    FROM apps a
    WHERE {mine} AND (n.state = 1 OR n.state = 2 AND NOT {through})";

/// Back to waiting for its time, or on with sending: the audience from its cursor, and what was set aside behind it.
const RESUME: &str = "
    UPDATE notifications n SET epoch = n.epoch + 1, copies = 0, paused_at = NULL,
        state = CASE WHEN n.run_id IS NULL AND n.scheduled_at > now() THEN 1 ELSE 2 END,
        due_at = CASE WHEN n.expanded THEN NULL WHEN n.run_id IS NULL AND n.scheduled_at > now() THEN n.scheduled_at ELSE now() END,
        resumed_at = CASE WHEN n.run_id IS NOT NULL THEN now() END,
        pauses = CASE WHEN (SELECT count(*) FROM unnest(n.pauses)) < {pauses} THEN coalesce(n.pauses, '{}')
                      ELSE tstzmultirange(range_merge(n.pauses)) END
                 + tstzmultirange(tstzrange(n.paused_at, greatest(n.paused_at, now())))
    FROM apps a
    WHERE {mine} AND n.state = 3 AND NOT {through}";

const STANDS: &str = "
    SELECT n.state, {through} FROM notifications n JOIN apps a ON a.app_key = n.app_key
    WHERE {mine}";

/// What an app that is deleted leaves: nobody will send it any more. What is unfinished has a time, or is all published; so few rows are found
/// by the indexes of these.
const CANCEL_OF_APP: &str = "
    WITH mine AS MATERIALIZED (
        SELECT n.notification_id FROM notifications n
        WHERE n.notification_id = ANY(ARRAY(
            SELECT m.notification_id FROM notifications m
            WHERE m.due_at IS NOT NULL AND m.tenant_key = $1 AND ($2::int4 IS NULL OR m.app_key = $2)
            UNION ALL
            SELECT m.notification_id FROM notifications m
            WHERE m.state = 2 AND m.expanded AND m.tenant_key = $1 AND ($2::int4 IS NULL OR m.app_key = $2)))
        ORDER BY n.notification_id
        FOR NO KEY UPDATE OF n
    )
    UPDATE notifications n SET {cancelled} FROM mine
    WHERE n.notification_id = mine.notification_id AND (n.state = 1 OR n.state IN (2, 3) AND NOT {through})";

/// As [`CANCEL_OF_APP`], what was accepted at the very moment when its app was deleted.
const CANCEL_ORPHANS: &str = "
    UPDATE notifications n SET {cancelled}
    WHERE n.due_at IS NOT NULL AND n.state IN (1, 2, 3) AND NOT EXISTS (SELECT 1 FROM apps a WHERE a.app_key = n.app_key)";

/// Cancels what is unfinished of a tenant's app, or of all its apps, in the transaction that deletes them.
pub(crate) async fn cancel_of_app(transaction: &Transaction<'_>, tenant: TenantKey, app: Option<AppKey>) -> Result<()> {
    let statement = transaction.prepare_cached(&text(CANCEL_OF_APP)).await?;
    transaction.execute(&statement, &[&tenant.0, &app.map(|app| app.0)]).await?;
    Ok(())
}

fn text(sql: &str) -> String {
    sql.replace("{mine}", MINE)
        .replace("{cancelled}", CANCELLED)
        .replace("{through}", &through(CLOSED))
        .replace("{pauses}", &PAUSES.to_string())
}

impl Store {
    /// Cancels what was not sent yet of a notification of a tenant, of `only` these apps if given. Effective at once: claims,
    /// reports, cascades and the scan read the row. A request that is under way at a provider finishes.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn cancel_notification(
        &self,
        tenant: TenantKey,
        id: NotificationId,
        only: Option<&[String]>,
    ) -> Result<Steered> {
        self.steer(CANCEL, &[State::Cancelled], tenant, id, only).await
    }

    /// Stops sending until [`Store::resume_notification`], as effective as a cancel. One that is scheduled keeps its time.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn pause_notification(
        &self,
        tenant: TenantKey,
        id: NotificationId,
        only: Option<&[String]>,
    ) -> Result<Steered> {
        self.steer(PAUSE, &[State::Paused], tenant, id, only).await
    }

    /// Goes on where a pause stopped it; what is not paused is left as it is. What is scheduled waits for its time, what missed it
    /// is sent at once, what outlived its time to live ends as expired.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn resume_notification(
        &self,
        tenant: TenantKey,
        id: NotificationId,
        only: Option<&[String]>,
    ) -> Result<Steered> {
        self.steer(RESUME, &[State::Scheduled, State::Sending], tenant, id, only).await
    }

    /// Cancels what was accepted while its app was being deleted; how many notifications.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn cancel_orphans(&self) -> Result<u64> {
        self.write_count(Point::CancelCommit, &text(CANCEL_ORPHANS), &[]).await
    }

    async fn steer(
        &self,
        sql: &str,
        wished: &[State],
        tenant: TenantKey,
        id: NotificationId,
        only: Option<&[String]>,
    ) -> Result<Steered> {
        let parameters: [&(dyn ToSql + Sync); 3] = [&tenant.0, &id.0, &only];
        for _ in 0..LOOKS {
            if self.write_count(Point::CancelCommit, &text(sql), &parameters).await? > 0 {
                return Ok(Steered::Done);
            }
            let Some(row) = self.maybe_row(&text(STANDS), &parameters).await? else { return Ok(Steered::Absent) };
            let state = State::from_number(row.get(0)).ok_or_else(|| Error::corrupt("a notification's state"))?;
            match state {
                state if wished.contains(&state) && !row.get::<_, bool>(1) => return Ok(Steered::Done),
                State::Cancelled if wished.contains(&State::Cancelled) => return Ok(Steered::Done),
                State::Cancelled | State::Finished => return Ok(Steered::Over(state)),
                _ if row.get(1) => return Ok(Steered::Over(State::Finished)),
                // Somebody steered it elsewhere in between.
                _ => {}
            }
        }
        Err(Error::Unavailable("the notification is changed by too many at once".into()))
    }
}
