//! Telling what became of deliveries: batches that commits left, described for those who listen.

use crate::status_batch::decode;
use crate::{Result, StatusChange, Store};
use carillon_failpoint::Point;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

/// A batch that a commit left.
pub struct StatusBatch {
    /// Its number.
    pub id: i64,
    /// What changed.
    pub changes: Vec<StatusChange>,
}

/// What a change is about.
#[derive(Clone, Debug)]
pub struct StatusSubject {
    /// The notification.
    pub notification_id: Uuid,
    /// The app's public id.
    pub app: String,
    /// The notification's body, for reference and metadata; shared by all changes of the notification.
    pub body: Arc<[u8]>,
    /// The device's public id, of one that was named and is not there too.
    pub device: Option<String>,
    /// The user.
    pub user_id: Option<String>,
    /// The platform's number.
    pub platform: Option<i16>,
    /// The provider's id of the message.
    pub provider_id: Option<String>,
    /// The SMS gateway.
    pub gateway: Option<String>,
    /// The button of the first click.
    pub action: Option<String>,
}

const TAKE: &str = "
    UPDATE status_batches b SET due_at = now() + interval '10 seconds'
    FROM (SELECT batch_id FROM status_batches WHERE due_at <= now() ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED) t
    WHERE b.batch_id = t.batch_id
    RETURNING b.batch_id, b.changes";

/// `OFFSET 0` keeps each part a search by key: a join of tables of which nothing is known yet, as of a new week's deliveries, read all of them.
const DESCRIBE: &str = "
    SELECT k.i::int, n.notification_id, a.app, coalesce(d.device, p.device), coalesce(d.user_id, p.user_id), dl.platform, dl.provider_id,
           c.gateway, dl.action
    FROM unnest($1::uuid[], $2::int8[], $3::int2[]) WITH ORDINALITY AS k(run_id, subject, link, i)
    CROSS JOIN LATERAL (SELECT n.* FROM notifications n WHERE n.run_id = k.run_id OFFSET 0) n
    JOIN apps a ON a.app_key = n.app_key
    CROSS JOIN LATERAL (
        SELECT x.platform, x.provider_id, x.action, x.person FROM deliveries x
        WHERE x.run_id = k.run_id AND x.subject = k.subject AND x.link = k.link OFFSET 0) dl
    LEFT JOIN LATERAL (SELECT x.device, x.user_id FROM devices x WHERE x.device_key = k.subject OFFSET 0) d ON true
    LEFT JOIN LATERAL (
        SELECT x.person, x.gateway FROM cascades x
        WHERE k.subject < 0 AND x.run_id = k.run_id AND x.link = k.link AND x.person_number = -1 - k.subject OFFSET 0) c ON true
    CROSS JOIN LATERAL (
        SELECT CASE WHEN starts_with(person, 'u:') THEN substring(person FROM 3) END AS user_id,
               CASE WHEN starts_with(person, 'd:') AND k.link = 0 THEN substring(person FROM 3) END AS device
        FROM (SELECT coalesce(dl.person, c.person) AS person) who) p";

impl Store {
    /// Takes batches that are to be told, at most `limit`; whoever takes them has ten seconds before somebody else may. Those that do not
    /// read are set aside.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn take_status_batches(&self, limit: i64) -> Result<Vec<StatusBatch>> {
        let rows = self.write(Point::StatusTakeCommit, TAKE, &[&limit]).await?;
        let (mut batches, mut unreadable) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in &rows {
            match decode(row.get(1)) {
                Ok(changes) => batches.push(StatusBatch { id: row.get(0), changes }),
                Err(_) => unreadable.push(row.get(0)),
            }
        }
        if !unreadable.is_empty() {
            self.park_status_batches(&unreadable).await?;
        }
        Ok(batches)
    }

    /// Sets batches aside that cannot be told, so that they hold no others up. They stay, never due, until an operator who knows what is
    /// wrong makes them due or deletes them.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away; they are then met again.
    async fn park_status_batches(&self, ids: &[i64]) -> Result<()> {
        tracing::error!(batches = ?ids, "batches of status changes do not read as they were written, and are set aside (due_at = infinity)");
        let sql = "UPDATE status_batches SET due_at = 'infinity' WHERE batch_id = ANY($1)";
        self.write_count(Point::StatusTakeCommit, sql, &[&ids]).await.map(drop)
    }

    /// Deletes batches that were told.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away; they are then told again.
    pub async fn status_batches_told(&self, ids: &[i64]) -> Result<()> {
        let sql = "DELETE FROM status_batches WHERE batch_id = ANY($1)";
        self.write_count(Point::StatusToldCommit, sql, &[&ids]).await.map(drop)
    }

    /// Whose runs these are: the public ids of tenant and app. Runs that are gone (retention) are left out.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn owners_of_runs(&self, runs: &[Uuid]) -> Result<HashMap<Uuid, (String, String)>> {
        let sql = "SELECT n.run_id, t.tenant, a.app FROM notifications n
                   JOIN tenants t ON t.tenant_key = n.tenant_key JOIN apps a ON a.app_key = n.app_key
                   WHERE n.run_id = ANY($1)";
        let rows = self.rows(sql, &[&runs]).await?;
        Ok(rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect())
    }

    /// What changes are about, in the order given; `None` where the rows are gone (retention).
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn describe_changes(&self, changes: &[StatusChange]) -> Result<Vec<Option<StatusSubject>>> {
        let runs: Vec<Uuid> = changes.iter().map(|c| c.run).collect();
        let subjects: Vec<i64> = changes.iter().map(|c| c.subject).collect();
        let links: Vec<i16> = changes.iter().map(|c| c.link).collect();
        let rows = self.rows(DESCRIBE, &[&runs, &subjects, &links]).await?;
        let bodies = self.bodies(&rows).await?;
        let mut all: Vec<Option<StatusSubject>> = vec![None; changes.len()];
        for row in &rows {
            let notification_id: Uuid = row.get(1);
            let i = row.get::<_, i32>(0) as usize - 1;
            all[i] = Some(StatusSubject {
                notification_id,
                app: row.get(2),
                body: bodies.get(&notification_id).map_or_else(|| Arc::from([]), Arc::clone),
                device: row.get(3),
                user_id: row.get(4),
                platform: row.get(5),
                provider_id: row.get(6),
                gateway: row.get(7),
                action: row.get(8),
            });
        }
        Ok(all)
    }
    /// Each notification's body once, however many of its deliveries changed.
    async fn bodies(&self, rows: &[tokio_postgres::Row]) -> Result<HashMap<Uuid, Arc<[u8]>>> {
        let mut ids: Vec<Uuid> = rows.iter().map(|row| row.get(1)).collect();
        ids.sort_unstable();
        ids.dedup();
        let sql = "SELECT notification_id, body FROM notifications WHERE notification_id = ANY($1)";
        let found = self.rows(sql, &[&ids]).await?;
        Ok(found.iter().map(|row| (row.get(0), Arc::from(row.get::<_, &[u8]>(1)))).collect())
    }
}

/// The instant of a change.
pub fn changed_at(change: &StatusChange) -> Timestamp {
    Timestamp::from_millisecond(change.at_ms).unwrap_or(Timestamp::UNIX_EPOCH)
}
