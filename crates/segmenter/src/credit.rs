//! How many chunks may be in dispatchers' hands, as far as this process knows.

use carillon_domain::limits;
use carillon_domain::platform::{Lane, Platform};
use std::sync::atomic::{AtomicI64, Ordering};

/// Chunks of a lane that may be published and not given back per platform. Those of the transactional lane are small and travel together, so
/// there may be as many more as fit one message.
pub(crate) fn most(lane: Lane, outstanding_chunks: i64) -> i64 {
    match lane {
        Lane::Transactional => outstanding_chunks.saturating_mul(limits::PREGRANTED_RECIPIENTS as i64),
        Lane::Bulk => outstanding_chunks,
    }
}

/// The transactional lane's credit: counted by every look of the scan, and meanwhile by what this process publishes.
pub(crate) struct Credit {
    most: i64,
    used: [AtomicI64; Platform::ALL.len()],
}

impl Credit {
    pub(crate) fn new(outstanding_chunks: i64) -> Self {
        Self { most: most(Lane::Transactional, outstanding_chunks), used: Default::default() }
    }

    /// One more? What may not go out now waits as a row for the scan.
    pub(crate) fn take(&self, platform: Platform) -> bool {
        self.used[platform as usize - 1].fetch_add(1, Ordering::Relaxed) < self.most
    }

    /// What the table says.
    pub(crate) fn counted(&self, outstanding: &[(Platform, i64)]) {
        for platform in Platform::ALL {
            let used = outstanding.iter().find(|(p, _)| p == platform).map_or(0, |(_, used)| *used);
            self.used[*platform as usize - 1].store(used, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_uses_the_credit_up_until_it_is_counted_anew() {
        let credit = Credit::new(1);
        assert_eq!((0..100).filter(|_| credit.take(Platform::Apns)).count(), 64);
        assert!(credit.take(Platform::Fcm), "each platform has its own");
        credit.counted(&[(Platform::Apns, 60)]);
        assert_eq!((0..100).filter(|_| credit.take(Platform::Apns)).count(), 4);
    }
}
