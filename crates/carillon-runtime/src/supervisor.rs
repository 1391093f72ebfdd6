//! Keeps the list of running tasks, notices the ones that fail, and waits for the rest.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::BoxError;
use crate::error::chain;

/// How many failures are remembered; the first one is the cause, the rest mostly its echo.
const MAX_FAILURES: usize = 64;

/// A task that ended with an error or panicked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("task {task} failed: {reason}")]
pub struct TaskFailure {
    /// Name the task was spawned under.
    pub task: String,
    /// The error with its sources, or the panic's message.
    pub reason: String,
}

/// A drain that was not clean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unclean {
    /// Tasks that failed, in the order of their failing.
    pub failures: Vec<TaskFailure>,
    /// Names of tasks that were still running when the time was up.
    pub unfinished: Vec<String>,
}

impl std::fmt::Display for Unclean {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let failed = self.failures.iter().map(ToString::to_string);
        let late = self.unfinished.iter().map(|name| format!("task {name} did not finish in time"));
        f.write_str(&failed.chain(late).collect::<Vec<_>>().join("; "))
    }
}

impl std::error::Error for Unclean {}

/// The tasks of one scope.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    failed: CancellationToken,
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    next: u64,
    running: BTreeMap<u64, (Cow<'static, str>, Option<AbortHandle>)>,
    failures: Vec<TaskFailure>,
}

impl Tasks {
    /// Runs a task; the failure of a critical one fires [`Tasks::failed`], that of another is only logged.
    pub(crate) fn spawn(
        &self,
        name: Cow<'static, str>,
        critical: bool,
        task: impl Future<Output = Result<(), BoxError>> + Send + 'static,
    ) {
        let id = self.enter(name.clone());
        // The entry leaves the book when the future is dropped, also by an abort.
        let leave = Leave { tasks: self.clone(), id };
        let supervised = async move {
            let outcome = AssertUnwindSafe(task).catch_unwind().await;
            let reason = match outcome {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(chain(error.as_ref())),
                Err(panic) => Some(format!("panicked: {}", panic_message(panic.as_ref()))),
            };
            if let Some(reason) = reason {
                leave.tasks.note(TaskFailure { task: name.into_owned(), reason }, critical);
            }
        };
        let handle = self.tracker.spawn(supervised).abort_handle();
        if let Some(entry) = self.lock().running.get_mut(&id) {
            entry.1 = Some(handle);
        }
    }

    /// Resolves when a critical task has failed.
    pub(crate) async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Waits until all tasks have ended, at most `limit`.
    pub(crate) async fn drain(&self, limit: Duration) -> Result<(), Unclean> {
        self.tracker.close();
        let finished = tokio::time::timeout(limit, self.tracker.wait()).await.is_ok();
        let book = self.lock();
        let unfinished = match finished {
            true => Vec::new(),
            false => book.running.values().map(|(name, _)| name.to_string()).collect(),
        };
        let result = Unclean { failures: book.failures.clone(), unfinished };
        if result == Unclean::default() { Ok(()) } else { Err(result) }
    }

    /// Ends all tasks where they stand, as a crash would.
    pub(crate) fn abort_all(&self) {
        let handles: Vec<_> = self.lock().running.values().filter_map(|(_, handle)| handle.clone()).collect();
        handles.iter().for_each(AbortHandle::abort);
    }

    fn enter(&self, name: Cow<'static, str>) -> u64 {
        let mut book = self.lock();
        book.next += 1;
        let id = book.next;
        book.running.insert(id, (name, None));
        id
    }

    fn note(&self, failure: TaskFailure, critical: bool) {
        carillon_telemetry::metrics::counter(&carillon_telemetry::names::TASK_FAILURES, &[]).inc();
        if !critical {
            tracing::error!(task = failure.task, reason = failure.reason, "a task failed, the process goes on");
            return;
        }
        tracing::error!(task = failure.task, reason = failure.reason, "a task failed, the process stops");
        let mut book = self.lock();
        if book.failures.len() < MAX_FAILURES {
            book.failures.push(failure);
        }
        drop(book);
        self.failed.cancel();
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Leave {
    tasks: Tasks,
    id: u64,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.tasks.lock().running.remove(&self.id);
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("?")
}
