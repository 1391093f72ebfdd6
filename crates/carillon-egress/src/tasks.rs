//! The one place of this crate that starts tasks.

use std::future::Future;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// The tasks that drive connections. They live as long as their owner: dropping it ends them.
pub(crate) struct Tasks {
    spawner: Spawner,
    _ends_them: DropGuard,
}

/// Starts tasks that belong to a [`Tasks`].
#[derive(Clone)]
pub(crate) struct Spawner {
    cancel: CancellationToken,
    tracker: TaskTracker,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        let cancel = CancellationToken::new();
        let spawner = Spawner { cancel: cancel.clone(), tracker: TaskTracker::new() };
        Tasks { spawner, _ends_them: cancel.drop_guard() }
    }

    pub(crate) fn spawner(&self) -> Spawner {
        self.spawner.clone()
    }

    /// Waits until every task has ended by itself, at most until `deadline`, then ends the rest. True if none was left.
    pub(crate) async fn finish(&self, deadline: Instant) -> bool {
        self.spawner.tracker.close();
        let finished = tokio::time::timeout_at(deadline, self.spawner.tracker.wait()).await.is_ok();
        self.spawner.cancel.cancel();
        finished
    }
}

impl Spawner {
    /// Drives `connection` beside the requests that use it.
    #[allow(
        clippy::disallowed_methods,
        reason = "a connection must be polled while no request waits on it, and its end is a normal event, not a \
                  failure of the process; the token and the tracker tie the task to its pool"
    )]
    pub(crate) fn drive(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let bounded = self.cancel.clone().run_until_cancelled_owned(connection);
        tokio::spawn(self.tracker.track_future(async move {
            let _ended_or_cancelled = bounded.await;
        }));
    }
}

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, connection: F) {
        self.drive(connection);
    }
}
