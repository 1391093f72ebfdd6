//! The scan: whatever is due and was not looked at is published (again). The committed rows are the outbox and the timers.

use crate::commit::commit;
use crate::expand::devices_by_key;
use crate::pausing::set_aside;
use crate::{Error, Recipient, Result, Store};
use carillon_domain::chunk::Positions;
use carillon_domain::ids::{AppKey, ChunkId, DeviceKey, NotificationId, RunId, TenantKey};
use carillon_domain::platform::{Lane, Platform};
use carillon_failpoint::Point;
use deadpool_postgres::Transaction;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

/// Published chunks of a lane that were not given back, by platform, and a tenant's among them. Those that are due again do not count:
/// their copy is lost or late.
pub(crate) const OUTSTANDING: &str = "
    SELECT platform, count(*), count(*) FILTER (WHERE tenant_key = $2) FROM chunks
    WHERE lane = $1 AND outstanding AND due_at > now()
    GROUP BY platform";

/// Looks for due chunks while all that is found belongs to paused notifications.
const LOOKS: usize = 20;

const DUE_NOTIFICATIONS: &str = "
    UPDATE notifications n SET copies = n.copies + 1,
        due_at = now() + least(5 * power(2, least(n.copies, 12)), 3600) * interval '1 second'
    FROM (SELECT notification_id FROM notifications WHERE due_at <= now() AND state IN (1, 2) AND NOT expanded
          ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED) due
    WHERE n.notification_id = due.notification_id
    RETURNING n.notification_id, n.tenant_key, n.app_key, n.lane, n.epoch, n.traceparent";

/// Mostly nothing is due, and then this is all that a look costs: what follows leaps through all tenants of whom something waits.
const DUE_LANES: &str = "
    SELECT p.platform, l.lane FROM unnest($1::int2[]) AS p(platform), unnest($2::int2[]) AS l(lane)
    WHERE (SELECT 1 FROM chunks c WHERE c.platform = p.platform AND c.lane = l.lane AND c.due_at <= now() LIMIT 1) IS NOT NULL";

/// Shares the credit of a platform and lane between tenants: who has least in hand comes first, and everybody's oldest chunk before
/// anybody's second. The tenants with open chunks are found by leaping through the index, so that a backlog of one costs the
/// others nothing.
const DUE_CHUNKS: &str = "
    WITH RECURSIVE tenant AS (
        (SELECT c.tenant_key FROM chunks c WHERE c.platform = $1 AND c.lane = $2 AND c.due_at IS NOT NULL
         ORDER BY c.tenant_key LIMIT 1)
        UNION ALL
        SELECT (SELECT c.tenant_key FROM chunks c
                WHERE c.platform = $1 AND c.lane = $2 AND c.due_at IS NOT NULL AND c.tenant_key > t.tenant_key
                ORDER BY c.tenant_key LIMIT 1)
        FROM tenant t WHERE t.tenant_key IS NOT NULL
    ), held AS MATERIALIZED (
        SELECT tenant_key, count(*) AS chunks FROM chunks
        WHERE platform = $1 AND lane = $2 AND outstanding AND due_at > now() GROUP BY tenant_key
    ), free AS MATERIALIZED (
        SELECT least($3::int8 - coalesce(sum(chunks), 0)::int8, $4::int8) AS chunks FROM held
    ), ranked AS (
        SELECT o.run_id, o.chunk, o.due_at,
            coalesce(h.chunks, 0) + row_number() OVER (PARTITION BY t.tenant_key ORDER BY o.due_at) AS turn
        FROM tenant t
        CROSS JOIN LATERAL (
            SELECT c.run_id, c.chunk, c.due_at FROM chunks c
            WHERE c.platform = $1 AND c.lane = $2 AND c.tenant_key = t.tenant_key AND c.due_at <= now()
              AND (c.lease_until IS NULL OR c.lease_until <= now())
            ORDER BY c.due_at LIMIT greatest((SELECT chunks FROM free), 0)) o
        LEFT JOIN held h ON h.tenant_key = t.tenant_key
    )
    SELECT c.run_id, c.chunk
    FROM (SELECT run_id, chunk FROM ranked ORDER BY turn, due_at, run_id, chunk
          LIMIT greatest((SELECT chunks FROM free), 0)) r
    CROSS JOIN LATERAL (
        SELECT c.run_id, c.chunk FROM chunks c
        WHERE c.run_id = r.run_id AND c.chunk = r.chunk
          AND c.due_at <= now() AND (c.lease_until IS NULL OR c.lease_until <= now())
        FOR UPDATE OF c SKIP LOCKED) c";

/// A statement of its own: given names, the rows are found by them; joined to what the query above estimates, the whole table was read.
const PUBLISH_CHUNKS: &str = "
    UPDATE chunks c SET copies = c.copies + 1, outstanding = true, publisher = $3,
        due_at = now() + least(CASE c.lane WHEN 1 THEN 5 ELSE 60 END * power(2, least(c.copies, 12)), 3600) * interval '1 second'
    FROM unnest($1::uuid[], $2::int4[]) AS mine(run_id, chunk), notifications n, apps a, tenants t
    WHERE c.run_id = mine.run_id AND c.chunk = mine.chunk AND n.notification_id = c.notification_id
      AND a.app_key = c.app_key AND t.tenant_key = c.tenant_key AND n.state <> 3
    RETURNING c.run_id, c.chunk, c.copies, c.notification_id, c.tenant_key, t.tenant, c.app_key, a.icon_url,
        coalesce(a.default_locale, t.default_locale), c.device_keys, c.states, c.not_before, c.expires_at,
        coalesce(n.scheduled_at, n.created_at), n.body, c.link, n.traceparent, t.push_enabled AND a.push_enabled";

/// A notification to wake the segmenter for.
#[derive(Clone, Debug)]
pub struct DueNotification {
    /// The notification.
    pub notification_id: NotificationId,
    /// Whose.
    pub tenant_key: TenantKey,
    /// Which app's.
    pub app_key: AppKey,
    /// Its lane.
    pub lane: Lane,
    /// Pages committed so far, and how often it was steered.
    pub epoch: i32,
    /// The accepted call's position in its trace.
    pub traceparent: Option<String>,
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
    /// The accepted call's position in its trace.
    pub traceparent: Option<String>,
    /// Whether `push_enabled` is on, on tenant and app. Off, nothing of it is sent any more.
    pub push_enabled: bool,
    /// Open positions: position, device key, and the device unless it is gone.
    pub targets: Vec<(u16, DeviceKey, Option<Recipient>)>,
}

impl Store {
    /// What of a lane is published and not given back, by platform.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn outstanding(&self, lane: Lane) -> Result<Vec<(Platform, i64)>> {
        let rows = self.rows(OUTSTANDING, &[&lane.number(), &0i32]).await?;
        Ok(rows.iter().filter_map(|row| Some((Platform::from_number(row.get(0))?, row.get(1)))).collect())
    }

    /// Takes notifications that are due, at most `limit`, and moves them on to their next look.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn due_notifications(&self, limit: i64) -> Result<Vec<DueNotification>> {
        let rows = self.write(Point::DueNotificationsCommit, DUE_NOTIFICATIONS, &[&limit]).await?;
        rows.iter()
            .map(|row| {
                Ok(DueNotification {
                    notification_id: NotificationId(row.get(0)),
                    tenant_key: TenantKey(row.get(1)),
                    app_key: AppKey(row.get(2)),
                    lane: Lane::from_number(row.get(3)).ok_or_else(|| Error::corrupt("a notification's lane"))?,
                    epoch: row.get(4),
                    traceparent: row.get(5),
                })
            })
            .collect()
    }

    /// Platforms and lanes of which a chunk is due, whoever has it in hand.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn due_lanes(&self) -> Result<Vec<(Platform, Lane)>> {
        let platforms: Vec<i16> = Platform::ALL.iter().map(|platform| platform.number()).collect();
        let lanes: Vec<i16> = Lane::ALL.iter().map(|lane| lane.number()).collect();
        let rows = self.rows(DUE_LANES, &[&platforms, &lanes]).await?;
        let read = |row: &Row| Some((Platform::from_number(row.get(0))?, Lane::from_number(row.get(1))?));
        Ok(rows.iter().filter_map(read).collect())
    }

    /// Takes chunks that are due, as many as the platform and lane have credit for and at most `limit`, fairly between tenants, and moves them
    /// on to their next look.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn due_chunks(&self, platform: Platform, lane: Lane, credit: i64, limit: i64) -> Result<Vec<DueChunk>> {
        for _ in 0..LOOKS {
            let (chunks, set_aside) = self.take_due_chunks(platform, lane, credit, limit).await?;
            if !chunks.is_empty() || set_aside == 0 {
                return Ok(chunks);
            }
        }
        Ok(Vec::new())
    }

    /// One look, and how many chunks of paused notifications it found and set aside.
    async fn take_due_chunks(
        &self,
        platform: Platform,
        lane: Lane,
        credit: i64,
        limit: i64,
    ) -> Result<(Vec<DueChunk>, u64)> {
        let mut connection = self.connection().await?;
        let transaction = connection.transaction().await?;
        let statement = transaction.prepare_cached(DUE_CHUNKS).await?;
        let mine = transaction.query(&statement, &[&platform.number(), &lane.number(), &credit, &limit]).await?;
        if mine.is_empty() {
            return Ok((Vec::new(), 0));
        }
        let (runs, numbers): (Vec<Uuid>, Vec<i32>) =
            mine.iter().map(|row| (row.get::<_, Uuid>(0), row.get::<_, i32>(1))).unzip();
        let statement = transaction.prepare_cached(PUBLISH_CHUNKS).await?;
        let rows = transaction.query(&statement, &[&runs, &numbers, &self.presence().number()]).await?;
        let mut chunks: Vec<DueChunk> = rows.iter().map(due_chunk).collect();
        read_targets(&transaction, &mut chunks).await?;
        let mut aside = 0;
        if chunks.len() < mine.len() {
            let mine =
                runs.iter().zip(&numbers).map(|(run, chunk)| ChunkId { run: RunId(*run), number: *chunk as u32 });
            aside = set_aside(&transaction, &mine.collect::<Vec<_>>()).await?;
        }
        // Last: what could not be read in full is not marked as published.
        commit(transaction, Point::DueChunksCommit).await?;
        Ok((chunks, aside))
    }

    /// Deletes what has served its time: idempotency keys after 30 days, forgotten devices after 35, invalid ones after 30. At most a few
    /// thousand rows a call; returns how many.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn purge(&self) -> Result<u64> {
        let keys = "DELETE FROM idempotency WHERE ctid IN (SELECT ctid FROM idempotency
             WHERE created_at < now() - interval '30 days' ORDER BY created_at LIMIT 5000)";
        let devices = "DELETE FROM devices WHERE device_key IN (SELECT device_key FROM devices
             WHERE (state = 5 AND state_at < now() - interval '35 days') OR (state = 3 AND state_at < now() - interval '30 days')
             LIMIT 5000)";
        let keys = self.write_count(Point::PurgeCommit, keys, &[]).await?;
        Ok(keys + self.write_count(Point::PurgeCommit, devices, &[]).await?)
    }
}

/// Reads the devices of all targets, and moves each to where it is wanted.
async fn read_targets(transaction: &Transaction<'_>, chunks: &mut [DueChunk]) -> Result<()> {
    let mut wanted: Vec<(i64, &mut Option<Recipient>)> =
        chunks.iter_mut().flat_map(|c| &mut c.targets).map(|(_, key, device)| (key.0, device)).collect();
    wanted.sort_unstable_by_key(|(key, _)| *key);
    let mut keys: Vec<i64> = wanted.iter().map(|(key, _)| *key).collect();
    keys.dedup();
    if keys.is_empty() {
        return Ok(());
    }
    let mut devices = std::pin::pin!(devices_by_key(transaction, &keys).await?);
    while let Some(device) = devices.try_next().await? {
        let key = device.key.0;
        let first = wanted.partition_point(|(other, _)| *other < key);
        let mut places = wanted[first..].iter_mut().take_while(|(other, _)| *other == key).peekable();
        while let Some((_, place)) = places.next() {
            if places.peek().is_none() {
                **place = Some(device);
                break;
            }
            **place = Some(device.clone());
        }
    }
    Ok(())
}

fn due_chunk(row: &Row) -> DueChunk {
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
        traceparent: row.get(16),
        push_enabled: row.get(17),
        targets: positions
            .open_positions()
            .filter_map(|(i, _)| key(i).map(|key| (i as u16, DeviceKey(key), None)))
            .collect(),
    }
}
