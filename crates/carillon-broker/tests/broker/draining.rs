//! How a process leaves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use carillon_broker::{Config, Outgoing, PublishError};
use tokio::sync::Semaphore;

use crate::place::{Place, Script};
use crate::proxy::Proxy;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_work_is_finished_and_the_rest_goes_back_at_once() {
    let place = Place::new().await;
    let broker = place.broker().await;
    let go = Arc::new(Semaphore::new(0));
    let (gate, done) = (Arc::clone(&go), place.done.route());
    let (script, seen) = Script::new(move |job, _| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(vec![Outgoing::routed(done.exchange, done.key, &job)])
        }
    });
    place.publish_jobs(&broker, 0..10).await;
    broker.consume(&place.jobs, 10, 2, script);
    seen.count_is(2).await;
    place.ready_is(place.jobs.name(), 0).await;

    place.stop.cancel();
    place.ready_is(place.jobs.name(), 8).await;
    assert_eq!(place.ready(place.done.name()).await, Some(0));
    go.add_permits(2);
    broker.drained().await.unwrap();
    assert_eq!(place.ready(place.done.name()).await, Some(2));
    assert_eq!(place.left(place.jobs.name()).await.len(), 8);
    assert_eq!(seen.all().len(), 2);
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_outlasts_the_grace_is_dropped_and_goes_back() {
    let place = Place::new().await;
    let broker = place.broker_with(&Config { drain_grace_ms: 200, ..place.config() }).await;
    let (script, seen) = Script::new(|_, _| std::future::pending());
    place.publish_jobs(&broker, 0..3).await;
    broker.consume(&place.jobs, 10, 2, script);
    seen.count_is(2).await;
    place.stop.cancel();
    let began = Instant::now();
    broker.drained().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    place.ready_is(place.jobs.name(), 3).await;
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_without_a_broker_leaves_too() {
    let place = Place::new().await;
    let config = Config::new("amqp://127.0.0.1:1/%2f");
    let broker = carillon_broker::Broker::connect(&config, "test", place.topology.clone(), place.stop.clone()).unwrap();
    let (script, _) = Script::content();
    broker.consume(&place.jobs, 10, 2, script);
    place.stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), broker.drained()).await.expect("in time").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_does_not_answer_holds_nobody_back() {
    let (place, proxy) = (Place::new().await, Proxy::start().await);
    let config = Config { drain_grace_ms: 500, confirm_timeout_ms: 500, ..Config::new(proxy.url()) };
    let broker = place.broker_with(&config).await;
    let (script, seen) = Script::content();
    broker.consume(&place.jobs, 10, 2, script);
    place.publish_jobs(&broker, 0..1).await;
    seen.count_is(1).await;
    proxy.freeze(true);
    place.stop.cancel();
    tokio::time::timeout(Duration::from_secs(20), broker.drained()).await.expect("in time").unwrap();
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_handed_to_the_publisher_is_confirmed_before_the_connection_closes() {
    let place = Place::new().await;
    let broker = place.broker().await;
    let publisher = broker.publisher();
    let messages = (0..200).map(|n| Outgoing::to(&place.jobs, &crate::place::Job(n))).collect();
    place.stop.cancel();
    let (results, drained) = tokio::join!(publisher.publish_all(messages), broker.drained());
    drained.unwrap();
    let confirmed = results.iter().filter(|result| result.is_ok()).count();
    assert!(results.iter().all(|result| matches!(result, Ok(()) | Err(PublishError::Closed))), "{results:?}");
    assert_eq!(place.left(place.jobs.name()).await.len(), confirmed);
    place.remove().await;
}
