//! Publishers that are gone: what they committed as published, and may not have published, is due now.

use carillon_store::{Error, Store};
use std::collections::HashMap;
use std::convert::Infallible;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often somebody looks who is gone.
const EVERY: Duration = Duration::from_secs(1);
/// How long one may not be seen before it counts as gone: a connection is made anew faster, also when the database was away.
const GONE: Duration = Duration::from_secs(4);

/// Since when publishers were not seen.
#[derive(Default)]
struct Absent(HashMap<i32, Instant>);

impl Absent {
    /// Notes who is not seen now; who has been so for long enough.
    fn note(&mut self, absent: &[i32], now: Instant) -> Vec<i32> {
        self.0.retain(|number, _| absent.contains(number));
        for number in absent {
            self.0.entry(*number).or_insert(now);
        }
        let gone = |since: &Instant| now.duration_since(*since) >= GONE;
        self.0.iter().filter(|(_, since)| gone(since)).map(|(number, _)| *number).collect()
    }
}

/// Watches until the process stops. Whoever is not seen itself does not judge others: the database may have been away for all.
pub(crate) async fn watch(store: Store, stop: CancellationToken) -> Result<(), Infallible> {
    let mut absent = Absent::default();
    while !stop.is_cancelled() {
        if store.is_present() {
            if let Err(error) = look(&store, &mut absent).await {
                tracing::debug!(%error, "whether publishers are gone is found out later");
                absent = Absent::default();
            }
        } else {
            absent = Absent::default();
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(())
}

async fn look(store: &Store, absent: &mut Absent) -> Result<(), Error> {
    let gone = absent.note(&store.absent_publishers().await?, Instant::now());
    if !gone.is_empty() {
        let chunks = store.publish_for(&gone).await?;
        tracing::info!(
            publishers = gone.len(),
            chunks,
            "a publisher is gone; what it may not have published is published again"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_stays_away_counts_as_gone() {
        let (mut absent, start) = (Absent::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(absent.note(&[1, 2], at(0)).is_empty());
        assert!(absent.note(&[2], at(3)).is_empty(), "the first one is back");
        assert_eq!(absent.note(&[1, 2], at(4)), [2]);
        assert!(absent.note(&[1], at(7)).is_empty(), "it was seen in between");
        assert_eq!(absent.note(&[1], at(8)), [1]);
    }
}
