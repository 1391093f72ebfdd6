//! What is armed in this process, and what a passing does.

use crate::Point;
use crate::plan::{Action, Arming, Plan, Side};
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whether the table is to be looked at. It guards nothing: whoever arms does so before there is work, so a late look misses nothing.
static ARMED: AtomicBool = AtomicBool::new(false);
static TABLE: Mutex<Option<Table>> = Mutex::new(None);

struct Table {
    /// Each with the passings of its side so far.
    armings: Vec<(Arming, u32)>,
    told: fn(&Hit),
}

/// An arming whose moment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit(pub Arming);

impl fmt::Display for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A failpoint made the work fail, or told its caller so although it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failpoint {} {}", .side.as_str(), .point.name())]
pub struct Failed {
    /// Where.
    pub point: Point,
    /// On which side of the work.
    pub side: Side,
}

/// Arms this process, in place of what was armed before; passings are counted from here. A service does it once, before it starts anything.
/// `told` is called in the moment before each action, also before the process kills itself; it must not wait.
pub fn arm(plan: Plan, told: fn(&Hit)) {
    let any = !plan.0.is_empty();
    *table() = any.then(|| Table { armings: plan.0.into_iter().map(|arming| (arming, 0)).collect(), told });
    ARMED.store(any, Ordering::Release);
}

fn table() -> MutexGuard<'static, Option<Table>> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Point {
    /// Does the work between both sides of the point.
    ///
    /// # Errors
    /// The work's own, and [`Failed`] if that is armed: before, then the work was not begun; after, then it is done.
    pub async fn around<T, E: From<Failed>>(self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        self.pass(Side::Before).await?;
        let done = work.await?;
        self.pass(Side::After).await?;
        Ok(done)
    }

    /// Passes one side of the point.
    ///
    /// # Errors
    /// [`Failed`] if that is armed here and this is its moment.
    pub async fn pass(self, side: Side) -> Result<(), Failed> {
        if !ARMED.load(Ordering::Relaxed) {
            return Ok(());
        }
        match count(self, side) {
            None => Ok(()),
            Some(Action::Error) => Err(Failed { point: self, side }),
            Some(Action::Hang) => std::future::pending().await,
            Some(Action::Kill) => kill().await,
        }
    }
}

/// Counts a passing; what is to happen, if something is.
fn count(point: Point, side: Side) -> Option<Action> {
    let (hit, told) = {
        let mut table = table();
        let table = table.as_mut()?;
        let mut hit = None;
        for (arming, passed) in &mut table.armings {
            if (arming.point, arming.side) == (point, side) {
                *passed = passed.saturating_add(1);
                if *passed == arming.nth {
                    hit = hit.or(Some(Hit(*arming)));
                }
            }
        }
        (hit?, table.told)
    };
    told(&hit);
    Some(hit.0.action)
}

/// Nothing of this process runs after the signal; what is awaited is the moment until the system gets to it.
async fn kill() -> Result<(), Failed> {
    let sent = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    if sent.is_err() {
        std::process::abort();
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Armed;
    use std::sync::atomic::AtomicU32;
    use std::task::{Context, Poll, Waker};

    static TOLD: AtomicU32 = AtomicU32::new(0);
    fn armed(text: &str) -> Armed {
        let armed = Armed::with(text.parse().unwrap(), |_| {
            TOLD.fetch_add(1, Ordering::SeqCst);
        });
        TOLD.store(0, Ordering::SeqCst);
        armed
    }

    /// What one poll brings.
    fn passing(point: Point, side: Side) -> Poll<Result<(), Failed>> {
        Box::pin(point.pass(side)).as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    const FINE: Poll<Result<(), Failed>> = Poll::Ready(Ok(()));

    #[test]
    fn an_unarmed_process_passes_everything() {
        let _armed = armed("");
        for point in Point::ALL {
            for side in Side::ALL {
                assert_eq!(passing(point, side), FINE);
            }
        }
        assert_eq!(TOLD.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn the_nth_passing_of_that_side_of_that_point_is_hit_and_no_other() {
        let _armed = armed("store.claim.commit:after=error@3");
        for _ in 0..10 {
            assert_eq!(passing(Point::ReportCommit, Side::After), FINE);
            assert_eq!(passing(Point::ClaimCommit, Side::Before), FINE);
        }
        let failed = Failed { point: Point::ClaimCommit, side: Side::After };
        let all: Vec<_> = (0..5).map(|_| passing(Point::ClaimCommit, Side::After)).collect();
        assert_eq!(all, [FINE, FINE, Poll::Ready(Err(failed)), FINE, FINE]);
        assert_eq!(failed.to_string(), "failpoint after store.claim.commit");
        assert_eq!(TOLD.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_hang_is_for_one_and_the_next_passes() {
        let _armed = armed("broker.ack:before=hang");
        assert_eq!(passing(Point::Ack, Side::Before), Poll::Pending);
        assert_eq!(passing(Point::Ack, Side::Before), FINE);
        assert_eq!(TOLD.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn two_armings_of_one_side_count_its_passings_alike() {
        let _armed = armed("broker.ack:before=error@1,broker.ack:before=hang@2");
        assert!(matches!(passing(Point::Ack, Side::Before), Poll::Ready(Err(_))));
        assert_eq!(passing(Point::Ack, Side::Before), Poll::Pending);
    }

    #[test]
    fn work_is_not_begun_when_it_fails_before_and_is_done_when_it_fails_after() {
        let _armed = armed("broker.ack:before=error@1,broker.ack:after=error@1");
        let mut done = 0;
        let mut once = || {
            let work = async {
                done += 1;
                Ok::<_, Failed>(())
            };
            let polled = Box::pin(Point::Ack.around(work)).as_mut().poll(&mut Context::from_waker(Waker::noop()));
            let Poll::Ready(result) = polled else { panic!("nothing waits") };
            (result.err().map(|failed| failed.side), done)
        };
        assert_eq!(once(), (Some(Side::Before), 0));
        assert_eq!(once(), (Some(Side::After), 1));
        assert_eq!(once(), (None, 2));
    }

    #[test]
    fn work_that_fails_by_itself_passes_no_other_side() {
        let _armed = armed("broker.ack:after=hang@1");
        let own = Failed { point: Point::ClaimCommit, side: Side::Before };
        let work = Point::Ack.around(async { Err::<(), _>(own) });
        assert_eq!(Box::pin(work).as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(own)));
        assert_eq!(TOLD.load(Ordering::SeqCst), 0);
    }
}
