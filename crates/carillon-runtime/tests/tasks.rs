//! Supervised tasks and servers, seen from a service.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::io;
use std::time::Duration;

use carillon_runtime::{Scope, StartError, TestScope, serve_with_grace};
use tokio::sync::oneshot;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(5);
const A_MOMENT: Duration = Duration::from_millis(20);

#[tokio::test]
async fn drain_waits_for_every_task() {
    let test = TestScope::new("x");
    let (finished, mut seen) = oneshot::channel();
    let stopping = test.scope().stopping();
    test.scope().spawn("worker", async move {
        stopping.cancelled().await;
        tokio::task::yield_now().await;
        let _ = finished.send(());
        Ok::<_, io::Error>(())
    });
    assert!(test.is_ready());
    test.stop().await.unwrap();
    assert!(seen.try_recv().is_ok(), "stop returned before the task had ended");
}

#[tokio::test]
async fn a_task_that_fails_or_panics_is_reported_with_its_name() {
    let test = TestScope::new("x");
    test.scope().spawn("reader", async { Err(io::Error::other("connection lost")) });
    timeout(SOON, test.failed()).await.unwrap();
    let unclean = test.stop().await.unwrap_err();
    assert_eq!(unclean.to_string(), "task reader failed: connection lost");

    let test = TestScope::new("x");
    test.scope().spawn("writer", async {
        if tokio::runtime::Handle::try_current().is_ok() {
            panic!("index out of bounds");
        }
        Ok::<_, String>(())
    });
    timeout(SOON, test.failed()).await.unwrap();
    assert_eq!(test.stop().await.unwrap_err().failures[0].reason, "panicked: index out of bounds");
}

#[tokio::test]
async fn a_start_error_can_end_a_task() {
    let test = TestScope::new("x");
    test.scope().spawn("late start", async { Err(StartError::new("no schema")) });
    assert_eq!(test.stop().await.unwrap_err().failures[0].reason, "no schema");
}

#[tokio::test]
async fn a_helper_that_panics_takes_nobody_with_it() {
    let test = TestScope::new("x");
    let (ended, seen) = oneshot::channel::<()>();
    test.scope().spawn_helper("connection", async move {
        let _ended = ended;
        panic!("one connection");
    });
    assert!(timeout(SOON, seen).await.unwrap().is_err(), "the helper ended");
    test.stop().await.unwrap();
}

#[tokio::test]
async fn a_task_that_ignores_the_stop_is_named_when_the_time_is_up() {
    let test = TestScope::new("x");
    test.scope().spawn("deaf", std::future::pending::<Result<(), io::Error>>());
    assert_eq!(test.stop_within(A_MOMENT).await.unwrap_err().unfinished, ["deaf"]);
}

#[tokio::test]
async fn kill_drops_tasks_where_they_stand() {
    let test = TestScope::new("x");
    let (held, dropped) = oneshot::channel::<()>();
    test.scope().spawn("deaf", async move {
        let _held = held;
        std::future::pending::<Result<(), io::Error>>().await
    });
    timeout(SOON, test.kill()).await.unwrap();
    assert!(timeout(SOON, dropped).await.unwrap().is_err());
}

#[tokio::test]
async fn cancelling_ones_own_token_stops_nobody_else() {
    let test = TestScope::new("x");
    test.scope().stopping().cancel();
    assert!(!test.scope().stopping().is_cancelled());
}

#[tokio::test]
async fn a_required_part_decides_readiness_and_a_dependency_does_not() {
    let test = TestScope::new("x");
    let dependency = test.scope().dependency("broker");
    dependency.set(false, "away");
    assert!(test.is_ready());
    let part = test.scope().readiness("schema");
    assert!(!test.is_ready());
    part.set(true, "version 3");
    assert!(test.is_ready());
}

#[tokio::test]
async fn a_server_with_an_endless_connection_is_cut_after_its_grace() {
    let scope: Scope = TestScope::new("x").scope();
    let stopping = scope.stopping();
    stopping.cancel();
    let endless = std::future::pending::<Result<(), io::Error>>();
    timeout(SOON, serve_with_grace(endless, stopping, A_MOMENT)).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_server_that_ends_unasked_is_a_failure_and_one_that_was_asked_is_not() {
    let test = TestScope::new("x");
    test.scope().serve("http", SOON, |_| async { Ok::<_, io::Error>(()) });
    timeout(SOON, test.failed()).await.unwrap();
    assert!(test.stop().await.unwrap_err().to_string().contains("nobody asked"));

    let test = TestScope::new("x");
    test.scope().serve("http", SOON, |stop| async move {
        stop.cancelled().await;
        Ok::<_, io::Error>(())
    });
    test.stop().await.unwrap();
}
