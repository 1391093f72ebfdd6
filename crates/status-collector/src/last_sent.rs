//! Remembers which devices were sent to, and writes it down together: to the hour, so some seconds do not matter, and neither do
//! the last ones of a process that is killed.

use carillon_store::{Error, SentTo, Store};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How long a device waits to be written.
const EVERY: Duration = Duration::from_secs(5);
/// Rows of the database that do not wait to be written: devices of a campaign to everybody lie in few, a few of many in as many.
const ENOUGH: usize = 1 << 13;
/// Devices beyond so many rows are forgotten: the database is away, and reports wait for it too.
const MOST: usize = 1 << 16;
/// How often a stopping process looks whether reports still come.
const LAST: Duration = Duration::from_millis(50);

/// Devices that were sent to and are not written yet.
#[derive(Default)]
pub(crate) struct LastSent {
    devices: Mutex<SentTo>,
    enough: Notify,
}

impl LastSent {
    /// Notes devices that were sent to just now.
    pub(crate) fn note(&self, sent: &[i64]) {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        for device in sent {
            if devices.rows() >= MOST {
                break;
            }
            devices.note(*device);
        }
        if devices.rows() >= ENOUGH {
            self.enough.notify_one();
        }
    }

    /// Notes once more what could not be written.
    fn put_back(&self, unwritten: SentTo) {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let since = std::mem::replace(&mut *devices, unwritten);
        devices.merge(&since, MOST);
    }

    fn take(&self) -> SentTo {
        std::mem::take(&mut self.devices.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes until the process stops and nobody notes anything any more.
    pub(crate) async fn write(self: Arc<Self>, store: Store, stop: CancellationToken) -> Result<(), Infallible> {
        let mark = |devices: SentTo| {
            let store = store.clone();
            async move {
                let marked = store.in_time(store.mark_sent(&devices, jiff::Timestamp::now())).await;
                marked.map_err(|error| (error, devices))
            }
        };
        self.write_by(mark, stop).await;
        Ok(())
    }

    /// `mark` gives back what it could not write.
    async fn write_by<F>(self: Arc<Self>, mark: impl Fn(SentTo) -> F, stop: CancellationToken)
    where
        F: Future<Output = Result<(), (Error, SentTo)>>,
    {
        let mut written = true;
        while !stop.is_cancelled() {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                // However many wait: what could not be written just now cannot be written at once either.
                () = self.enough.notified(), if written => {}
                () = stop.cancelled() => {}
            }
            written = self.write_some(&mark).await;
        }
        // Calls that are open while the process drains still note.
        while Arc::strong_count(&self) > 1 {
            tokio::time::sleep(LAST).await;
        }
        self.write_some(&mark).await;
    }

    /// Whether nothing is left to be written.
    async fn write_some<F>(&self, mark: &impl Fn(SentTo) -> F) -> bool
    where
        F: Future<Output = Result<(), (Error, SentTo)>>,
    {
        let devices = self.take();
        if devices.is_empty() {
            return true;
        }
        let Err((error, devices)) = mark(devices).await else { return true };
        tracing::debug!(%error, rows = devices.rows(), "when devices were last sent to is written later");
        self.put_back(devices);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device in each of so many rows.
    fn far_apart(rows: usize) -> Vec<i64> {
        (0..rows as i64).map(|row| row * 512).collect()
    }

    #[test]
    fn what_cannot_be_written_is_bounded() {
        let last_sent = LastSent::default();
        last_sent.note(&far_apart(MOST + 10));
        let unwritten = last_sent.take();
        assert_eq!(unwritten.rows(), MOST);
        assert!(last_sent.take().is_empty());
        last_sent.note(&[-1, 1]);
        last_sent.put_back(unwritten.clone());
        let kept = last_sent.take();
        assert_eq!(kept.rows(), MOST);
        assert_ne!(kept, unwritten, "what lies in rows that are there is kept");
    }

    #[test]
    fn what_was_noted_while_something_could_not_be_written_is_kept_with_it() {
        let last_sent = LastSent::default();
        last_sent.note(&[1, 2]);
        let unwritten = last_sent.take();
        last_sent.note(&[2, 3]);
        last_sent.put_back(unwritten);
        assert_eq!(last_sent.take(), [1, 2, 3].into_iter().collect());
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_database_is_away_it_is_asked_every_few_seconds_however_many_wait() {
        let (last_sent, stop) = (Arc::new(LastSent::default()), CancellationToken::new());
        let tries = Mutex::new(Vec::new());
        let began = tokio::time::Instant::now();
        let mark = |devices: SentTo| {
            let mut tries = tries.lock().unwrap();
            tries.push((began.elapsed().as_secs(), devices.rows()));
            let last = tries.len() == 4;
            if last {
                stop.cancel();
            }
            std::future::ready(if last { Ok(()) } else { Err((Error::Unavailable("away".into()), devices)) })
        };
        last_sent.note(&far_apart(ENOUGH));
        last_sent.write_by(mark, stop.clone()).await;
        assert_eq!(*tries.lock().unwrap(), [(0, ENOUGH), (5, ENOUGH), (10, ENOUGH), (15, ENOUGH)]);
    }
}
