//! Messages that nobody survived sending: set aside by claims, and open until an operator sends them back or they expire.

use crate::claim::NEVER;
use crate::commit::commit;
use crate::{Result, Store};
use carillon_domain::chunk::Positions;
use carillon_domain::ids::{ChunkId, NotificationId, RunId};
use carillon_domain::platform::Platform;
use carillon_failpoint::Point;
use uuid::Uuid;

/// Chunks that are open, not in anybody's hands, and have the mark of a position that is set aside somewhere in their bytes; whether it is
/// one is for who reads the bytes four by four.
const FIND: &str = "
    SELECT c.run_id, c.chunk, c.notification_id, t.tenant, c.platform, c.states, c.not_before
    FROM chunks c JOIN tenants t ON t.tenant_key = c.tenant_key
    WHERE c.due_at IS NOT NULL AND (c.lease_until IS NULL OR c.lease_until <= now())
      AND position('\\xffffffff'::bytea IN c.not_before) > 0
    ORDER BY c.run_id, c.chunk LIMIT $1 FOR UPDATE OF c SKIP LOCKED";

const SEND_BACK: &str = "
    UPDATE chunks c SET not_before = b.not_before, due_at = now(), idle_claims = 0, lease = 0, lease_until = NULL, outstanding = false
    FROM unnest($1::uuid[], $2::int4[], $3::bytea[]) AS b(run_id, chunk, not_before)
    WHERE c.run_id = b.run_id AND c.chunk = b.chunk";

/// One message of a chunk that is set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// The chunk.
    pub chunk: ChunkId,
    /// Its place in the chunk, from 0.
    pub position: u16,
    /// The notification.
    pub notification: NotificationId,
    /// The tenant's public id.
    pub tenant: String,
    /// The platform whose dispatchers came to no end with it.
    pub platform: Option<Platform>,
}

impl Store {
    /// Messages that are set aside, of at most `chunks` chunks, in the order of their runs.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn set_aside_messages(&self, chunks: i64) -> Result<Vec<SetAside>> {
        let mut connection = self.connection().await?;
        let transaction = connection.transaction().await?;
        let rows = transaction.query(FIND, &[&chunks]).await?;
        Ok(rows.iter().flat_map(|row| set_aside_of(row).0).collect())
    }

    /// Lets what is set aside in at most `chunks` chunks be tried again; returns how many messages.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn send_back_set_aside(&self, chunks: i64) -> Result<usize> {
        let mut connection = self.connection().await?;
        let transaction = connection.transaction().await?;
        let rows = transaction.query(FIND, &[&chunks]).await?;
        let (mut runs, mut numbers, mut bytes, mut count) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for row in &rows {
            let (found, mut positions) = set_aside_of(row);
            for one in &found {
                let attempts = positions.open_positions().find(|(i, _)| *i == usize::from(one.position));
                positions.defer(one.position.into(), attempts.map_or(0, |(_, attempts)| attempts), 0);
            }
            if !found.is_empty() {
                count += found.len();
                runs.push(row.get::<_, Uuid>(0));
                numbers.push(row.get::<_, i32>(1));
                bytes.push(positions.not_before_bytes().to_vec());
            }
        }
        if count > 0 {
            transaction.execute(SEND_BACK, &[&runs, &numbers, &bytes]).await?;
            commit(transaction, Point::DueChunksCommit).await?;
        }
        Ok(count)
    }
}

fn set_aside_of(row: &tokio_postgres::Row) -> (Vec<SetAside>, Positions) {
    let positions = Positions::from_row(row.get(5), row.get(6));
    let aside = positions.open_positions().filter(|(i, _)| positions.not_before(*i) == NEVER);
    let found = aside.map(|(position, _)| SetAside {
        chunk: ChunkId { run: RunId(row.get(0)), number: row.get::<_, i32>(1) as u32 },
        position: position as u16,
        notification: NotificationId(row.get(2)),
        tenant: row.get(3),
        platform: Platform::from_number(row.get(4)),
    });
    (found.collect(), positions)
}
