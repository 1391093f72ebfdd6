//! Wake-ups that share a transaction: those that come while one is under way go into the next. A transaction for each costs several times as much, and
//! at a tenth of what the machine can do that is what it is busy with.

use carillon_broker::Effects;
use carillon_domain::limits;
use carillon_store::Error;
use carillon_wire::events::NotificationsAccepted;
use futures::FutureExt as _;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

/// Notifications that do not wait for the transaction that is under way.
const FULL: usize = limits::WAKEUP_NOTIFICATIONS / 2;
/// How long anybody waits for it: it may be one that never answers.
const PATIENCE: Duration = Duration::from_millis(100);

/// Those that wait, and how many transactions are under way.
#[derive(Default)]
pub(crate) struct Company {
    state: Mutex<State>,
    ended: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Member>,
    /// Numbers members.
    last: u64,
    turns: usize,
}

struct Member {
    number: u64,
    event: NotificationsAccepted,
    /// Told when it is done; dropped when it is not.
    done: oneshot::Sender<()>,
}

/// What became of a wake-up that was to share.
pub(crate) enum Shared<'a> {
    /// It is committed, with others. Their effects are one's among them to publish.
    Done(Effects),
    /// It has to be done alone: there is nobody else, or what was tried with others failed.
    Alone(Option<Turn<'a>>),
}

/// A transaction under way.
pub(crate) struct Turn<'a>(&'a Company);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.state().turns -= 1;
        self.0.ended.notify_waiters();
    }
}

impl Company {
    /// Does `event` with others that wait, by `work`, which does all or nothing and says nothing (`None`) where they are too many for it. Whichever
    /// comes first when a transaction has ended does the next for all.
    pub(crate) async fn share<F>(
        &self,
        event: &NotificationsAccepted,
        work: impl FnOnce(NotificationsAccepted) -> F,
    ) -> Shared<'_>
    where
        F: Future<Output = Result<Option<Effects>, Error>>,
    {
        let (number, mut done) = self.wait(event);
        let patience = Instant::now() + PATIENCE;
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            // From here on nothing is missed.
            ended.as_mut().enable();
            if let Some((turn, group)) = self.begin(number, Instant::now() >= patience) {
                return together(turn, group, work).await;
            }
            tokio::select! {
                biased;
                told = &mut done => return told.map_or(Shared::Alone(None), |()| Shared::Done(Effects::default())),
                () = ended => {}
                () = sleep_until(patience), if Instant::now() < patience => {}
            }
        }
    }

    fn wait(&self, event: &NotificationsAccepted) -> (u64, oneshot::Receiver<()>) {
        let (done, told) = oneshot::channel();
        let mut state = self.state();
        state.last += 1;
        let number = state.last;
        state.waiting.push_back(Member { number, event: event.clone(), done });
        (number, told)
    }

    /// The next transaction, with as many as may share one: this member first, then those who have waited longest. Nothing while it should wait, or if
    /// another has taken it along.
    fn begin(&self, number: u64, is_late: bool) -> Option<(Turn<'_>, Vec<Member>)> {
        let mut state = self.state();
        let own = state.waiting.iter().position(|member| member.number == number)?;
        let waiting: usize = state.waiting.iter().map(Member::len).sum();
        if state.turns > 0 && waiting < FULL && !is_late {
            return None;
        }
        let mut group: Vec<Member> = state.waiting.remove(own).into_iter().collect();
        let mut count: usize = group.iter().map(Member::len).sum();
        while let Some(next) = state.waiting.pop_front_if(|next| count + next.len() <= limits::WAKEUP_NOTIFICATIONS) {
            count += next.len();
            group.push(next);
        }
        state.turns += 1;
        drop(state);
        Some((Turn(self), group))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    fn len(&self) -> usize {
        self.event.notifications.len()
    }
}

/// What fails, or panics, is done by each alone: one of them may be the cause.
async fn together<'a, F>(
    turn: Turn<'a>,
    group: Vec<Member>,
    work: impl FnOnce(NotificationsAccepted) -> F,
) -> Shared<'a>
where
    F: Future<Output = Result<Option<Effects>, Error>>,
{
    if group.len() == 1 {
        return Shared::Alone(Some(turn));
    }
    let (events, told): (Vec<_>, Vec<_>) = group.into_iter().map(|member| (member.event, member.done)).unzip();
    let notifications = events.into_iter().flat_map(|event| event.notifications).collect();
    match AssertUnwindSafe(work(NotificationsAccepted { notifications })).catch_unwind().await {
        Ok(Ok(Some(effects))) => {
            for done in told {
                // Who went away needs no word.
                let _ = done.send(());
            }
            Shared::Done(effects)
        }
        Ok(Ok(None)) => Shared::Alone(Some(turn)),
        Ok(Err(error)) => {
            tracing::debug!(%error, "wake-ups that shared a transaction are done one by one");
            Shared::Alone(Some(turn))
        }
        Err(_) => {
            tracing::error!(
                wake_ups = told.len(),
                "wake-ups that shared a transaction panicked; they are done one by one"
            );
            Shared::Alone(Some(turn))
        }
    }
}

#[cfg(test)]
mod tests;
