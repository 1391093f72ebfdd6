//! After a loss everything comes back, and nothing that was confirmed is gone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use carillon_broker::{Config, Outgoing, PublishError};
use lapin::options::QueueDeleteOptions;
use tokio::sync::mpsc;

use crate::place::{Job, Place, Script, eventually};
use crate::proxy::Proxy;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_many_cuts_every_confirmed_message_is_handled() {
    let (place, proxy) = (Place::new().await, Proxy::start().await);
    let config = Config { confirm_timeout_ms: 2000, ..Config::new(proxy.url()) };
    let broker = place.broker_with(&config).await;
    let (script, seen) = Script::content();
    broker.consume(&place.jobs, 64, 16, script);

    let mut confirmed = BTreeSet::new();
    let mut unknown = 0;
    for round in 0..8_u32 {
        let messages = (0..300).map(|n| Outgoing::to(&place.jobs, &Job(round * 300 + n))).collect();
        let publisher = broker.publisher();
        let cutting = async {
            let before = seen.all().len();
            seen.until("some progress", |seen| seen.all().len() >= before + 20).await;
            proxy.cut();
        };
        let (results, ()) = tokio::join!(publisher.publish_all(messages), cutting);
        for (n, result) in (0..).zip(results) {
            match result {
                Ok(()) => drop(confirmed.insert(round * 300 + n)),
                Err(PublishError::Unknown(_) | PublishError::Unavailable) => unknown += 1,
                Err(error) => panic!("{error}"),
            }
        }
        let once_more =
            async { while publisher.publish(Outgoing::to(&place.jobs, &Job(1_000_000 + round))).await.is_err() {} };
        tokio::time::timeout(Duration::from_secs(30), once_more).await.expect("publishes again");
        confirmed.insert(1_000_000 + round);
    }
    seen.until("all confirmed are handled", |seen| seen.distinct().is_superset(&confirmed)).await;
    assert!(proxy.connections() >= 2 + 2 * 8, "{} connections, {unknown} unknown", proxy.connections());
    place.finish(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_is_told_that_its_message_is_handed_out_again() {
    let (place, proxy) = (Place::new().await, Proxy::start().await);
    let broker = place.broker_with(&Config::new(proxy.url())).await;
    let (told, mut tells) = mpsc::channel(4);
    let (script, seen) = Script::new(move |_, delivery| {
        let told = told.clone();
        async move {
            if !delivery.redelivered {
                delivery.lost().cancelled().await;
                told.send(()).await.unwrap();
            }
            Ok(Vec::new())
        }
    });
    place.publish_jobs(&broker, 0..1).await;
    broker.consume(&place.jobs, 10, 5, script);
    seen.count_is(1).await;
    proxy.cut();
    tokio::time::timeout(Duration::from_secs(30), tells.recv()).await.expect("the handler is told").unwrap();
    seen.until("a second delivery", |seen| seen.all().contains(&(0, true))).await;
    place.finish(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_message_led_to_is_published_from_memory_when_the_broker_is_back() {
    let (place, proxy) = (Place::new().await, Arc::new(Proxy::start().await));
    let config = Config { confirm_timeout_ms: 200, ..Config::new(proxy.url()) };
    let broker = place.broker_with(&config).await;
    let led_to: Vec<Outgoing> = (0..100).map(|n| Outgoing::to(&place.done, &Job(n))).collect();
    let way = Arc::clone(&proxy);
    let (script, seen) = Script::new(move |_, delivery| {
        let (led_to, way) = (led_to.clone(), Arc::clone(&way));
        async move {
            if delivery.redelivered {
                // What was committed the first time leads to nothing a second time.
                return Ok(Vec::new());
            }
            way.refuse(true);
            way.cut();
            delivery.lost().cancelled().await;
            Ok(led_to)
        }
    });
    place.publish_jobs(&broker, 7..8).await;
    broker.consume(&place.jobs, 10, 5, script);
    seen.count_is(1).await;
    // By the time that these find nobody, so did a first attempt.
    let mut in_vain = 0;
    while in_vain < 3 {
        in_vain += u32::from(broker.publisher().publish(Outgoing::to(&place.done, &Job(1_000))).await.is_err());
    }
    proxy.refuse(false);
    eventually("what it led to", async || place.ready(place.done.name()).await >= Some(100)).await;
    seen.until("a second delivery", |seen| seen.all().contains(&(7, true))).await;
    assert_eq!(seen.all().len(), 2);
    place.finish(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_was_deleted_is_declared_again_by_its_consumer() {
    let place = Place::new().await;
    let broker = place.broker().await;
    let (script, seen) = Script::content();
    broker.consume(&place.jobs, 10, 5, script);
    place.publish_jobs(&broker, 0..1).await;
    seen.count_is(1).await;

    let channel = place.channel().await;
    channel.queue_delete(place.jobs.name().into(), QueueDeleteOptions::default()).await.unwrap();
    eventually("the queue is back", async || place.ready(place.jobs.name()).await.is_some()).await;
    // Until its binding is back as well, messages go to the unroutable queue.
    let publishing = async {
        for n in 1.. {
            place.publish_jobs(&broker, n..n + 1).await;
            if seen.all().len() > 1 {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), publishing).await.expect("the consumer is back");
    place.finish(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_declares_anew_what_it_finds_missing() {
    let place = Place::new().await;
    let broker = place.broker().await;
    let channel = place.channel().await;
    channel.queue_delete(place.done.name().into(), QueueDeleteOptions::default()).await.unwrap();
    let direct = || Outgoing::routed("", place.done.name(), &Job(1));
    let publishing = async { while broker.publisher().publish(direct()).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(30), publishing).await.expect("the queue is back");
    place.finish(broker).await;
}
