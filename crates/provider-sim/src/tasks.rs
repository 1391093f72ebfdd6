//! Everything the simulator runs beside its caller, so that stopping it stops all of it.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a stop waits for connections to notice.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// The tasks of one simulator.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    stopping: CancellationToken,
}

impl Tasks {
    /// Runs the future until it ends or the simulator stops.
    pub(crate) fn spawn<F>(&self, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stopping = self.stopping.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = future => {}
            }
        });
    }

    /// Asks every task to end, without waiting.
    pub(crate) fn cancel(&self) {
        self.stopping.cancel();
        self.tracker.close();
    }

    /// Asks every task to end and waits for it, at most five seconds.
    pub(crate) async fn stop(&self) {
        self.cancel();
        let _ = tokio::time::timeout(STOP_DEADLINE, self.tracker.wait()).await;
    }
}
