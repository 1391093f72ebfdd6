//! The scan: whatever is due and was not looked at is published (again). The committed rows are the outbox and the timers.

use crate::expand::devices_by_key;
use crate::statuses::{DeliveryId, News, write_news};
use crate::{Error, Recipient, Result, Store};
use carillon_domain::chunk::Positions;
use carillon_domain::delivery_status::{Reason, Status};
use carillon_domain::ids::{AppKey, ChunkId, DeviceKey, NotificationId, RunId, TenantKey};
use carillon_domain::platform::{Lane, Platform};
use jiff::Timestamp;
use std::collections::HashMap;
use uuid::Uuid;

/// Published chunks of a lane that were not given back, by platform. Those that are due again do not count: their copy is lost or late.
pub(crate) const OUTSTANDING: &str = "
    SELECT platform, count(*) FROM chunks
    WHERE lane = $1 AND due_at IS NOT NULL AND due_at > now() AND outstanding
    GROUP BY platform";

const DUE_NOTIFICATIONS: &str = "
    UPDATE notifications n SET copies = n.copies + 1,
        due_at = now() + least(CASE n.lane WHEN 1 THEN 5 ELSE 60 END * power(2, least(n.copies, 12)), 3600) * interval '1 second'
    FROM (SELECT notification_id FROM notifications WHERE due_at <= now() AND state IN (1, 2) AND NOT expanded
          ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED) due
    WHERE n.notification_id = due.notification_id
    RETURNING n.notification_id, n.tenant_key, n.app_key, n.lane";

/// Round robin between tenants: everybody's oldest chunk before anybody's second.
const DUE_CHUNKS: &str = "
    WITH ranked AS (
        SELECT run_id, chunk, due_at, row_number() OVER (PARTITION BY tenant_key ORDER BY due_at) AS turn
        FROM (SELECT run_id, chunk, tenant_key, due_at FROM chunks
              WHERE platform = $1 AND lane = $2 AND due_at <= now() ORDER BY due_at LIMIT 10000) oldest
    ), mine AS (
        SELECT c.run_id, c.chunk FROM (SELECT run_id, chunk FROM ranked ORDER BY turn, due_at LIMIT $3) r
        JOIN chunks c ON c.run_id = r.run_id AND c.chunk = r.chunk
        WHERE c.due_at <= now() AND (c.lease_until IS NULL OR c.lease_until <= now())
        ORDER BY c.run_id, c.chunk
        FOR UPDATE OF c SKIP LOCKED
    )
    UPDATE chunks c SET copies = c.copies + 1, outstanding = true,
        due_at = now() + least(CASE c.lane WHEN 1 THEN 5 ELSE 60 END * power(2, least(c.copies, 12)), 3600) * interval '1 second'
    FROM mine, notifications n, apps a, tenants t
    WHERE c.run_id = mine.run_id AND c.chunk = mine.chunk AND n.notification_id = c.notification_id
      AND a.app_key = c.app_key AND t.tenant_key = c.tenant_key
    RETURNING c.run_id, c.chunk, c.copies, c.notification_id, c.tenant_key, t.tenant, c.app_key, a.icon_url,
        coalesce(a.default_locale, t.default_locale), c.device_keys, c.states, c.not_before, c.expires_at,
        coalesce(n.scheduled_at, n.created_at), n.body, c.link";

/// A notification to wake the segmenter for.
#[derive(Clone, Copy, Debug)]
pub struct DueNotification {
    /// The notification.
    pub notification_id: NotificationId,
    /// Whose.
    pub tenant_key: TenantKey,
    /// Which app's.
    pub app_key: AppKey,
    /// Its lane.
    pub lane: Lane,
}

/// A chunk to publish again, with its devices as they are now.
pub struct DueChunk {
    /// The chunk.
    pub chunk: ChunkId,
    /// Which publication this is.
    pub copy: u32,
    /// The notification.
    pub notification_id: NotificationId,
    /// Whose.
    pub tenant_key: TenantKey,
    /// The tenant's public id.
    pub tenant: String,
    /// Which app's.
    pub app_key: AppKey,
    /// The app's icon.
    pub icon_url: Option<String>,
    /// The default locale.
    pub default_locale: Option<String>,
    /// When its messages expire.
    pub expires_at: Timestamp,
    /// When sending became due.
    pub released_at: Timestamp,
    /// What to send.
    pub body: Vec<u8>,
    /// The cascade's link it belongs to, 0 = the notification's own pushes.
    pub link: i16,
    /// Open positions: position, device key, and the device unless it is gone.
    pub targets: Vec<(u16, DeviceKey, Option<Recipient>)>,
}

impl Store {
    /// Takes notifications that are due, at most `limit`, and moves them on to their next look.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn due_notifications(&self, limit: i64) -> Result<Vec<DueNotification>> {
        let connection = self.connection().await?;
        let statement = connection.prepare_cached(DUE_NOTIFICATIONS).await?;
        let rows = connection.query(&statement, &[&limit]).await?;
        rows.iter()
            .map(|row| {
                Ok(DueNotification {
                    notification_id: NotificationId(row.get(0)),
                    tenant_key: TenantKey(row.get(1)),
                    app_key: AppKey(row.get(2)),
                    lane: Lane::from_number(row.get(3)).ok_or_else(|| Error::corrupt("a notification's lane"))?,
                })
            })
            .collect()
    }

    /// Takes chunks that are due, as many as the platform and lane have credit for and at most `limit`, fairly between tenants, and moves them
    /// on to their next look.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn due_chunks(&self, platform: Platform, lane: Lane, credit: i64, limit: i64) -> Result<Vec<DueChunk>> {
        let mut connection = self.connection().await?;
        let transaction = connection.transaction().await?;
        let outstanding = transaction.prepare_cached(OUTSTANDING).await?;
        let used: i64 = transaction
            .query(&outstanding, &[&lane.number()])
            .await?
            .iter()
            .filter(|row| row.get::<_, i16>(0) == platform.number())
            .map(|row| row.get::<_, i64>(1))
            .sum();
        let free = (credit - used).min(limit);
        if free <= 0 {
            return Ok(Vec::new());
        }
        let statement = transaction.prepare_cached(DUE_CHUNKS).await?;
        let rows = transaction.query(&statement, &[&platform.number(), &lane.number(), &free]).await?;
        transaction.commit().await?;
        let mut chunks: Vec<DueChunk> = rows.iter().map(due_chunk).collect();
        let keys: Vec<i64> = chunks.iter().flat_map(|c| c.targets.iter().map(|t| t.1.0)).collect();
        if !keys.is_empty() {
            let devices: HashMap<i64, Recipient> =
                devices_by_key(&connection, &keys).await?.into_iter().map(|d| (d.key.0, d)).collect();
            for target in chunks.iter_mut().flat_map(|c| &mut c.targets) {
                target.2 = devices.get(&target.1.0).cloned();
            }
        }
        Ok(chunks)
    }

    /// Closes what a cancelled notification left open, a page at a time: chunks that nobody holds a lease on, and cascades that wait. `true`: the
    /// page was full, so more can be closed at once.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn close_cancelled(&self, slot: i16) -> Result<bool> {
        let mut connection = self.connection().await?;
        let transaction = connection.transaction().await?;
        let runs = transaction.prepare_cached(CLOSING).await?;
        let runs: Vec<Uuid> = transaction.query(&runs, &[]).await?.iter().map(|r| r.get(0)).collect();
        if runs.is_empty() {
            return Ok(false);
        }
        let lock = transaction.prepare_cached(OPEN_CHUNKS_OF).await?;
        let rows = transaction.query(&lock, &[&runs]).await?;
        let mut news = Vec::new();
        let (mut ids, mut numbers, mut states) = (Vec::new(), Vec::new(), Vec::new());
        for row in &rows {
            let run: Uuid = row.get(0);
            let mut positions = Positions::from_row(row.get(5), row.get(6));
            let keys: &[u8] = row.get(4);
            for (position, _) in positions.clone().open_positions() {
                let Some(key) = keys.get(position * 8..position * 8 + 8).and_then(|b| b.try_into().ok()) else {
                    continue;
                };
                positions.close(position, Status::Cancelled);
                news.push(News {
                    id: DeliveryId { run: RunId(run), subject: i64::from_be_bytes(key), link: row.get(7) },
                    tenant: TenantKey(row.get(2)),
                    platform: Platform::from_number(row.get(3)),
                    status: Status::Cancelled,
                    reason: Some(Reason::Cancelled),
                    person: None,
                    provider_id: None,
                    at: row.get(8),
                });
            }
            ids.push(run);
            numbers.push(row.get::<_, i32>(1));
            states.push(positions.states().to_vec());
        }
        let close = transaction.prepare_cached(CLOSE_CHUNKS).await?;
        transaction.execute(&close, &[&ids, &numbers, &states]).await?;
        let cascades = transaction.prepare_cached(CANCEL_CASCADES).await?;
        transaction.execute(&cascades, &[&runs]).await?;
        write_news(&transaction, news, slot).await?;
        let finish = transaction.prepare_cached(FINISH_CANCELLED).await?;
        transaction.execute(&finish, &[&runs]).await?;
        transaction.commit().await?;
        Ok(rows.len() == CLOSED_AT_ONCE)
    }

    /// Marks runs as finished of which nothing is queued and no cascade waits. Called after the commit that closed a chunk or a cascade, so the
    /// later of two such commits sees both.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away; the row is then found by [`Store::finish_stale`].
    pub async fn finish_runs(&self, runs: &[RunId]) -> Result<u64> {
        let connection = self.connection().await?;
        let statement = connection.prepare_cached(FINISH).await?;
        let runs: Vec<Uuid> = runs.iter().map(|r| r.0).collect();
        Ok(connection.execute(&statement, &[&runs]).await?)
    }

    /// Finds runs that were left unfinished by a crash between a commit and [`Store::finish_runs`]. `older_than` in seconds.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn finish_stale(&self, older_than: f64) -> Result<u64> {
        let connection = self.connection().await?;
        let rows = connection
            .query(
                "SELECT run_id FROM notifications WHERE state = 2 AND expanded AND run_started_at < now() - $1 * interval '1 second'
                 ORDER BY run_started_at LIMIT 500",
                &[&older_than],
            )
            .await?;
        let runs: Vec<Uuid> = rows.iter().map(|r| r.get(0)).collect();
        let statement = connection.prepare_cached(FINISH).await?;
        Ok(connection.execute(&statement, &[&runs]).await?)
    }

    /// Deletes what has served its time: idempotency keys after 30 days, forgotten devices after 35, invalid ones after 30. At most a few
    /// thousand rows a call; returns how many.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn purge(&self) -> Result<u64> {
        let connection = self.connection().await?;
        let keys = connection
            .execute(
                "DELETE FROM idempotency WHERE ctid IN (SELECT ctid FROM idempotency
                 WHERE created_at < now() - interval '30 days' ORDER BY created_at LIMIT 5000)",
                &[],
            )
            .await?;
        let devices = connection
            .execute(
                "DELETE FROM devices WHERE device_key IN (SELECT device_key FROM devices
                 WHERE (state = 5 AND state_at < now() - interval '35 days') OR (state = 3 AND state_at < now() - interval '30 days')
                 LIMIT 5000)",
                &[],
            )
            .await?;
        Ok(keys + devices)
    }
}

fn due_chunk(row: &tokio_postgres::Row) -> DueChunk {
    let keys: &[u8] = row.get(9);
    let positions = Positions::from_row(row.get(10), row.get(11));
    let key = |i: usize| keys.get(i * 8..i * 8 + 8).and_then(|b| b.try_into().ok()).map(i64::from_be_bytes);
    DueChunk {
        chunk: ChunkId { run: RunId(row.get(0)), number: row.get::<_, i32>(1) as u32 },
        copy: row.get::<_, i32>(2) as u32,
        notification_id: NotificationId(row.get(3)),
        tenant_key: TenantKey(row.get(4)),
        tenant: row.get(5),
        app_key: AppKey(row.get(6)),
        icon_url: row.get(7),
        default_locale: row.get(8),
        expires_at: row.get(12),
        released_at: row.get(13),
        body: row.get(14),
        link: row.get(15),
        targets: positions
            .open_positions()
            .filter_map(|(i, _)| key(i).map(|key| (i as u16, DeviceKey(key), None)))
            .collect(),
    }
}

/// Chunks that one page of closing takes; `OPEN_CHUNKS_OF` says the same.
const CLOSED_AT_ONCE: usize = 50;

const CLOSING: &str = "
    SELECT run_id FROM notifications
    WHERE state = 4 AND finished_at IS NULL AND run_id IS NOT NULL ORDER BY notification_id LIMIT 20 FOR UPDATE SKIP LOCKED";

const OPEN_CHUNKS_OF: &str = "
    SELECT run_id, chunk, tenant_key, platform, device_keys, states, not_before, link, now() FROM chunks
    WHERE run_id = ANY($1) AND due_at IS NOT NULL AND (lease_until IS NULL OR lease_until <= now())
    ORDER BY run_id, chunk LIMIT 50 FOR UPDATE SKIP LOCKED";

const CLOSE_CHUNKS: &str = "
    UPDATE chunks c SET states = w.states, due_at = NULL, outstanding = false
    FROM unnest($1::uuid[], $2::int4[], $3::bytea[]) AS w(run_id, chunk, states)
    WHERE c.run_id = w.run_id AND c.chunk = w.chunk";

const CANCEL_CASCADES: &str = "UPDATE cascades SET state = 4, due_at = NULL WHERE run_id = ANY($1) AND state = 1";

const FINISH_CANCELLED: &str = "
    UPDATE notifications n SET finished_at = now(), due_at = NULL, expanded = true
    WHERE n.run_id = ANY($1) AND n.state = 4
      AND NOT EXISTS (SELECT 1 FROM chunks c WHERE c.run_id = n.run_id AND c.due_at IS NOT NULL)";

const FINISH: &str = "
    UPDATE notifications n SET state = 5, finished_at = now()
    WHERE n.run_id = ANY($1) AND n.state = 2 AND n.expanded
      AND NOT EXISTS (SELECT 1 FROM chunks c WHERE c.run_id = n.run_id AND c.due_at IS NOT NULL)
      AND NOT EXISTS (SELECT 1 FROM cascades s WHERE s.run_id = n.run_id AND s.state IN (1, 2))";
