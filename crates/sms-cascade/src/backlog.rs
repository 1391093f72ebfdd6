//! Looks for what is due, and hands it on in groups.

use crate::batch::Batches;
use crate::config::CascadeConfig;
use carillon_runtime::{CancellationToken, ReadyHandle, Scope};
use carillon_store::Store;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// How long to leave the database alone after it did not answer.
const DATABASE_PAUSE: Duration = Duration::from_secs(1);
/// How often overtaken pushes are looked for that a dispatcher held.
const CLOSING_EVERY: Duration = Duration::from_secs(1);
/// Cascades of one look for them.
const CLOSING: i64 = 200;

/// Starts both loops. They end when the drain begins; groups in work are finished.
pub(crate) fn start(config: &CascadeConfig, store: Store, batches: Arc<Batches>, scope: &Scope) {
    let backlog = Backlog {
        store: store.clone(),
        batches: batches.clone(),
        workers: Arc::new(Semaphore::new(config.workers)),
        tick: config.tick.get(),
        limit: config.batch as i64,
        lease: config.lease.get(),
        stopping: scope.stopping(),
        database: scope.dependency("database"),
        scope: scope.clone(),
    };
    scope.spawn("due cascades", async move {
        backlog.run().await;
        Ok::<_, Infallible>(())
    });
    let stopping = scope.stopping();
    scope.spawn("overtaken pushes", async move {
        close(&store, &batches, &stopping).await;
        Ok::<_, Infallible>(())
    });
}

struct Backlog {
    store: Store,
    batches: Arc<Batches>,
    workers: Arc<Semaphore>,
    tick: Duration,
    limit: i64,
    lease: Duration,
    stopping: CancellationToken,
    database: ReadyHandle,
    scope: Scope,
}

impl Backlog {
    async fn run(self) {
        let mut pause = Duration::ZERO;
        while self.stopping.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            let worker = self.workers.clone().acquire_owned();
            // The semaphore is never closed.
            let Some(Ok(worker)) = self.stopping.run_until_cancelled(worker).await else { return };
            let since = Instant::now();
            let batch =
                match self.store.in_time(self.store.due_cascades(self.limit, self.lease, self.batches.slot())).await {
                    Ok(batch) => batch,
                    Err(error) => {
                        self.database.set(false, "does not answer");
                        tracing::warn!(%error, "due cascades cannot be looked for");
                        pause = DATABASE_PAUSE;
                        continue;
                    }
                };
            self.database.set(true, "");
            // A full group means that more may wait.
            pause = if batch.taken as i64 >= self.limit { Duration::ZERO } else { self.tick };
            if batch.taken > 0 {
                let batches = self.batches.clone();
                self.scope.spawn_helper("cascade group", async move {
                    Box::pin(batches.work(batch, since)).await;
                    drop(worker);
                });
            }
        }
    }
}

async fn close(store: &Store, batches: &Batches, stopping: &CancellationToken) {
    let mut pause = CLOSING_EVERY;
    while stopping.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
        pause = CLOSING_EVERY;
        match store.in_time(store.cascades_to_close(CLOSING)).await {
            Ok(fired) => {
                if fired.len() as i64 >= CLOSING {
                    pause = Duration::ZERO;
                }
                batches.close(&fired).await;
            }
            Err(error) => tracing::debug!(%error, "overtaken pushes are looked for later"),
        }
    }
}
