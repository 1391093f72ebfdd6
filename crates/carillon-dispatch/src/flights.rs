//! The provider calls of a chunk that are under way: one deadline for each and one timer for all, and room that is used again.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;
use tokio_util::sync::ReusableBoxFuture;

use crate::flight::Flown;
use crate::line::Open;
use crate::provider::Verdict;
use crate::trace::CallSpan;

/// A message that is not under way any more.
pub(crate) struct Landed<'a> {
    pub(crate) open: Open<'a>,
    pub(crate) flown: Flown,
    pub(crate) left: Instant,
    pub(crate) span: CallSpan,
}

/// The calls of one chunk. `'a` is the chunk's, `'f` also that of what its messages share.
pub(crate) struct Flights<'f, 'a> {
    flying: FuturesUnordered<Flying<'f, 'a>>,
    /// What calls that are over have left. One needs some kilobytes, which an allocator gives out slowly.
    room: Vec<ReusableBoxFuture<'f, Flown>>,
    patience: Duration,
    /// No deadline passes before; nothing if nothing flies.
    look_at: Option<Instant>,
}

/// One of them.
struct Flying<'f, 'a> {
    /// Taken when it is over.
    call: Option<ReusableBoxFuture<'f, Flown>>,
    open: Open<'a>,
    left: Instant,
    span: CallSpan,
}

impl<'f, 'a> Flights<'f, 'a> {
    /// A call that takes longer than `patience` is cut.
    pub(crate) fn new(patience: Duration) -> Self {
        Self { flying: FuturesUnordered::new(), room: Vec::new(), patience, look_at: None }
    }

    pub(crate) fn len(&self) -> usize {
        self.flying.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.flying.is_empty()
    }

    /// A call that began at `left`. It is polled with the others.
    pub(crate) fn push<F>(&mut self, open: Open<'a>, span: CallSpan, left: Instant, call: F)
    where
        F: Future<Output = Flown> + Send + 'f,
    {
        let call = match self.room.pop() {
            Some(mut room) => {
                room.set(call);
                room
            }
            None => ReusableBoxFuture::new(call),
        };
        self.look_at.get_or_insert(left + self.patience);
        self.flying.push(Flying { call: Some(call), open, left, span });
    }

    /// The next one that is over; never while there is none. Cancel safe.
    pub(crate) async fn next(&mut self) -> Landed<'a> {
        match self.flying.next().await {
            Some((landed, room)) => {
                self.room.push(room);
                landed
            }
            None => std::future::pending().await,
        }
    }

    /// One that is over already.
    pub(crate) fn next_now(&mut self) -> Option<Landed<'a>> {
        if self.is_empty() { None } else { self.next().now_or_never() }
    }

    /// When [`Flights::overdue`] has to be asked again.
    pub(crate) fn look_at(&self) -> Option<Instant> {
        self.look_at.filter(|_| !self.is_empty())
    }

    /// Cuts those that take too long: nobody knows what became of them, unless their answer is there by now.
    pub(crate) fn overdue(&mut self, now: Instant) -> Vec<Landed<'a>> {
        if self.look_at.is_none_or(|at| now < at) {
            return Vec::new();
        }
        let mut cut = Vec::new();
        self.look_at = None;
        for mut flying in std::mem::take(&mut self.flying) {
            let deadline = flying.left + self.patience;
            if now < deadline {
                self.look_at = Some(self.look_at.map_or(deadline, |at| at.min(deadline)));
                self.flying.push(flying);
            } else if let Some((landed, room)) = (&mut flying).now_or_never() {
                self.room.push(room);
                cut.push(landed);
            } else {
                let Flying { call, open, left, span } = flying;
                drop(call);
                cut.push(Landed { open, flown: Some(Verdict::Unknown), left, span });
            }
        }
        cut
    }
}

impl<'f, 'a> Future for Flying<'f, 'a> {
    type Output = (Landed<'a>, ReusableBoxFuture<'f, Flown>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(call) = &mut self.call else { return Poll::Pending };
        let flown = ready!(call.poll(cx));
        let Some(room) = self.call.take() else { return Poll::Pending };
        let span = std::mem::replace(&mut self.span, CallSpan::none());
        Poll::Ready((Landed { open: self.open, flown, left: self.left, span }, room))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::channel::oneshot;

    const PATIENCE: Duration = Duration::from_secs(15);

    fn open(index: usize) -> Open<'static> {
        Open { index, host: "", attempts: 0, retries: 0 }
    }

    fn push(flights: &mut Flights<'_, 'static>, index: usize, left: Instant) -> oneshot::Sender<Verdict> {
        let (sender, receiver) = oneshot::channel();
        flights.push(open(index), CallSpan::none(), left, async move { receiver.await.ok() });
        sender
    }

    #[test]
    fn calls_land_as_they_are_over_and_their_room_is_used_again() {
        let (mut flights, now) = (Flights::new(PATIENCE), Instant::now());
        for round in 0..3 {
            let senders = [push(&mut flights, round, now), push(&mut flights, round + 10, now)];
            assert!(flights.next_now().is_none());
            let [first, second] = senders;
            second.send(Verdict::Unknown).unwrap();
            assert_eq!(flights.next_now().map(|landed| landed.open.index), Some(round + 10));
            assert!(flights.next_now().is_none());
            drop(first);
            let last = flights.next_now().unwrap();
            assert_eq!((last.open.index, last.flown), (round, None));
        }
        assert_eq!((flights.len(), flights.room.len()), (0, 2));
    }

    #[test]
    fn only_what_takes_too_long_is_cut_and_the_others_go_on() {
        let (mut flights, now) = (Flights::new(PATIENCE), Instant::now());
        let slow = push(&mut flights, 1, now);
        let answered = push(&mut flights, 3, now);
        let then = now + Duration::from_secs(10);
        let quick = push(&mut flights, 2, then);
        assert!(flights.overdue(now + PATIENCE - Duration::from_millis(1)).is_empty());
        assert_eq!(flights.look_at(), Some(now + PATIENCE));
        // Nobody looked until now.
        answered.send(Verdict::Sent { provider_id: None }).unwrap();
        let mut cut = flights.overdue(now + PATIENCE);
        cut.sort_by_key(|landed| landed.open.index);
        let came_to: Vec<_> = cut.iter().map(|landed| (landed.open.index, landed.flown.clone())).collect();
        assert_eq!(came_to, [(1, Some(Verdict::Unknown)), (3, Some(Verdict::Sent { provider_id: None }))]);
        assert!(slow.is_canceled(), "the call itself is over");
        assert_eq!(flights.look_at(), Some(then + PATIENCE));
        quick.send(Verdict::Sent { provider_id: None }).unwrap();
        assert_eq!(flights.next_now().map(|landed| landed.open.index), Some(2));
        assert_eq!(flights.look_at(), None);
    }
}
