//! How much of a lane may be in work. A crash repeats at most what is not committed of it, so it is results that are counted, not messages: many
//! small messages take no more room than a few full ones, and none of them waits for another's report.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::outbox::UNCOMMITTED;

/// A lane's room.
pub(crate) struct Room {
    places: Semaphore,
    all: u32,
}

impl Room {
    /// Room for so many full chunks.
    pub(crate) fn for_chunks(chunks: usize) -> Self {
        let all = chunks.saturating_mul(UNCOMMITTED).min(Semaphore::MAX_PERMITS);
        Self { places: Semaphore::new(all), all: u32::try_from(all).unwrap_or(u32::MAX) }
    }

    /// Waits for the room that chunks with so many recipients take together; what takes more than there is waits for all of it. Who came first is
    /// first. The room is free again when what is returned is dropped.
    pub(crate) async fn enter(&self, chunks: impl Iterator<Item = usize>) -> Option<SemaphorePermit<'_>> {
        let places: usize = chunks.map(|recipients| recipients.min(UNCOMMITTED)).sum();
        let places = u32::try_from(places).unwrap_or(u32::MAX).min(self.all);
        // Never closed.
        self.places.acquire_many(places).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[tokio::test]
    async fn small_chunks_share_the_room_of_a_full_one_and_no_chunk_takes_more_than_it_can_leave_uncommitted() {
        let room = Room::for_chunks(2);
        let full = room.enter([500].into_iter()).await;
        let small: Vec<_> = (0..64).map(|_| room.enter([1].into_iter()).now_or_never()).collect();
        assert!(small.iter().all(Option::is_some));
        assert!(room.enter([1].into_iter()).now_or_never().is_none(), "the bound holds for small ones too");
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
}
