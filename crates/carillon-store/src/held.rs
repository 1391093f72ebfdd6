//! What waits for a credential. Dispatchers put such messages off, a minute at a time; whoever keeps a credential need not wait for that. What
//! is put off for longer waits for something else, as the patience that a provider asked for, and waits on.

use crate::claim::{ChunkRow, lock_chunks};
use crate::commit::commit;
use crate::{Result, Store};
use carillon_domain::ids::{AppKey, ChunkId, RunId, TenantKey};
use carillon_domain::platform::{Lane, Platform};
use carillon_failpoint::Point;

/// Chunks that are looked at again at once; the others come in their time.
const CHUNKS: i64 = 1_000;
/// How long a dispatcher puts off what waits for a credential, in seconds, rounded up.
const HOLD: u32 = 61;
/// After so many seconds: by then no segmenter sends the credential that it read before.
const SOON: i32 = 6;

/// What is put off and in nobody's hands. What waits for its expiry is set aside for another reason, or waits for it alone.
const HELD: &str = "
    SELECT run_id, chunk FROM chunks
    WHERE platform = $3 AND lane = ANY($4) AND tenant_key = $1 AND app_key = $2 AND due_at > now() AND due_at < expires_at
      AND due_at < now() + $6::int4 * interval '1 second' AND not_before <> '' AND (lease_until IS NULL OR lease_until <= now())
    ORDER BY due_at LIMIT $5";

const WAKE: &str = "
    UPDATE chunks c SET states = w.states, not_before = w.not_before,
        due_at = least(c.due_at, now() + $5::int4 * interval '1 second')
    FROM unnest($1::uuid[], $2::int4[], $3::bytea[], $4::bytea[]) AS w(run_id, chunk, states, not_before)
    WHERE c.run_id = w.run_id AND c.chunk = w.chunk";

/// Makes due what a credential may be missing for. Whether there was any.
fn wake(row: &mut ChunkRow) -> bool {
    let latest = row.elapsed().saturating_add(HOLD);
    let open = row.positions.open_positions();
    let held: Vec<(usize, u8)> = open.filter(|(i, _)| (1..=latest).contains(&row.positions.not_before(*i))).collect();
    for (position, attempts) in &held {
        row.positions.defer(*position, *attempts, 0);
    }
    !held.is_empty()
}

impl Store {
    /// Lets messages of an app and platform that were put off be tried again in a few seconds, because the app has a new credential.
    /// Returns how many chunks they lie in.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away: they are tried again all the same, within their minute.
    pub async fn wake_held(&self, tenant: TenantKey, app: AppKey, platform: Platform) -> Result<usize> {
        let lanes: Vec<i16> = Lane::ALL.iter().map(|lane| lane.number()).collect();
        let mut connection = self.connection().await?;
        let transaction = connection.transaction().await?;
        let held = transaction.prepare_cached(HELD).await?;
        let found =
            transaction.query(&held, &[&tenant.0, &app.0, &platform.number(), &lanes, &CHUNKS, &(HOLD as i32)]).await?;
        let mut ids: Vec<ChunkId> =
            found.iter().map(|row| ChunkId { run: RunId(row.get(0)), number: row.get::<_, i32>(1) as u32 }).collect();
        ids.sort_unstable();
        let mut rows = lock_chunks(&transaction, &ids).await?;
        rows.retain_mut(|row| !row.leased && row.due_at.is_some() && wake(row));
        if rows.is_empty() {
            return Ok(0);
        }
        let wake = transaction.prepare_cached(WAKE).await?;
        transaction
            .execute(
                &wake,
                &[
                    &rows.iter().map(|row| row.id.run.0).collect::<Vec<_>>(),
                    &rows.iter().map(|row| row.id.number as i32).collect::<Vec<_>>(),
                    &rows.iter().map(|row| row.positions.states()).collect::<Vec<_>>(),
                    &rows.iter().map(|row| row.positions.not_before_bytes()).collect::<Vec<_>>(),
                    &SOON,
                ],
            )
            .await?;
        commit(transaction, Point::SetupCommit).await?;
        Ok(rows.len())
    }
}
