//! A chunk's row as claims, reports and closings see it.

use crate::Result;
use carillon_domain::chunk::Positions;
use carillon_domain::ids::{ChunkId, RunId, TenantKey};
use carillon_domain::notification::State;
use carillon_domain::platform::Platform;
use deadpool_postgres::GenericClient;
use jiff::Timestamp;
use uuid::Uuid;

/// A deferral that never comes: the position waits for its expiry, or for an operator.
pub(crate) const NEVER: u32 = u32::MAX;

/// A chunk row as claims and reports see it.
pub(crate) struct ChunkRow {
    pub id: ChunkId,
    pub tenant: TenantKey,
    pub platform: Platform,
    pub link: i16,
    pub state: Option<State>,
    pub device_keys: Vec<u8>,
    pub person_numbers: Option<Vec<u8>>,
    pub positions: Positions,
    pub run_started_at: Timestamp,
    pub expires_at: Timestamp,
    pub due_at: Option<Timestamp>,
    pub lease: i64,
    pub leased: bool,
    /// A lease was held and not given back; it may have run out.
    pub held: bool,
    pub idle_claims: i16,
    pub outstanding: bool,
    pub now: Timestamp,
}

impl ChunkRow {
    pub(crate) fn device_key(&self, position: usize) -> Option<i64> {
        let at = position * 8;
        self.device_keys.get(at..at + 8).and_then(|b| b.try_into().ok()).map(i64::from_be_bytes)
    }

    pub(crate) fn person_number(&self, position: usize) -> Option<i32> {
        let at = position * 4;
        self.person_numbers.as_ref()?.get(at..at + 4).and_then(|b| b.try_into().ok()).map(i32::from_be_bytes)
    }

    /// Seconds of `at` after the run's start, as deferrals are kept.
    pub(crate) fn offset(&self, at: Timestamp) -> u32 {
        u32::try_from((at.as_millisecond() - self.run_started_at.as_millisecond() + 999) / 1000).unwrap_or(0)
    }

    /// Whole seconds since the run's start.
    pub(crate) fn elapsed(&self) -> u32 {
        u32::try_from((self.now.as_millisecond() - self.run_started_at.as_millisecond()) / 1000).unwrap_or(0)
    }

    /// When somebody must look at this row once nobody works on it: the least deferral, at most the expiry; never when all is closed.
    pub(crate) fn rest_due(&self) -> Option<Timestamp> {
        rest_due(&self.positions, self.run_started_at, self.expires_at, self.now)
    }

    /// Its notification is paused, nobody works on it, and it is not set aside yet.
    pub(crate) fn is_in_the_way(&self) -> bool {
        let waits = self.due_at.is_some_and(|due| due != self.expires_at) || self.outstanding;
        self.state == Some(State::Paused) && !self.leased && self.due_at.is_some() && waits
    }

    pub(super) fn due_positions(&self) -> Vec<(usize, u8)> {
        let now = self.elapsed();
        let expired = self.expires_at <= self.now;
        self.positions.open_positions().filter(|(i, _)| expired || self.positions.not_before(*i) <= now).collect()
    }
}

/// When somebody must look at a chunk on which nobody works; see [`ChunkRow::rest_due`].
pub(crate) fn rest_due(
    positions: &Positions,
    run_started_at: Timestamp,
    expires_at: Timestamp,
    now: Timestamp,
) -> Option<Timestamp> {
    let next = positions.next_due()?;
    if next == NEVER {
        return Some(expires_at);
    }
    // As `offset` counted: from the start's own fraction of a second, so that nothing is due before its time.
    let at = Timestamp::from_millisecond(run_started_at.as_millisecond() + i64::from(next) * 1000);
    Some(at.unwrap_or(expires_at).min(expires_at).max(now))
}

const LOCK: &str = "
    SELECT c.run_id, c.chunk, c.tenant_key, c.platform, c.link, n.state, c.device_keys, c.person_numbers, c.states, c.not_before,
           c.run_started_at, c.expires_at, c.due_at, c.lease, coalesce(c.lease_until > now(), false), c.lease_until IS NOT NULL, c.idle_claims, c.outstanding, now()
    FROM unnest($1::uuid[], $2::int[]) AS k(run_id, chunk)
    JOIN chunks c ON c.run_id = k.run_id AND c.chunk = k.chunk
    JOIN notifications n ON n.notification_id = c.notification_id
    ORDER BY c.run_id, c.chunk
    FOR UPDATE OF c";

/// Locks chunk rows in the order that everybody keeps. Rows that do not exist (any more) are simply absent.
pub(crate) async fn lock_chunks(transaction: &impl GenericClient, ids: &[ChunkId]) -> Result<Vec<ChunkRow>> {
    let runs: Vec<Uuid> = ids.iter().map(|c| c.run.0).collect();
    let numbers: Vec<i32> = ids.iter().map(|c| c.number as i32).collect();
    let statement = transaction.prepare_cached(LOCK).await?;
    let rows = transaction.query(&statement, &[&runs, &numbers]).await?;
    rows.iter()
        .map(|row| {
            Ok(ChunkRow {
                id: ChunkId { run: RunId(row.get(0)), number: row.get::<_, i32>(1) as u32 },
                tenant: TenantKey(row.get(2)),
                platform: Platform::from_number(row.get(3))
                    .ok_or_else(|| crate::Error::corrupt("a chunk's platform"))?,
                link: row.get(4),
                state: State::from_number(row.get(5)),
                device_keys: row.get(6),
                person_numbers: row.get(7),
                positions: Positions::from_row(row.get(8), row.get(9)),
                run_started_at: row.get(10),
                expires_at: row.get(11),
                due_at: row.get(12),
                lease: row.get(13),
                leased: row.get(14),
                held: row.get(15),
                idle_claims: row.get(16),
                outstanding: row.get(17),
                now: row.get(18),
            })
        })
        .collect()
}
