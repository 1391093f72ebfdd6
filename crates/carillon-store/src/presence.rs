//! Who publishes: a process shows that it is alive by an advisory lock on a connection of its own. What it committed as published and may not
//! have published is due as soon as it is gone, instead of at its time.

use crate::{Error, Result, Store};
use carillon_failpoint::Point;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// The first half of the locks' keys; the second is the process's own number.
const CLASS: i32 = 0x6361_7270;
/// How long connecting, and each question, may take.
const ANSWER: Duration = Duration::from_secs(3);
/// How often the connection is asked whether it is still there.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// The wait before connecting again.
const AGAIN: Duration = Duration::from_millis(500);
/// Chunks that one statement makes due.
const CHUNKS: i64 = 1_000;

/// A machine that goes away without a word is found out in half a minute.
const KEEP_ALIVE: &str = "
    SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3";

const SHOW: &str = "SELECT pg_try_advisory_lock($1, $2)";

/// What a dispatcher has a lease on was published, whoever is gone.
const ABSENT: &str = "
    SELECT DISTINCT c.publisher FROM chunks c
    WHERE c.outstanding AND c.lane = ANY('{1,2}') AND c.publisher IS NOT NULL AND c.due_at > now()
      AND (c.lease_until IS NULL OR c.lease_until <= now())
    EXCEPT
    SELECT l.objid::int8::int4 FROM pg_locks l
    WHERE l.locktype = 'advisory' AND l.classid::int8 = $1::int4 AND l.objsubid = 2 AND l.granted
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";

const PUBLISH_FOR: &str = "
    UPDATE chunks c SET due_at = now()
    FROM (SELECT run_id, chunk FROM chunks
          WHERE outstanding AND lane = ANY('{1,2}') AND publisher = ANY($1) AND due_at > now()
            AND (lease_until IS NULL OR lease_until <= now())
          ORDER BY run_id, chunk LIMIT $2 FOR UPDATE SKIP LOCKED) gone
    WHERE c.run_id = gone.run_id AND c.chunk = gone.chunk";

/// This process's number, while others can see that it is alive.
#[derive(Clone, Default)]
pub(crate) struct Presence(Arc<AtomicI32>);

impl Presence {
    /// The number; nothing while it cannot be seen.
    pub(crate) fn number(&self) -> Option<i32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|number| *number != 0)
    }
}

impl Store {
    /// Shows that this process is alive, for ever: what it commits as published from now on bears its number.
    pub async fn stay_present(&self) -> Infallible {
        let number = (Uuid::new_v4().as_u128() as u32 >> 1).max(1) as i32;
        loop {
            let ended = self.show(number).await;
            self.presence().0.store(0, Ordering::Relaxed);
            if let Err(error) = ended {
                tracing::debug!(%error, "nobody sees that this process is alive");
            }
            sleep(AGAIN).await;
        }
    }

    /// Whether others see that this process is alive.
    pub fn is_present(&self) -> bool {
        self.presence().number().is_some()
    }

    async fn show(&self, number: i32) -> Result<()> {
        let (config, tls) = self.outside();
        let (client, connection) = timeout(ANSWER, config.connect(tls)).await.map_err(|_| late())??;
        let showing = async {
            timeout(ANSWER, client.batch_execute(KEEP_ALIVE)).await.map_err(|_| late())??;
            let shown = timeout(ANSWER, client.query_one(SHOW, &[&CLASS, &number])).await.map_err(|_| late())??;
            if !shown.get::<_, bool>(0) {
                return Err(Error::Unavailable("the server still keeps the last connection".into()));
            }
            self.presence().0.store(number, Ordering::Relaxed);
            loop {
                sleep(ASK_EVERY).await;
                timeout(ANSWER, client.batch_execute("")).await.map_err(|_| late())??;
            }
        };
        tokio::select! {
            ended = showing => ended,
            ended = connection => Ok(ended?),
        }
    }

    /// Publishers of chunks that nobody claimed yet, of which nobody sees that they are alive. Those that lost their connection for a moment are
    /// among them.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn absent_publishers(&self) -> Result<Vec<i32>> {
        Ok(self.rows(ABSENT, &[&CLASS]).await?.iter().map(|row| row.get(0)).collect())
    }

    /// Makes due what these publishers committed as published and nobody claimed yet, a page of it; how many chunks. A message that was
    /// published all the same then comes twice, which claims make harmless.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn publish_for(&self, absent: &[i32]) -> Result<u64> {
        self.write_count(Point::DueChunksCommit, PUBLISH_FOR, &[&absent, &CHUNKS]).await
    }
}

fn late() -> Error {
    Error::Unavailable("no answer in time".into())
}
