//! What one tenant's campaigns may have published and not given back. For a while they are walked only as far: a chunk that is written and waits costs a
//! second look at its row and its devices.

use crate::credit::most;
use carillon_domain::platform::Platform;
use carillon_store::{Error, Expansion, NewChunk, RunRow};
use std::collections::HashMap;

/// A tenant's share of a lane's credit, by platform.
pub(crate) struct Share {
    most: i64,
    used: HashMap<Platform, Used>,
}

/// Chunks that are published and not given back: everybody's, and the tenant's among them.
#[derive(Clone, Copy, Default)]
struct Used {
    all: i64,
    own: i64,
}

impl Share {
    /// What the run's tenant has in hand.
    pub(crate) async fn read(expansion: &Expansion, run: &RunRow, outstanding_chunks: i64) -> Result<Self, Error> {
        let used = expansion.outstanding(run.lane, run.tenant_key).await?;
        let used = used.into_iter().map(|(platform, all, own)| (platform, Used { all, own })).collect();
        Ok(Self { most: most(run.lane, outstanding_chunks), used })
    }

    /// One more? What may not go out now waits as a row for the scan, which shares what is left between tenants.
    pub(crate) fn take(&mut self, platform: Platform) -> bool {
        let most = self.most;
        let used = self.used.entry(platform).or_default();
        if used.all >= most || used.own >= used.limit(most) {
            return false;
        }
        used.all += 1;
        used.own += 1;
        true
    }

    /// Whether so many chunks are too many for every platform that the tenant has something in hand of. Where others have taken what there is, it is
    /// not: then the scan's turns decide, and need rows to choose from.
    pub(crate) fn is_used_up(&self, chunks: i64) -> bool {
        let mut own = self.used.values().filter(|used| used.own > 0).peekable();
        own.peek().is_some() && own.all(|used| !used.has_room(chunks, self.most))
    }

    /// Whether as many chunks again are too many, for every platform that there are some of.
    pub(crate) fn has_no_room_for(&self, chunks: &[NewChunk]) -> bool {
        let count = |platform| chunks.iter().filter(|chunk| chunk.platform == platform).count() as i64;
        let mut wanted = Platform::ALL.iter().map(|platform| (platform, count(*platform))).filter(|(_, n)| *n > 0);
        let used = |platform| self.used.get(platform).copied().unwrap_or_default();
        !chunks.is_empty() && wanted.all(|(platform, n)| !used(platform).has_room(n, self.most))
    }
}

impl Used {
    /// What the tenant may have: half, so that who comes has the other half at once; while it is alone, an eighth is kept for that.
    fn limit(self, most: i64) -> i64 {
        let limit = if self.all > self.own { most / 2 } else { most - most / 8 };
        limit.max(1)
    }

    /// Whether so many more are within the limit; more than it could ever be are when nothing is in hand.
    fn has_room(self, chunks: i64, most: i64) -> bool {
        let limit = self.limit(most);
        self.own + chunks.min(limit) <= limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_domain::ids::DeviceKey;

    fn share(most: i64, used: &[(Platform, i64, i64)]) -> Share {
        Share {
            most,
            used: used.iter().map(|(platform, all, own)| (*platform, Used { all: *all, own: *own })).collect(),
        }
    }

    fn taken(share: &mut Share, platform: Platform) -> usize {
        (0..1_000).filter(|_| share.take(platform)).count()
    }

    fn chunks(of: &[Platform]) -> Vec<NewChunk> {
        let chunk = |platform: &Platform| NewChunk {
            platform: *platform,
            devices: vec![DeviceKey(1)],
            person_numbers: None,
            published: true,
            lease: None,
        };
        of.iter().map(chunk).collect()
    }

    #[test]
    fn a_campaign_leaves_half_of_the_credit_to_others_and_an_eighth_to_who_comes() {
        let mut beside = share(16, &[(Platform::Fcm, 13, 1), (Platform::Webpush, 1, 0)]);
        let all = [Platform::Apns, Platform::Fcm, Platform::Webpush];
        assert_eq!(all.map(|platform| taken(&mut beside, platform)), [14, 3, 8]);
        assert_eq!(taken(&mut share(1, &[]), Platform::Apns), 1);
    }

    #[test]
    fn it_is_walked_on_while_one_of_its_platforms_has_room() {
        let full = share(16, &[(Platform::Apns, 14, 14), (Platform::Fcm, 14, 14)]);
        assert!(full.is_used_up(1) && full.has_no_room_for(&chunks(&[Platform::Apns, Platform::Fcm])));
        assert!(!full.has_no_room_for(&chunks(&[Platform::Apns, Platform::Webpush])));
        assert!(!full.has_no_room_for(&[]), "a page without a chunk says nothing");
        let half = share(16, &[(Platform::Apns, 14, 14), (Platform::Fcm, 12, 12)]);
        assert!(!half.is_used_up(2) && half.is_used_up(3));
        assert!(half.has_no_room_for(&chunks(&[Platform::Apns])));
    }

    #[test]
    fn a_page_that_is_more_than_the_limit_comes_when_nothing_is_in_hand() {
        assert!(!share(4, &[]).is_used_up(100));
        assert!(share(4, &[(Platform::Apns, 1, 1)]).is_used_up(100));
        assert!(!share(4, &[(Platform::Apns, 4, 0)]).is_used_up(100), "others have it all: the scan shares it out");
    }
}
