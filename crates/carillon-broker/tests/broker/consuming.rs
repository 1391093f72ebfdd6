//! When a message is acknowledged, and when it is handled again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use carillon_broker::{Config, Fault, Outgoing};
use lapin::options::QueueBindOptions;
use lapin::types::FieldTable;
use tokio::sync::Barrier;

use crate::place::{Job, Place, Script};
use crate::proxy::Proxy;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_handled_is_acknowledged_in_few_frames() {
    let (place, proxy) = (Place::new().await, Proxy::start().await);
    let broker = place.broker_with(&Config::new(proxy.url())).await;
    place.publish_jobs(&broker, 0..1000).await;
    // All that are handled at once are done at once: how many are done between two looks is not left to the machine.
    let together = Arc::new(Barrier::new(50));
    let (script, seen) = Script::new(move |_, _| {
        let together = Arc::clone(&together);
        async move {
            together.wait().await;
            Ok(Vec::new())
        }
    });
    broker.consume(&place.jobs, 200, 50, script);
    seen.count_is(1000).await;
    place.stop.cancel();
    broker.drained().await.unwrap();
    assert_eq!(place.left(place.jobs.name()).await, [""; 0]);
    assert_eq!(seen.distinct().len(), 1000);
    let (frames, multiple) = proxy.acks();
    assert!(multiple > 0 && frames < 500, "{frames} acknowledgements, {multiple} of them for several");
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_takes_is_published_again_without_calling_the_handler_again() {
    let place = Place::new().await;
    let broker = place.broker().await;
    let open = place.open;
    let (script, seen) = Script::new(move |job, _| async move { Ok(vec![Outgoing::routed(open, "later", &job)]) });
    place.publish_jobs(&broker, 0..1).await;
    broker.consume(&place.jobs, 10, 5, script);
    seen.count_is(1).await;

    let channel = place.channel().await;
    let later = place.done.name();
    let binding = QueueBindOptions::default();
    channel.queue_bind(later.into(), open.into(), "later".into(), binding, FieldTable::default()).await.unwrap();
    place.ready_is(later, 1).await;
    place.stop.cancel();
    broker.drained().await.unwrap();
    assert_eq!(seen.numbers(), [0]);
    assert_eq!(place.left(place.jobs.name()).await, [""; 0]);
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_effects_are_not_confirmed_is_not_acknowledged_and_goes_back() {
    let place = Place::new().await;
    let broker = place.broker().await;
    let open = place.open;
    let (script, seen) = Script::new(move |job, _| async move { Ok(vec![Outgoing::routed(open, "later", &job)]) });
    place.publish_jobs(&broker, 0..1).await;
    broker.consume(&place.jobs, 10, 5, script);
    seen.count_is(1).await;
    place.stop.cancel();
    broker.drained().await.unwrap();
    place.ready_is(place.jobs.name(), 1).await;
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn during_a_fault_the_same_messages_are_tried_again_and_no_new_ones_are_taken() {
    let place = Place::new().await;
    let broker = place.broker().await;
    let away = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&away);
    let (script, seen) = Script::new(move |_, _| {
        let away = state.load(Ordering::SeqCst);
        async move { if away { Err(Fault::because("the ledger is away")) } else { Ok(Vec::new()) } }
    });
    place.publish_jobs(&broker, 0..50).await;
    broker.consume(&place.jobs, 50, 4, script);
    seen.until("some attempts", |seen| seen.all().len() >= 12).await;
    assert!(seen.distinct().len() <= 4, "{:?}", seen.distinct());
    assert!(seen.all().iter().all(|(_, redelivered)| !redelivered));

    away.store(false, Ordering::SeqCst);
    seen.until("all of them", |seen| seen.distinct().len() == 50).await;
    place.stop.cancel();
    broker.drained().await.unwrap();
    assert_eq!(place.left(place.jobs.name()).await, [""; 0]);
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_in_a_fault_is_handed_out_again_when_its_connection_is_cut() {
    let (place, proxy) = (Place::new().await, Proxy::start().await);
    let broker = place.broker_with(&Config::new(proxy.url())).await;
    let (script, seen) = Script::new(|_, delivery| async move {
        if delivery.redelivered { Ok(Vec::new()) } else { Err(Fault::because("the database is away")) }
    });
    place.publish_jobs(&broker, 0..1).await;
    broker.consume(&place.jobs, 10, 5, script);
    seen.until("another try, as it is in a fault", |seen| seen.all().len() > 1).await;
    proxy.cut();
    seen.until("a second delivery", |seen| seen.all().last() == Some(&(0, true))).await;
    place.finish(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_hangs_is_cut_and_called_again() {
    let place = Place::new().await;
    let broker = place.broker_with(&Config { handler_timeout_ms: 100, ..place.config() }).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let (script, seen) = Script::new(move |_, _| {
        let first = counter.fetch_add(1, Ordering::SeqCst) == 0;
        async move { if first { std::future::pending().await } else { Ok(Vec::new()) } }
    });
    place.publish_jobs(&broker, 0..1).await;
    broker.consume(&place.jobs, 10, 5, script);
    seen.count_is(2).await;
    place.finish(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_consumer_wants_published_reaches_the_next() {
    let place = Place::new().await;
    let broker = place.broker().await;
    let done = place.done.route();
    let (first, _) = Script::new(move |job: Job, delivery| async move {
        let trace = delivery.header("traceparent").unwrap_or_default().to_owned();
        Ok(vec![Outgoing::routed(done.exchange, done.key, &Job(job.0 + 100)).with_header("traceparent", trace)])
    });
    let (second, seen) = Script::new(|_, delivery| async move {
        assert_eq!(delivery.header("traceparent"), Some("00-1"));
        Ok(Vec::new())
    });
    broker.consume(&place.jobs, 10, 5, first);
    broker.consume(&place.done, 10, 5, second);
    let messages = (0..20).map(|n| Outgoing::to(&place.jobs, &Job(n)).with_header("traceparent", "00-1")).collect();
    broker.publisher().publish_all(messages).await.into_iter().for_each(|result| result.unwrap());
    seen.until("all of them", |seen| seen.distinct() == (100..120).collect()).await;
    assert_eq!(place.ready(place.topology.parked()).await, Some(0));
    place.finish(broker).await;
}
