//! Claims: who may send what is open.

mod row;

pub(crate) use row::{ChunkRow, NEVER, lock_chunks, rest_due};

use crate::commit::commit;
use crate::pausing::set_aside_or_give_back;
use crate::{Result, Store};
use carillon_domain::ids::ChunkId;
use carillon_domain::notification::State;
use carillon_failpoint::Point;
use deadpool_postgres::Transaction;
use jiff::Timestamp;
use std::collections::HashMap;
use std::time::Duration;
use uuid::Uuid;

/// How long a lease lasts after a claim or a report.
pub const LEASE: Duration = Duration::from_secs(5);
/// When a claimed chunk is looked at again unless reports move it on.
pub(crate) const CLAIMED_DUE: Duration = Duration::from_secs(15);
/// Claims without progress after which a chunk is granted one recipient at a time, and after which that one is set aside.
const IDLE_CLAIMS: i16 = 3;

/// What a claim grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Names the lease in reports.
    pub lease: i64,
    /// Open positions that are due, with the attempts so far.
    pub positions: Vec<(u16, u8)>,
}

/// A chunk that somebody wants to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The chunk.
    pub chunk: ChunkId,
    /// The lease that was granted in advance to the copy the caller holds: the caller's to exchange, if no other copy of the message
    /// can be at work on it.
    pub advance_lease: Option<i64>,
}

/// A lease that nobody held before: 63 random bits, so that it fits the column and is never 0.
pub fn fresh_lease() -> i64 {
    ((Uuid::new_v4().as_u128() as u64 >> 1) as i64).max(1)
}

const GRANT: &str = "
    UPDATE chunks c SET lease = g.lease, lease_until = now() + $4::float8 * interval '1 second', due_at = g.due_at,
        idle_claims = g.idle_claims, states = g.states, not_before = g.not_before, outstanding = true
    FROM unnest($1::uuid[], $2::int[], $3::int8[], $5::timestamptz[], $6::int2[], $7::bytea[], $8::bytea[])
         AS g(run_id, chunk, lease, due_at, idle_claims, states, not_before)
    WHERE c.run_id = g.run_id AND c.chunk = g.chunk";

const REST: &str = "
    UPDATE chunks c SET lease = 0, lease_until = NULL, due_at = g.due_at, idle_claims = g.idle_claims, states = g.states,
        not_before = g.not_before, outstanding = false
    FROM unnest($1::uuid[], $2::int[], $3::timestamptz[], $4::int2[], $5::bytea[], $6::bytea[])
         AS g(run_id, chunk, due_at, idle_claims, states, not_before)
    WHERE c.run_id = g.run_id AND c.chunk = g.chunk";

/// The message that a chunk's row waits for may be the one that was spent on this claim.
const LOOK_SOON: &str = "
    UPDATE chunks c SET due_at = now() + g.seconds * interval '1 second'
    FROM unnest($1::uuid[], $2::int[], $3::float8[]) AS g(run_id, chunk, seconds)
    WHERE c.run_id = g.run_id AND c.chunk = g.chunk";

/// The claim counts for nothing: its caller never heard of it.
const UNCLAIM: &str = "
    UPDATE chunks c SET lease = 0, lease_until = NULL, idle_claims = greatest(c.idle_claims - 1, 0)
    FROM unnest($1::uuid[], $2::int[], $3::int8[]) AS g(run_id, chunk, lease)
    WHERE c.run_id = g.run_id AND c.chunk = g.chunk AND c.lease = g.lease";

impl Store {
    /// Takes leases back of which whoever asked for them was never told, so that who asks again is not told that somebody else holds them.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away: they run out by themselves.
    pub async fn unclaim(&self, unheard: &[(ChunkId, i64)]) -> Result<()> {
        if unheard.is_empty() {
            return Ok(());
        }
        let runs: Vec<Uuid> = unheard.iter().map(|(chunk, _)| chunk.run.0).collect();
        let numbers: Vec<i32> = unheard.iter().map(|(chunk, _)| chunk.number as i32).collect();
        let leases: Vec<i64> = unheard.iter().map(|(_, lease)| *lease).collect();
        self.write_count(Point::ClaimCommit, UNCLAIM, &[&runs, &numbers, &leases]).await?;
        Ok(())
    }

    /// Grants what is open and due in these chunks, each under a lease of [`LEASE`]. `None`: nothing to do for this caller: it is leased, done,
    /// stopped, or gone. What somebody else may hold is looked at soon, as the message that led here is spent. `leases` are fresh random numbers, one a chunk. With `hold_expired` a chunk whose lease ran out is not granted either: a
    /// ledger that was cut off first hears what the holders have to report. Returns the answers in the order asked, and the database's clock.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`]: nothing was granted, or a grant was made that nobody knows of and that runs out by itself.
    pub async fn claim(
        &self,
        asked: &[Asked],
        leases: &[i64],
        hold_expired: bool,
    ) -> Result<(Vec<Option<Granted>>, Timestamp)> {
        let mut connection = self.connection().await?;
        let transaction = connection.transaction().await?;
        let ids: Vec<ChunkId> = asked.iter().map(|a| a.chunk).collect();
        let mut rows = lock_chunks(&transaction, &ids).await?;
        let places: HashMap<ChunkId, usize> = ids.iter().enumerate().map(|(i, id)| (*id, i)).collect();
        let mut answers = vec![None; ids.len()];
        let mut granted: Vec<(&ChunkRow, i64)> = Vec::new();
        let mut in_the_way = Vec::new();
        let mut resting: Vec<&ChunkRow> = Vec::new();
        let mut refused: Vec<(&ChunkRow, Duration)> = Vec::new();
        let mut now = None;
        for row in &mut rows {
            now = Some(row.now);
            let Some(i) = places.get(&row.id).copied() else { continue };
            if asked[i].advance_lease.is_some_and(|lease| lease == row.lease) {
                row.leased = false;
                row.held = false;
            }
            let idle_claims = row.idle_claims;
            let positions = grant(row, hold_expired);
            let parked = row.idle_claims < idle_claims;
            if parked {
                tracing::error!(run.id = %row.id.run.0, chunk.id = row.id.number, "nobody survives sending one message of a chunk; it is set aside");
            }
            if let Some(positions) = positions {
                answers[i] = Some(Granted { lease: leases[i], positions });
                granted.push((row, leases[i]));
            } else if parked {
                resting.push(&*row);
            } else if row.is_in_the_way() {
                in_the_way.push(row.id);
            } else if let Some(soon) = look_after(row, hold_expired) {
                refused.push((&*row, soon));
            }
        }
        if !granted.is_empty() {
            write_grants(&transaction, &granted).await?;
        }
        write_resting(&transaction, &resting).await?;
        write_look(&transaction, &refused).await?;
        set_aside_or_give_back(&transaction, &in_the_way).await?;
        let now = match now {
            Some(now) => now,
            None => transaction.query_one("SELECT now()", &[]).await?.get(0),
        };
        commit(transaction, Point::ClaimCommit).await?;
        Ok((answers, now))
    }
}

/// Decides a claim, and prepares the row for it. After three claims without progress recipients are granted one at a time; the one that
/// fails three alone is set aside, so that it cannot hold the others up.
fn grant(row: &mut ChunkRow, hold_expired: bool) -> Option<Vec<(u16, u8)>> {
    if row.leased || (row.held && hold_expired) || row.state != Some(State::Sending) {
        return None;
    }
    let mut due = row.due_positions();
    // What has expired is sent by nobody: it is only to be closed.
    if row.idle_claims >= 2 * IDLE_CLAIMS && row.now < row.expires_at {
        let (position, attempts) = *due.first()?;
        row.positions.defer(position, attempts, NEVER);
        row.idle_claims = IDLE_CLAIMS;
        due.remove(0);
    }
    if due.is_empty() {
        return None;
    }
    if row.idle_claims >= IDLE_CLAIMS {
        due.truncate(1);
    }
    row.idle_claims += 1;
    Some(due.into_iter().map(|(i, attempts)| (i as u16, attempts)).collect())
}

/// How soon somebody must look at a chunk that was not granted because somebody else may hold it, if its row would have it later: by the time that
/// holder has died of, or the ledger may grant what it held.
fn look_after(row: &ChunkRow, hold_expired: bool) -> Option<Duration> {
    let soon = match () {
        () if row.leased => CLAIMED_DUE,
        () if row.held && hold_expired => LEASE,
        () => return None,
    };
    let is_later = row.due_at? > row.now + jiff::SignedDuration::from_secs(soon.as_secs() as i64);
    (row.state == Some(State::Sending) && is_later).then_some(soon)
}

async fn write_look(transaction: &Transaction<'_>, refused: &[(&ChunkRow, Duration)]) -> Result<()> {
    if refused.is_empty() {
        return Ok(());
    }
    let statement = transaction.prepare_cached(LOOK_SOON).await?;
    let runs: Vec<Uuid> = refused.iter().map(|(r, _)| r.id.run.0).collect();
    let numbers: Vec<i32> = refused.iter().map(|(r, _)| r.id.number as i32).collect();
    let seconds: Vec<f64> = refused.iter().map(|(_, soon)| soon.as_secs_f64()).collect();
    transaction.execute(&statement, &[&runs, &numbers, &seconds]).await?;
    Ok(())
}

async fn write_grants(transaction: &Transaction<'_>, granted: &[(&ChunkRow, i64)]) -> Result<()> {
    let due = |row: &ChunkRow| row.now + jiff::SignedDuration::from_secs(CLAIMED_DUE.as_secs() as i64);
    let statement = transaction.prepare_cached(GRANT).await?;
    transaction
        .execute(
            &statement,
            &[
                &granted.iter().map(|(r, _)| r.id.run.0).collect::<Vec<_>>(),
                &granted.iter().map(|(r, _)| r.id.number as i32).collect::<Vec<_>>(),
                &granted.iter().map(|(_, lease)| *lease).collect::<Vec<_>>(),
                &LEASE.as_secs_f64(),
                &granted.iter().map(|(r, _)| due(r)).collect::<Vec<_>>(),
                &granted.iter().map(|(r, _)| r.idle_claims).collect::<Vec<_>>(),
                &granted.iter().map(|(r, _)| r.positions.states()).collect::<Vec<_>>(),
                &granted.iter().map(|(r, _)| r.positions.not_before_bytes()).collect::<Vec<_>>(),
            ],
        )
        .await?;
    Ok(())
}

/// Chunks of which nothing is left to grant for now, because what was due is set aside.
async fn write_resting(transaction: &Transaction<'_>, resting: &[&ChunkRow]) -> Result<()> {
    if resting.is_empty() {
        return Ok(());
    }
    let statement = transaction.prepare_cached(REST).await?;
    transaction
        .execute(
            &statement,
            &[
                &resting.iter().map(|r| r.id.run.0).collect::<Vec<_>>(),
                &resting.iter().map(|r| r.id.number as i32).collect::<Vec<_>>(),
                &resting.iter().map(|r| r.rest_due()).collect::<Vec<_>>(),
                &resting.iter().map(|r| r.idle_claims).collect::<Vec<_>>(),
                &resting.iter().map(|r| r.positions.states()).collect::<Vec<_>>(),
                &resting.iter().map(|r| r.positions.not_before_bytes()).collect::<Vec<_>>(),
            ],
        )
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_domain::chunk::Positions;
    use carillon_domain::delivery_status::Status;
    use carillon_domain::ids::{RunId, TenantKey};
    use carillon_domain::platform::Platform;

    fn row(count: usize) -> ChunkRow {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        ChunkRow {
            id: ChunkId { run: RunId(Uuid::nil()), number: 0 },
            tenant: TenantKey(1),
            platform: Platform::Apns,
            link: 0,
            state: Some(State::Sending),
            device_keys: vec![0; count * 8],
            person_numbers: None,
            positions: Positions::open(count),
            run_started_at: now,
            expires_at: now + jiff::SignedDuration::from_secs(3600),
            due_at: None,
            lease: 0,
            leased: false,
            held: false,
            idle_claims: 0,
            outstanding: true,
            now,
        }
    }

    #[test]
    fn a_leased_or_stopped_chunk_is_not_granted() {
        let mut leased = row(3);
        leased.leased = true;
        assert_eq!(grant(&mut leased, false), None);
        let mut ran_out = row(3);
        ran_out.held = true;
        assert_eq!(grant(&mut ran_out, true), None);
        assert!(grant(&mut ran_out, false).is_some());
        let mut cancelled = row(3);
        cancelled.state = Some(State::Cancelled);
        assert_eq!(grant(&mut cancelled, false), None);
    }

    #[test]
    fn what_is_deferred_is_granted_when_its_time_has_come() {
        let mut r = row(2);
        r.positions.defer(0, 1, 60);
        assert_eq!(grant(&mut r, false), Some(vec![(1, 0)]));
        r.now += jiff::SignedDuration::from_secs(60);
        assert_eq!(grant(&mut r, false), Some(vec![(0, 1), (1, 0)]));
    }

    #[test]
    fn a_deferral_is_not_granted_a_fraction_of_a_second_early() {
        let mut r = row(1);
        r.run_started_at += jiff::SignedDuration::from_millis(900);
        let not_before = r.run_started_at + jiff::SignedDuration::from_millis(9_600);
        let offset = r.offset(not_before);
        r.positions.defer(0, 1, offset);
        r.now = r.run_started_at;
        let due = r.rest_due().unwrap();
        assert!(due >= not_before, "{due} is before {not_before}");
        r.now = not_before - jiff::SignedDuration::from_millis(1);
        assert_eq!(grant(&mut r, false), None);
        r.now = due;
        assert_eq!(grant(&mut r, false), Some(vec![(0, 1)]));
    }

    #[test]
    fn what_expired_is_granted_whatever_its_deferral_so_that_it_is_closed() {
        let mut r = row(1);
        r.positions.defer(0, 1, 90_000);
        r.now = r.expires_at;
        assert_eq!(grant(&mut r, false), Some(vec![(0, 1)]));
    }

    #[test]
    fn a_recipient_that_kills_its_sender_three_times_alone_is_set_aside_and_the_others_go_on() {
        let mut r = row(3);
        for _ in 0..3 {
            assert_eq!(grant(&mut r, false).map(|p| p.len()), Some(3));
        }
        for _ in 0..3 {
            assert_eq!(grant(&mut r, false), Some(vec![(0, 0)]));
        }
        assert_eq!(grant(&mut r, false), Some(vec![(1, 0)]));
        assert_eq!((r.positions.not_before(0), r.positions.not_before(1)), (NEVER, 0));
    }

    #[test]
    fn what_nobody_survived_is_closed_like_all_else_once_it_has_expired() {
        let mut r = row(1);
        (0..6).for_each(|_| drop(grant(&mut r, false)));
        r.now = r.expires_at;
        assert_eq!(grant(&mut r, false), Some(vec![(0, 0)]));
    }

    #[test]
    fn a_row_rests_until_the_least_deferral_but_no_longer_than_its_expiry() {
        let mut r = row(2);
        assert_eq!(r.rest_due(), Some(r.now));
        r.positions.close(0, Status::Sent);
        r.positions.defer(1, 1, 7200);
        assert_eq!(r.rest_due(), Some(r.expires_at));
        r.positions.close(1, Status::Expired);
        assert_eq!(r.rest_due(), None);
    }
}
