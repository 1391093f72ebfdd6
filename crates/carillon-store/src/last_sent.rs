//! When devices were last sent to, to the hour: three bytes a device, 512 devices a row. A new version of every device's own row would
//! cost a campaign more than everything else that is written of it.

use crate::commit::commit;
use crate::{Result, Store};
use carillon_failpoint::Point;
use deadpool_postgres::Transaction;
use jiff::Timestamp;
use std::collections::HashMap;

/// Devices of a row; `carillon_last_sent` in the schema counts the same way.
const BLOCK: i64 = 512;
/// Bytes of a device: hours since 1970, big endian; 0 is never.
const HOUR: usize = 3;
/// Rows that one transaction writes. Each is read, changed and sent back as a whole, so they are in memory several times.
const ROWS: usize = 64;

const MAKE: &str = "
    INSERT INTO device_sends (block, hours) SELECT block, $2 FROM unnest($1::int8[]) AS b(block) ORDER BY block
    ON CONFLICT DO NOTHING";
const LOCK: &str = "SELECT block, hours FROM device_sends WHERE block = ANY($1) ORDER BY block FOR UPDATE";
const WRITE: &str = "
    UPDATE device_sends s SET hours = w.hours FROM unnest($1::int8[], $2::bytea[]) AS w(block, hours) WHERE s.block = w.block";

/// Devices that were sent to, a bit each: of an audience that is walked every device's neighbours come too, and a million of them take a
/// few hundred kilobytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SentTo {
    blocks: HashMap<i64, Bits>,
}

/// Which devices of a block.
type Bits = [u64; BLOCK as usize / 64];

impl SentTo {
    /// Notes a device by its key.
    pub fn note(&mut self, device: i64) {
        let at = device.rem_euclid(BLOCK) as usize;
        self.blocks.entry(device.div_euclid(BLOCK)).or_default()[at / 64] |= 1 << (at % 64);
    }

    /// Notes what `other` has, but takes no more rows than `most`.
    pub fn merge(&mut self, other: &Self, most: usize) {
        for (block, bits) in &other.blocks {
            if self.rows() < most || self.blocks.contains_key(block) {
                self.blocks.entry(*block).or_default().iter_mut().zip(bits).for_each(|(own, others)| *own |= others);
            }
        }
    }

    /// Rows that have to be written for them: what they cost.
    pub fn rows(&self) -> usize {
        self.blocks.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }
}

impl FromIterator<i64> for SentTo {
    fn from_iter<I: IntoIterator<Item = i64>>(devices: I) -> Self {
        let mut all = Self::default();
        devices.into_iter().for_each(|device| all.note(device));
        all
    }
}

impl Store {
    /// Notes that devices were sent to at a time. Some thousand at once cost little more than one, so callers gather them. A device that was
    /// sent to later already keeps its time.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`]: some of them may not be noted. Noting them again changes nothing.
    pub async fn mark_sent(&self, devices: &SentTo, at: Timestamp) -> Result<()> {
        let hour = u32::try_from(at.as_second() / 3600).unwrap_or(0);
        let mut blocks: Vec<i64> = devices.blocks.keys().copied().collect();
        blocks.sort_unstable();
        for blocks in blocks.chunks(ROWS) {
            self.mark_blocks(blocks, devices, hour).await?;
        }
        Ok(())
    }

    async fn mark_blocks(&self, wanted: &[i64], devices: &SentTo, hour: u32) -> Result<()> {
        let mut connection = self.connection().await?;
        let transaction = connection.transaction().await?;
        let mut rows = lock(&transaction, wanted).await?;
        if rows.len() < wanted.len() {
            let statement = transaction.prepare_cached(MAKE).await?;
            transaction.execute(&statement, &[&wanted, &vec![0u8; BLOCK as usize * HOUR]]).await?;
            rows = lock(&transaction, wanted).await?;
        }
        rows.retain_mut(|(block, hours)| devices.blocks.get(block).is_some_and(|devices| note(hours, devices, hour)));
        if rows.is_empty() {
            return Ok(());
        }
        let (blocks, hours): (Vec<i64>, Vec<Vec<u8>>) = rows.into_iter().unzip();
        let statement = transaction.prepare_cached(WRITE).await?;
        transaction.execute(&statement, &[&blocks, &hours]).await?;
        commit(transaction, Point::LastSentCommit).await
    }
}

async fn lock(transaction: &Transaction<'_>, blocks: &[i64]) -> Result<Vec<(i64, Vec<u8>)>> {
    let statement = transaction.prepare_cached(LOCK).await?;
    let rows = transaction.query(&statement, &[&blocks]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Writes the hour where it is later than what is there. Whether anything changed.
fn note(hours: &mut [u8], devices: &Bits, hour: u32) -> bool {
    let [_, new @ ..] = hour.to_be_bytes();
    let mut changed = false;
    for (at, old) in hours.as_chunks_mut::<HOUR>().0.iter_mut().enumerate() {
        let is_meant = devices.get(at / 64).is_some_and(|bits| bits >> (at % 64) & 1 == 1);
        if is_meant && *old < new {
            *old = new;
            changed = true;
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(devices: &[i64]) -> Bits {
        *devices.iter().copied().collect::<SentTo>().blocks.values().next().unwrap()
    }

    #[test]
    fn a_devices_hour_only_grows_and_is_nobody_elses() {
        let mut hours = vec![0; BLOCK as usize * HOUR];
        assert!(note(&mut hours, &bits(&[512, 514]), 500_000));
        assert!(!note(&mut hours, &bits(&[512, 514]), 500_000), "nothing new");
        assert!(!note(&mut hours, &bits(&[512]), 499_999), "earlier");
        assert!(note(&mut hours, &bits(&[514, 1023]), 500_001));
        let hour =
            |device: usize| u32::from_be_bytes([0, hours[device * 3], hours[device * 3 + 1], hours[device * 3 + 2]]);
        assert_eq!([hour(0), hour(1), hour(2), hour(511)], [500_000, 0, 500_001, 500_001]);
    }

    #[test]
    fn devices_take_a_row_for_each_block_that_they_lie_in_and_are_joined_up_to_a_bound() {
        let (some, others) = ([0, 511, 512, -1], [511, 513, 5_000]);
        let mut all: SentTo = some.into_iter().collect();
        assert_eq!((all.rows(), all.is_empty(), SentTo::default().is_empty()), (3, false, true));
        let others: SentTo = others.into_iter().collect();
        let mut few = all.clone();
        few.merge(&others, 3);
        assert_eq!(few, [0, 511, 512, 513, -1].into_iter().collect(), "in rows that are there already");
        all.merge(&others, 4);
        assert_eq!(all, [0, 511, 512, 513, -1, 5_000].into_iter().collect());
    }
}
