//! How long a group of acceptances waits for others before it is committed. What a group costs is shared by all in it: here, in the broker and in the
//! segmenter.

use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// It waits as long as somebody comes within this time (the runtime's clock has no smaller steps, and may take two of them),
const TICK: Duration = Duration::from_millis(1);
/// and no longer than this.
const COMPANY: Duration = Duration::from_millis(4);
/// Calls that come further apart than this are not waited for: most waits would be in vain.
const NEAR: Duration = Duration::from_millis(3);
/// The longest distance between calls that is remembered, so that a rest is soon forgotten.
const FAR: Duration = Duration::from_millis(10);
/// After so many groups of one in a row nobody is expected. One caller who waits for each answer has no company, however fast the answers are.
const ALONE: u32 = 16;

/// What the last groups tell of the next one.
pub(super) struct Company {
    /// How many the last one had, and when it began.
    before: usize,
    began: Instant,
    /// Groups of one in a row.
    alone: u32,
    /// How far calls are apart, over the last eight groups or so.
    spacing: Duration,
}

impl Company {
    /// Nobody is expected yet.
    pub(super) fn new() -> Self {
        Self { before: 0, began: Instant::now(), alone: ALONE, spacing: FAR }
    }

    /// Waits while others come, until the group has as many as the last one had, or two; where calls are few, not at all. Those who were just
    /// answered come back together, and without a wait they would find many small groups. A group has room for `most`.
    pub(super) async fn gather<T>(&mut self, queue: &mut mpsc::Receiver<T>, group: &mut Vec<T>, most: usize) {
        let began = Instant::now();
        let apart = (began - self.began) / u32::try_from(self.before.max(1)).unwrap_or(u32::MAX);
        self.spacing = (self.spacing * 7 + apart.min(FAR)) / 8;
        let (expected, last) = (self.expected().min(most), began + COMPANY);
        while group.len() < expected {
            let (until, room) = (last.min(Instant::now() + TICK), most - group.len());
            if !matches!(timeout_at(until, queue.recv_many(group, room)).await, Ok(1..)) {
                break;
            }
        }
        self.alone = if group.len() > 1 { 0 } else { self.alone.saturating_add(1) };
        (self.before, self.began) = (group.len(), began);
    }

    fn expected(&self) -> usize {
        if self.alone < ALONE && self.spacing <= NEAR { self.before.max(2) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    /// After a group of so many, under load.
    fn after(before: usize) -> Company {
        Company { before, began: Instant::now(), alone: 0, spacing: Duration::ZERO }
    }

    /// How long a group waits, and how many it then has, while one call comes in each of so many half ticks.
    async fn gathered(mut company: Company, coming: usize) -> (Duration, usize) {
        let (sender, mut queue) = mpsc::channel(100);
        let (began, mut group) = (Instant::now(), vec![()]);
        let others = async {
            for _ in 0..coming {
                assert!(sender.send(()).await.is_ok());
                sleep(TICK / 2).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = others => unreachable!("it never ends"),
            () = company.gather(&mut queue, &mut group, 1_000) => {}
        }
        (began.elapsed(), group.len())
    }

    /// How many of so many groups waited, each of which is there with `together` calls so long after the one before was begun.
    async fn waited(company: &mut Company, groups: usize, together: usize, apart: Duration) -> usize {
        let (_sender, mut queue) = mpsc::channel(1);
        let mut waits = 0;
        for _ in 0..groups {
            let began = Instant::now();
            company.gather(&mut queue, &mut vec![(); together], 1_000).await;
            waits += usize::from(began.elapsed() > Duration::ZERO);
            sleep(apart.saturating_sub(began.elapsed())).await;
        }
        waits
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_waits_as_long_as_others_come_and_not_for_ever() {
        let (nobody, two, everybody) =
            (gathered(after(90), 0).await, gathered(after(90), 2).await, gathered(after(90), 50).await);
        assert!(nobody.0 <= 2 * TICK && nobody.1 == 1, "{nobody:?}");
        assert!(nobody.0 < two.0 && two.0 <= everybody.0 && two.1 == 3, "{two:?}");
        assert!(everybody.0 <= COMPANY + 2 * TICK && everybody.1 > 3, "{everybody:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_waits_for_one_and_for_no_more_than_there_were_before() {
        assert_eq!(gathered(after(1), 50).await.1, 2);
        assert_eq!(gathered(after(2), 50).await.1, 2);
        let (waited, group) = gathered(after(4), 50).await;
        assert!(waited < COMPANY && group == 4, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_is_never_larger_than_it_may_be() {
        let (sender, mut queue) = mpsc::channel(10);
        for _ in 0..10 {
            sender.send(()).await.unwrap();
        }
        let mut group = vec![()];
        after(90).gather(&mut queue, &mut group, 5).await;
        assert_eq!(group.len(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn one_caller_who_waits_for_each_answer_waits_for_nobody_else() {
        let mut company = Company::new();
        assert_eq!(waited(&mut company, 500, 1, Duration::from_millis(1)).await, 0);
        // After a crowd only for as long as it takes to see that it is gone.
        let mut company = after(64);
        assert!(waited(&mut company, 500, 1, Duration::from_millis(1)).await <= ALONE as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_are_far_apart_wait_for_nobody_though_some_come_together() {
        let mut company = Company::new();
        assert_eq!(waited(&mut company, 500, 2, Duration::from_millis(20)).await, 0);
        assert_eq!(waited(&mut company, 1, 1, Duration::ZERO).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_callers_who_are_answered_together_wait_for_each_other_and_for_nobody_else() {
        let mut company = Company::new();
        assert_eq!(waited(&mut company, 500, 3, Duration::from_millis(2)).await, 0);
        assert_eq!(waited(&mut company, 1, 1, Duration::from_millis(2)).await, 1, "one came before the others");
    }
}
