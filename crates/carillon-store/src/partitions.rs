//! The weeks of chunks and deliveries: made before they begin, and dropped when nothing of them is wanted any more.

use crate::{Result, Store};
use carillon_failpoint::Point;

/// Whole weeks of chunks that are kept beside the one under way: a message lives for 28 days, and receipts may come a while after.
const CHUNK_WEEKS: i32 = 5;

impl Store {
    /// Makes the weekly partitions of the weeks to come. Cheap when they are there.
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::Error::Unavailable) when the database is away.
    pub async fn make_partitions(&self, weeks_ahead: i32) -> Result<i32> {
        let made =
            self.write_maybe_row(Point::PurgeCommit, "SELECT carillon_make_partitions($1)", &[&weeks_ahead]).await?;
        Ok(made.map_or(0, |row| row.get(0)))
    }

    /// Drops the chunks of the oldest week that ended five weeks ago or earlier, unless somebody must still look at one of them. What became of
    /// their messages stays. `true` if it dropped one; there may be another.
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::Error::Unavailable) when the database is away, or when traffic kept it from its lock: nobody should wait
    /// for it for longer than a moment, so it tries again another time.
    pub async fn drop_old_chunks(&self) -> Result<bool> {
        let dropped =
            self.write_maybe_row(Point::PurgeCommit, "SELECT carillon_drop_old_chunks($1)", &[&CHUNK_WEEKS]).await?;
        Ok(dropped.is_some_and(|row| row.get::<_, i32>(0) > 0))
    }
}
