//! Groups: whatever is waiting when the last commit returned goes into the next one.

use std::future::Future;
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Calls waiting for a group; more are told to come again.
const QUEUE: usize = 4_096;
/// How long a call waits for its group's commit.
const PATIENCE: Duration = Duration::from_secs(5);

/// One call and where its answer goes.
pub(crate) struct Waiting<Q, A> {
    pub question: Q,
    pub answer: oneshot::Sender<Result<A, Status>>,
}

impl<Q, A> Waiting<Q, A> {
    /// Whether the caller has gone: its patience is over, or it is.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }
}

/// The callers' side of a group.
pub(crate) struct Group<Q, A>(mpsc::Sender<Waiting<Q, A>>);

impl<Q: Send + 'static, A: Send + 'static> Group<Q, A> {
    /// A group and the queue that its worker reads.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Waiting<Q, A>>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    /// Asks, and waits for the commit.
    pub(crate) async fn ask(&self, question: Q) -> Result<A, Status> {
        let (answer, wait) = oneshot::channel();
        self.0.try_send(Waiting { question, answer }).map_err(|refused| match refused {
            TrySendError::Full(_) => Status::resource_exhausted("too many calls wait for the ledger"),
            TrySendError::Closed(_) => Status::unavailable("the ledger is stopping"),
        })?;
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Status::unavailable("the ledger is stopping")),
            Err(_) => Err(Status::deadline_exceeded("the commit did not return in time")),
        }
    }
}

/// How much may share a transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Calls.
    pub calls: usize,
    /// What they weigh together; one call may weigh more, and then stands alone.
    pub weight: usize,
    /// Calls that weigh less together wait a moment for others.
    pub little: usize,
}

/// How long little waits. A transaction for each message, or for each chunk's 64 results, costs several times what it costs among others.
const COMPANY: Duration = Duration::from_millis(4);

/// Works groups off until the process stops and nothing waits.
pub(crate) async fn work<Q, A, F>(
    mut queue: mpsc::Receiver<Waiting<Q, A>>,
    bounds: Bounds,
    weigh: impl Fn(&Q) -> usize,
    stop: CancellationToken,
    mut commit: impl FnMut(Vec<Waiting<Q, A>>) -> F,
) where
    F: Future<Output = ()>,
{
    let mut waiting = Vec::with_capacity(bounds.calls);
    loop {
        let taken = tokio::select! {
            biased;
            taken = queue.recv_many(&mut waiting, bounds.calls) => taken,
            () = stop.cancelled() => {
                queue.close();
                queue.recv_many(&mut waiting, bounds.calls).await
            }
        };
        if taken == 0 {
            return;
        }
        if taken < bounds.calls && waiting.iter().map(|w| weigh(&w.question)).sum::<usize>() < bounds.little {
            let _ = stop.run_until_cancelled(tokio::time::sleep(COMPANY)).await;
            while waiting.len() < bounds.calls
                && let Ok(next) = queue.try_recv()
            {
                waiting.push(next);
            }
        }
        while !waiting.is_empty() {
            let mut weight = 0;
            let fits = waiting.iter().take_while(|w| {
                weight += weigh(&w.question);
                weight <= bounds.weight
            });
            let group = fits.count().max(1);
            commit(waiting.drain(..group).collect()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Works off what is asked with groups of at most 4 calls and 10 in weight (each question is its own); returns the groups.
    async fn groups(asked: &[usize]) -> Vec<Vec<usize>> {
        let (group, queue) = Group::<usize, usize>::new();
        let mut asking = tokio::task::JoinSet::new();
        for question in asked.iter().copied() {
            let (answer, wait) = oneshot::channel();
            group.0.try_send(Waiting { question, answer }).ok().unwrap();
            asking.spawn(async move { (question, wait.await) });
        }
        let stop = CancellationToken::new();
        stop.cancel();
        let committed = Mutex::new(Vec::new());
        work(
            queue,
            Bounds { calls: 4, weight: 10, little: 0 },
            |weight| *weight,
            stop,
            |calls: Vec<Waiting<usize, usize>>| {
                committed.lock().unwrap().push(calls.iter().map(|c| c.question).collect());
                async move {
                    for call in calls {
                        let _ = call.answer.send(Ok(call.question * 2));
                    }
                }
            },
        )
        .await;
        for (question, answer) in asking.join_all().await {
            assert_eq!(answer.unwrap().unwrap(), question * 2, "each gets its own answer");
        }
        committed.into_inner().unwrap()
    }

    #[tokio::test]
    async fn a_group_has_at_most_so_many_calls_and_so_much_weight() {
        assert_eq!(groups(&[1, 1, 1, 1, 1, 1]).await, [vec![1, 1, 1, 1], vec![1, 1]]);
        assert_eq!(groups(&[6, 4, 1, 99, 3]).await, [vec![6, 4], vec![1], vec![99], vec![3]]);
    }

    #[tokio::test(start_paused = true)]
    async fn little_waits_a_moment_for_company_and_much_does_not() {
        let (group, queue) = Group::<usize, usize>::new();
        let (committed, stop) = (Mutex::new(Vec::new()), CancellationToken::new());
        let bounds = Bounds { calls: 4, weight: 100, little: 10 };
        let commit = |calls: Vec<Waiting<usize, usize>>| {
            committed.lock().unwrap().push(calls.iter().map(|c| c.question).collect::<Vec<_>>());
            async move { calls.into_iter().for_each(|call| drop(call.answer.send(Ok(0)))) }
        };
        let asking = async {
            let later = async {
                tokio::time::sleep(COMPANY / 2).await;
                group.ask(2).await
            };
            let (first, second) = tokio::join!(group.ask(1), later);
            let began = tokio::time::Instant::now();
            let third = group.ask(10).await;
            assert!(first.is_ok() && second.is_ok() && third.is_ok());
            assert_eq!(began.elapsed(), Duration::ZERO);
            stop.cancel();
        };
        tokio::join!(work(queue, bounds, |weight| *weight, stop.clone(), commit), asking);
        assert_eq!(committed.into_inner().unwrap(), [vec![1, 2], vec![10]]);
    }

    #[tokio::test]
    async fn what_waits_when_the_process_stops_is_still_committed_and_nothing_more_is_taken() {
        assert_eq!(groups(&[2, 3]).await, [vec![2, 3]]);
        let (group, queue) = Group::<usize, usize>::new();
        let stop = CancellationToken::new();
        stop.cancel();
        work(queue, Bounds { calls: 4, weight: 10, little: 0 }, |_| 1, stop, |_| async {}).await;
        let refused = group.ask(1).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unavailable, "another replica may still be there");
    }

    #[tokio::test]
    async fn an_answer_comes_after_the_commit_and_too_many_callers_are_told_to_come_again() {
        let (group, mut queue) = Group::<usize, usize>::new();
        let mut asking = Box::pin(group.ask(7));
        assert!(futures::poll!(&mut asking).is_pending());
        let waiting = queue.recv().await.unwrap();
        assert!(futures::poll!(&mut asking).is_pending(), "not before the commit");
        waiting.answer.send(Ok(8)).ok().unwrap();
        assert_eq!(asking.await.unwrap(), 8);
        for _ in 0..QUEUE {
            let (answer, _) = oneshot::channel();
            group.0.try_send(Waiting { question: 0, answer }).ok().unwrap();
        }
        assert_eq!(group.ask(1).await.unwrap_err().code(), tonic::Code::ResourceExhausted);
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_that_does_not_return_is_not_waited_for_for_ever() {
        let (group, _queue) = Group::<usize, usize>::new();
        assert_eq!(group.ask(1).await.unwrap_err().code(), tonic::Code::DeadlineExceeded);
    }
}
