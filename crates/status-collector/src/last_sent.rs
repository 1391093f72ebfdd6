//! Remembers which devices were sent to, and writes it down together: to the hour, so some seconds do not matter, and neither do
//! the last ones of a process that is killed.

use carillon_store::Store;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How long a device waits to be written.
const EVERY: Duration = Duration::from_secs(5);
/// So many do not wait.
const ENOUGH: usize = 1 << 18;
/// More are forgotten: the database is away, and reports wait for it too.
const MOST: usize = 1 << 20;
/// How often a stopping process looks whether reports still come.
const LAST: Duration = Duration::from_millis(50);

/// Devices that were sent to and are not written yet.
#[derive(Default)]
pub(crate) struct LastSent {
    devices: Mutex<Vec<i64>>,
    enough: Notify,
}

impl LastSent {
    /// Notes devices that were sent to just now.
    pub(crate) fn note(&self, sent: &[i64]) {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MOST.saturating_sub(devices.len());
        devices.extend_from_slice(&sent[..sent.len().min(room)]);
        if devices.len() >= ENOUGH {
            self.enough.notify_one();
        }
    }

    fn take(&self) -> Vec<i64> {
        std::mem::take(&mut self.devices.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes until the process stops and nobody notes anything any more.
    pub(crate) async fn write(self: Arc<Self>, store: Store, stop: CancellationToken) -> Result<(), Infallible> {
        while !stop.is_cancelled() {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = self.enough.notified() => {}
                () = stop.cancelled() => {}
            }
            self.write_some(&store).await;
        }
        // Calls that are open while the process drains still note.
        while Arc::strong_count(&self) > 1 {
            tokio::time::sleep(LAST).await;
        }
        self.write_some(&store).await;
        Ok(())
    }

    async fn write_some(&self, store: &Store) {
        let mut devices = self.take();
        if devices.is_empty() {
            return;
        }
        if let Err(error) = store.mark_sent(&mut devices, jiff::Timestamp::now()).await {
            tracing::debug!(%error, devices = devices.len(), "when devices were last sent to is written later");
            self.note(&devices);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_is_bounded() {
        let last_sent = LastSent::default();
        for _ in 0..3 {
            last_sent.note(&vec![1; ENOUGH * 2]);
        }
        assert_eq!(last_sent.take().len(), MOST);
        assert!(last_sent.take().is_empty());
    }
}
