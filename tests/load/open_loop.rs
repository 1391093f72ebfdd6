//! Open-loop load: calls begin when they are due, whether or not earlier ones were answered, and latency counts from when they were due.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use crate::caller::{answer, request};

/// Calls that can be under way at once; more wait, and their wait counts.
const CONNECTIONS: usize = 128;

/// A load that is being made or was made.
pub(crate) struct Load {
    /// When the first call was due.
    pub(crate) began: Timestamp,
    /// Calls a second.
    pub(crate) rate: f64,
    /// Whether the call was accepted, by number.
    pub(crate) accepted: Vec<bool>,
}

impl Load {
    /// When a call was due.
    pub(crate) fn due(&self, number: usize) -> Timestamp {
        self.began + Duration::from_secs_f64(number as f64 / self.rate)
    }
}

/// Makes `rate` calls a second for so long; `body` makes the one of each number.
pub(crate) async fn load(
    base: &str,
    key: &str,
    rate: f64,
    lasting: Duration,
    body: impl Fn(u64) -> String + Copy,
) -> Result<Load> {
    let count = (rate * lasting.as_secs_f64()).ceil() as u64;
    ensure!(count > 0, "no call is due in {lasting:?} at {rate}/s");
    let host = base.strip_prefix("http://").context("plain HTTP")?;
    let next = AtomicU64::new(0);
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS.min(count as usize) {
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let (began, first) = (Timestamp::now() + Duration::from_millis(50), Instant::now() + Duration::from_millis(50));
    let (next, body) = (&next, &body);
    let calling = streams.into_iter().map(|mut stream| async move {
        let (mut seen, mut buffer) = (Vec::new(), Vec::with_capacity(4096));
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return anyhow::Ok(seen);
            }
            sleep_until(first + Duration::from_secs_f64(number as f64 / rate)).await;
            stream.write_all(request(host, key, &body(number)).as_bytes()).await?;
            seen.push((number, answer(&mut stream, &mut buffer).await?));
        }
    });
    let seen = futures::future::try_join_all(calling).await?;
    let mut accepted = vec![false; count as usize];
    for (number, status) in seen.into_iter().flatten() {
        ensure!(matches!(status, 202 | 429 | 503), "a call was answered {status}");
        accepted[number as usize] = status == 202;
    }
    Ok(Load { began, rate, accepted })
}

/// The value below which so many hundredths of the sorted values lie.
pub(crate) fn percentile(sorted: &[f64], hundredths: f64) -> f64 {
    let at = (sorted.len() as f64 * hundredths / 100.0).ceil() as usize;
    sorted.get(at.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ninety_ninth_of_a_hundred_values_is_the_last_but_one() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((percentile(&values, 50.0), percentile(&values, 99.0)), (50.0, 99.0));
        assert_eq!(percentile(&[7.0], 99.0), 7.0);
    }
}
