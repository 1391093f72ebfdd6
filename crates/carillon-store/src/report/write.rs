//! What a group of reports writes of chunks and devices.

use super::Written;
use crate::Result;
use crate::begun::{Parameters, Ready};
use crate::claim::{ChunkRow, LEASE};
use deadpool_postgres::{GenericClient, Object};
use jiff::Timestamp;
use uuid::Uuid;

const WRITE: &str = "
    UPDATE chunks c SET states = w.states, not_before = w.not_before, idle_claims = w.idle_claims, outstanding = w.outstanding,
        lease_until = CASE w.hold WHEN 1 THEN now() + $9::float8 * interval '1 second' WHEN 2 THEN NULL ELSE c.lease_until END,
        due_at = w.due_at
    FROM unnest($1::uuid[], $2::int[], $3::bytea[], $4::bytea[], $5::int2[], $6::bool[], $7::int2[], $8::timestamptz[])
         AS w(run_id, chunk, states, not_before, idle_claims, outstanding, hold, due_at)
    WHERE c.run_id = w.run_id AND c.chunk = w.chunk";

/// Retires dead tokens: only while the device still has the generation that was sent to, and, where the provider says since when, only
/// if it was not registered again after that.
const RETIRE: &str = "
    WITH dead AS (
        SELECT d.device_key
        FROM unnest($1::int8[], $2::int4[], $3::timestamptz[]) AS r(device_key, generation, since)
        JOIN devices d ON d.device_key = r.device_key AND d.generation = r.generation AND d.state IN (1, 2)
             AND (r.since IS NULL OR d.registered_at <= r.since)
        ORDER BY d.device_key
        FOR UPDATE OF d
    )
    UPDATE devices d SET state = 3, reason = 3, state_at = now() FROM dead WHERE d.device_key = dead.device_key";

pub(super) async fn writing<'a>(
    client: &Object,
    rows: &'a [ChunkRow],
    written: &[Written],
) -> Result<Option<Ready<'a>>> {
    if rows.is_empty() {
        return Ok(None);
    }
    let parameters: Parameters<'_> = vec![
        Box::new(rows.iter().map(|r| r.id.run.0).collect::<Vec<Uuid>>()),
        Box::new(rows.iter().map(|r| r.id.number as i32).collect::<Vec<_>>()),
        Box::new(rows.iter().map(|r| r.positions.states()).collect::<Vec<_>>()),
        Box::new(rows.iter().map(|r| r.positions.not_before_bytes()).collect::<Vec<_>>()),
        Box::new(written.iter().map(|w| w.idle_claims).collect::<Vec<_>>()),
        Box::new(written.iter().map(|w| w.outstanding).collect::<Vec<_>>()),
        Box::new(written.iter().map(|w| w.hold as i16).collect::<Vec<_>>()),
        Box::new(written.iter().map(|w| w.due_at).collect::<Vec<_>>()),
        Box::new(LEASE.as_secs_f64()),
    ];
    Ready::new(client, WRITE, parameters).await.map(Some)
}

pub(super) async fn retire_tokens(
    transaction: &impl GenericClient,
    retired: &[(i64, i32, Option<Timestamp>)],
) -> Result<()> {
    if retired.is_empty() {
        return Ok(());
    }
    let mut retired = retired.to_vec();
    retired.sort_unstable();
    let statement = transaction.prepare_cached(RETIRE).await?;
    let keys: Vec<i64> = retired.iter().map(|r| r.0).collect();
    let generations: Vec<i32> = retired.iter().map(|r| r.1).collect();
    let since: Vec<Option<Timestamp>> = retired.iter().map(|r| r.2).collect();
    transaction.execute(&statement, &[&keys, &generations, &since]).await?;
    Ok(())
}
