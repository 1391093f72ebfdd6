//! How often connections may be opened: providers take a client that opens and closes quickly for an attack.

use std::time::Duration;
use tokio::time::Instant;

/// In the long run one connection per interval.
const INTERVAL: Duration = Duration::from_millis(100);
/// So many may follow each other at once, as when every connection is replaced.
const BURST: u32 = 20;

/// A virtual-scheduling limiter (the generic cell rate algorithm): one instant of state.
#[derive(Default)]
pub(super) struct Pace {
    spent_until: Option<Instant>,
}

impl Pace {
    /// Counts an opening and says when it may happen: `now`, or later when there were too many.
    pub(super) fn take(&mut self, now: Instant) -> Instant {
        let spent_until = self.spent_until.map_or(now, |instant| instant.max(now)) + INTERVAL;
        self.spent_until = Some(spent_until);
        spent_until.checked_sub(INTERVAL * BURST).map_or(now, |instant| instant.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_passes_and_then_one_per_interval() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        for _ in 0..BURST {
            assert_eq!(pace.take(now), now);
        }
        for nth in 1..5 {
            assert_eq!(pace.take(now), now + INTERVAL * nth);
        }
        let later = now + Duration::from_secs(60);
        assert_eq!(pace.take(later), later, "rest restores the burst");
    }

    proptest! {
        #[test]
        fn no_window_sees_more_than_the_burst_and_its_share(gaps in prop::collection::vec(0u64..400, 1..200)) {
            let (mut pace, mut now) = (Pace::default(), Instant::now());
            let opened: Vec<Instant> = gaps.iter().map(|gap| { now += Duration::from_millis(*gap); pace.take(now) }).collect();
            for (index, first) in opened.iter().enumerate() {
                let window = Duration::from_secs(1);
                let inside = opened[index..].iter().filter(|instant| **instant - *first < window).count();
                prop_assert!(inside <= BURST as usize + 10, "{inside} in a second");
            }
        }
    }
}
