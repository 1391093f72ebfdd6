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
/// Rows that one transaction writes.
const ROWS: usize = 256;

const MAKE: &str = "
    INSERT INTO device_sends (block, hours) SELECT block, $2 FROM unnest($1::int8[]) AS b(block) ORDER BY block
    ON CONFLICT DO NOTHING";
const LOCK: &str = "SELECT block, hours FROM device_sends WHERE block = ANY($1) ORDER BY block FOR UPDATE";
const WRITE: &str = "
    UPDATE device_sends s SET hours = w.hours FROM unnest($1::int8[], $2::bytea[]) AS w(block, hours) WHERE s.block = w.block";

impl Store {
    /// Notes that devices were sent to at a time, and leaves them sorted. Some thousand at once cost little more than one, so callers gather
    /// them. A device that was sent to later already keeps its time.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`]: some of them may not be noted. Noting them again changes nothing.
    pub async fn mark_sent(&self, devices: &mut [i64], at: Timestamp) -> Result<()> {
        devices.sort_unstable();
        let hour = u32::try_from(at.as_second() / 3600).unwrap_or(0);
        let blocks: Vec<&[i64]> = devices.chunk_by(|a, b| a.div_euclid(BLOCK) == b.div_euclid(BLOCK)).collect();
        for blocks in blocks.chunks(ROWS) {
            self.mark_blocks(blocks, hour).await?;
        }
        Ok(())
    }

    async fn mark_blocks(&self, devices: &[&[i64]], hour: u32) -> Result<()> {
        let by_block: HashMap<i64, &[i64]> =
            devices.iter().filter_map(|all| Some((all.first()?.div_euclid(BLOCK), *all))).collect();
        let mut wanted: Vec<i64> = by_block.keys().copied().collect();
        wanted.sort_unstable();
        let mut connection = self.connection().await?;
        let transaction = connection.transaction().await?;
        let mut rows = lock(&transaction, &wanted).await?;
        if rows.len() < wanted.len() {
            let statement = transaction.prepare_cached(MAKE).await?;
            transaction.execute(&statement, &[&wanted, &vec![0u8; BLOCK as usize * HOUR]]).await?;
            rows = lock(&transaction, &wanted).await?;
        }
        rows.retain_mut(|(block, hours)| by_block.get(block).is_some_and(|devices| note(hours, devices, hour)));
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
fn note(hours: &mut [u8], devices: &[i64], hour: u32) -> bool {
    let [_, new @ ..] = hour.to_be_bytes();
    let mut changed = false;
    for device in devices {
        let at = device.rem_euclid(BLOCK) as usize * HOUR;
        if let Some(old) = hours.get_mut(at..at + HOUR)
            && *old < new[..]
        {
            old.copy_from_slice(&new);
            changed = true;
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_devices_hour_only_grows_and_is_nobody_elses() {
        let mut hours = vec![0; BLOCK as usize * HOUR];
        assert!(note(&mut hours, &[512, 514], 500_000));
        assert!(!note(&mut hours, &[512, 514], 500_000), "nothing new");
        assert!(!note(&mut hours, &[512], 499_999), "earlier");
        assert!(note(&mut hours, &[514], 500_001));
        let hour =
            |device: usize| u32::from_be_bytes([0, hours[device * 3], hours[device * 3 + 1], hours[device * 3 + 2]]);
        assert_eq!([hour(0), hour(1), hour(2), hour(511)], [500_000, 0, 500_001, 0]);
    }
}
