//! What runs beside the requests: hearing changes, and looking whether the database is there and migrated.

use std::convert::Infallible;
use std::time::Duration;

use carillon_runtime::{ReadyHandle, Scope};
use carillon_store::Store;
use tokio::time::{sleep, timeout};

use crate::ingest::Shared;

/// How often the database is asked whether it is there.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(3);

pub(crate) fn start(ingest: &Shared, scope: &Scope) {
    let stopping = scope.stopping();
    let listener = ingest.clone();
    scope.spawn("changes", async move {
        let hearing = listener.store.listen(|changed| listener.forget(changed));
        let _ = stopping.run_until_cancelled(hearing).await;
        Ok::<_, Infallible>(())
    });
    let stopping = scope.stopping();
    let (schema, database) = (scope.readiness("schema"), scope.dependency("database"));
    let store = ingest.store.clone();
    scope.spawn("database watch", async move {
        let _ = stopping.run_until_cancelled(watch_database(store, schema, database)).await;
        Ok::<_, Infallible>(())
    });
}

/// Ready once the schema has been seen; a database that goes away later shows but takes nobody out of service, since all
/// replicas would go at once and callers understand a 503.
async fn watch_database(store: Store, schema: ReadyHandle, database: ReadyHandle) -> Infallible {
    let mut migrated = false;
    loop {
        let answer = match migrated {
            false => timeout(ANSWER, store.check_schema()).await,
            true => timeout(ANSWER, store.ping()).await,
        };
        match answer {
            Ok(Ok(())) => {
                migrated = true;
                schema.set(true, "migrated");
                database.set(true, "answers");
            }
            Ok(Err(error)) if error.is_unavailable() => database.set(false, "is not available"),
            Ok(Err(error)) => {
                database.set(true, "answers");
                schema.set(false, error.to_string());
            }
            Err(_) => database.set(false, "does not answer in time"),
        }
        sleep(ASK_EVERY).await;
    }
}
