//! How much of a lane may be in work. A crash repeats at most what is not committed of it, so it is results that are counted, not messages: many
//! small messages take no more room than a few full ones, and none of them waits for another's report.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::outbox::UNCOMMITTED;

/// A lane's room.
pub(crate) struct Room {
    own: Places,
    /// Another lane's, of which this one takes what is left.
    others: Option<Places>,
}

#[derive(Clone)]
struct Places {
    free: Arc<Semaphore>,
    all: u32,
}

impl Room {
    /// Room for so many full chunks.
    pub(crate) fn for_chunks(chunks: usize) -> Self {
        let all = chunks.saturating_mul(UNCOMMITTED).min(Semaphore::MAX_PERMITS);
        let free = Arc::new(Semaphore::new(all));
        Self { own: Places { free, all: u32::try_from(all).unwrap_or(u32::MAX) }, others: None }
    }

    /// The transactional lane's, with room of its own for so many full chunks, and the bulk lane's, of which the transactional lane has what is left.
    pub(crate) fn for_lanes(transactional: usize, bulk: usize) -> (Self, Self) {
        let bulk = Self::for_chunks(bulk);
        (Self { others: Some(bulk.own.clone()), ..Self::for_chunks(transactional) }, bulk)
    }

    /// Waits for the room that chunks with so many recipients take together; what takes more than there is waits for all of it. Who came first is
    /// first. The room is free again when what is returned is dropped.
    pub(crate) async fn enter(&self, chunks: impl Iterator<Item = usize>) -> Option<SemaphorePermit<'_>> {
        let places: usize = chunks.map(|recipients| recipients.min(UNCOMMITTED)).sum();
        let places = u32::try_from(places).unwrap_or(u32::MAX);
        let Some(others) = &self.others else { return self.own.take(places).await };
        tokio::select! {
            biased;
            taken = self.own.take(places) => taken,
            taken = others.take(places) => taken,
        }
    }
}

impl Places {
    async fn take(&self, places: u32) -> Option<SemaphorePermit<'_>> {
        // Never closed.
        self.free.acquire_many(places.min(self.all)).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    fn enter(room: &Room, recipients: usize) -> Option<SemaphorePermit<'_>> {
        room.enter([recipients].into_iter()).now_or_never().flatten()
    }

    #[tokio::test]
    async fn small_chunks_share_the_room_of_a_full_one_and_no_chunk_takes_more_than_it_can_leave_uncommitted() {
        let room = Room::for_chunks(2);
        let full = enter(&room, 500);
        let small: Vec<_> = (0..64).map(|_| enter(&room, 1)).collect();
        assert!(small.iter().all(Option::is_some));
        assert!(enter(&room, 1).is_none(), "the bound holds for small ones too");
        drop(full);
        assert!(room.enter([30, 34].into_iter()).now_or_never().is_some());
    }

    #[tokio::test]
    async fn what_takes_more_than_all_the_room_has_it_alone() {
        let room = Room::for_chunks(1);
        let first = room.enter([1].into_iter()).await;
        assert!(room.enter([500, 500].into_iter()).now_or_never().is_none());
        drop(first);
        assert!(room.enter([500, 500].into_iter()).now_or_never().is_some());
    }

    #[tokio::test]
    async fn the_transactional_lane_has_its_own_room_and_what_the_other_leaves() {
        let (transactional, bulk) = Room::for_lanes(1, 2);
        let all: Vec<_> = (0..3).map_while(|_| enter(&transactional, 64)).collect();
        assert_eq!(all.len(), 3, "its own, and all that the other lane does not use");
        assert!(enter(&transactional, 1).is_none() && enter(&bulk, 1).is_none(), "together no more than there is");
        drop(all);
        let campaign: Vec<_> = (0..3).map_while(|_| enter(&bulk, 500)).collect();
        assert_eq!(campaign.len(), 2, "the other lane has none of its room");
        assert!(enter(&transactional, 64).is_some());
    }

    #[tokio::test]
    async fn who_waits_takes_whichever_room_is_free_first() {
        let (transactional, bulk) = Room::for_lanes(1, 1);
        for frees_own in [true, false] {
            let (own, others) = (enter(&transactional, 64), enter(&bulk, 64));
            let mut waiting = Box::pin(transactional.enter([64].into_iter()));
            assert!((&mut waiting).now_or_never().is_none());
            let kept = if frees_own {
                drop(own);
                others
            } else {
                drop(others);
                own
            };
            assert!((&mut waiting).now_or_never().flatten().is_some());
            drop(kept);
        }
    }
}
