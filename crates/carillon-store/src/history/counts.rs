//! Counts of a notification (contract, section 8).

use crate::{Error, Result};
use carillon_domain::delivery_status::{Status, Tally};
use tokio_postgres::Row;

/// Deliveries of one channel by status. `total` and `pending` are unknown until the audience is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelCounts {
    /// All deliveries.
    pub total: Option<i64>,
    /// Those without any evidence.
    pub pending: Option<i64>,
    /// The others, by status.
    pub tally: Tally,
    /// Parts of text messages.
    pub segments: i64,
}

/// Persons. Without a cascade only the total is known; with one it is the sum of the other four.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecipientCounts {
    /// All persons.
    pub total: Option<i64>,
    /// Of whom something is still open.
    pub pending: Option<i64>,
    /// Who opened or clicked.
    pub read: Option<i64>,
    /// For whom a channel accepted, and who did not read.
    pub reached: Option<i64>,
    /// For whom no channel did.
    pub unreached: Option<i64>,
}

/// The counters of `$run` and `$channel`: all that is closed, and an array in the order of the statuses' numbers.
pub(super) const CHANNEL: &str = "
    SELECT sum(c.suppressed + c.cancelled + c.expired + c.unknown + c.failed + c.sent)::int8 AS closed,
        ARRAY[0, sum(c.suppressed), sum(c.cancelled), sum(c.expired), sum(c.unknown), sum(c.failed), sum(c.sent),
              sum(c.undelivered), sum(c.delivered), sum(c.displayed), sum(c.dismissed), sum(c.opened), sum(c.clicked)]::int8[] AS counts
    FROM run_counters c WHERE c.run_id = $run AND c.channel = $channel";

/// As [`CHANNEL`], the array alone.
pub(super) const CHANNEL_ONLY: &str = "
    SELECT ARRAY[0, sum(c.suppressed), sum(c.cancelled), sum(c.expired), sum(c.unknown), sum(c.failed), sum(c.sent),
              sum(c.undelivered), sum(c.delivered), sum(c.displayed), sum(c.dismissed), sum(c.opened), sum(c.clicked)]::int8[]
    FROM run_counters c WHERE c.run_id = $run AND c.channel = $channel";

/// Persons by how far they were reached, and what became text messages: claimed, sent, unknown, failed.
pub(super) const CASCADES: &str = "
    SELECT count(*) FILTER (WHERE f.link = 1), count(*) FILTER (WHERE f.link = 1 AND f.how = 'read'),
        count(*) FILTER (WHERE f.link = 1 AND f.how = 'reached'), count(*) FILTER (WHERE f.link = 1 AND f.how = 'pending'),
        count(*) FILTER (WHERE f.state IN (2, 3, 5, 6)), coalesce(sum(f.segments), 0)::int8
    FROM (SELECT c.link, c.state, c.segments,
              CASE WHEN c.any_read THEN 'read' WHEN c.any_sent OR c.state = 3 THEN 'reached'
                   WHEN c.open_devices > 0 OR c.state IN (1, 2) THEN 'pending' ELSE 'unreached' END AS how
          FROM cascades c WHERE c.run_id = $run) f";

/// Reads [`CASCADES`] from column `at`: persons, text messages, segments.
pub(super) fn read_cascades(row: &Row, at: usize, known: bool, persons: i64) -> (RecipientCounts, i64, i64) {
    let count = |column| row.get::<_, Option<i64>>(at + column).unwrap_or(0);
    let (total, read, reached, pending) = (count(0), count(1), count(2), count(3));
    let recipients = match (known, total) {
        (false, _) => RecipientCounts::default(),
        (true, 0) => RecipientCounts { total: Some(persons), ..Default::default() },
        (true, _) => RecipientCounts {
            total: Some(total),
            pending: Some(pending),
            read: Some(read),
            reached: Some(reached),
            unreached: Some(total - pending - read - reached),
        },
    };
    (recipients, count(4), count(5))
}

/// Reads an array of [`CHANNEL`]; nothing was counted yet when it is null or holds nulls.
pub(super) fn read_channel(
    counts: Option<Vec<Option<i64>>>,
    total: Option<i64>,
    segments: i64,
) -> Result<ChannelCounts> {
    let mut tally = Tally::default();
    if let Some(counts) = counts {
        if counts.len() != Status::ALL.len() {
            return Err(Error::corrupt("a count"));
        }
        for (slot, count) in tally.0.iter_mut().zip(counts) {
            *slot = count.unwrap_or(0);
        }
    }
    Ok(ChannelCounts { total, pending: total.map(|total| total - tally.closed()), tally, segments })
}
