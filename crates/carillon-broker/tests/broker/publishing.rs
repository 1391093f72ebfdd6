//! What a publisher is told, and when.

use std::collections::HashSet;

use bytes::Bytes;
use carillon_broker::{Broker, Config, Outgoing, PublishError, Raw, Status};
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};

use crate::place::{Job, Place, until};
use crate::proxy::Proxy;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confirmed_message_is_in_its_queue_with_its_id_and_headers() {
    let place = Place::new().await;
    let broker = place.broker().await;
    let message = Outgoing::to(&place.jobs, &Job(7)).with_id("job-7").with_header("traceparent", "00-ab-cd-01");
    broker.publisher().publish(message).await.unwrap();

    let found = place.take(place.jobs.name()).await.expect("a message");
    assert_eq!(found.data, b"job:7");
    assert_eq!(found.properties.message_id().as_ref().unwrap().as_str(), "job-7");
    assert_eq!(found.properties.kind().as_ref().unwrap().as_str(), "job");
    assert_eq!(*found.properties.delivery_mode(), Some(2));
    let headers = found.properties.headers().as_ref().unwrap();
    assert_eq!(headers.inner().get("traceparent"), Some(&AMQPValue::LongString("00-ab-cd-01".into())));
    place.finish(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_share_one_channel_and_every_message_arrives_once() {
    let place = Place::new().await;
    let config = Config { window: 100, ..place.config() };
    let broker = place.broker_with(&config).await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8_u32 {
        let (publisher, jobs) = (broker.publisher(), place.jobs.route());
        tasks.spawn(async move {
            let message = |n| Outgoing::routed(jobs.exchange, jobs.key, &Job(task * 1000 + n));
            publisher.publish_all((0..250).map(message).collect()).await.into_iter().for_each(|result| result.unwrap());
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }

    let mut found = HashSet::new();
    let channel = place.channel().await;
    while let Some(got) =
        channel.basic_get(place.jobs.name().into(), lapin::options::BasicGetOptions { no_ack: true }).await.unwrap()
    {
        assert!(found.insert(got.delivery.data.clone()));
    }
    assert_eq!(found.len(), 2000);
    place.finish(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_message_that_no_queue_takes_is_reported_unroutable() {
    let place = Place::new().await;
    let broker = place.broker().await;
    let messages = (0..100).map(|n| match n {
        40 | 41 => Outgoing::routed(place.open, "nobody.listens", &Job(n)).with_id(format!("lost-{n}")),
        _ => Outgoing::to(&place.jobs, &Job(n)),
    });
    let results = broker.publisher().publish_all(messages.collect()).await;
    for (n, result) in results.into_iter().enumerate() {
        let expected = if n == 40 || n == 41 { Err(PublishError::Unroutable) } else { Ok(()) };
        assert_eq!(result, expected, "message {n}");
    }
    let unheard = Outgoing::routed(place.open, "nobody.listens", &Job(1)).unheard();
    assert_eq!(broker.publisher().publish(unheard).await, Ok(()));
    place.finish(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_whether_somebody_listens_is_told_and_nothing_is_taken_for_lost() {
    let place = Place::new().await;
    let broker = place.broker().await;
    let channel = place.channel().await;
    // A queue of ours goes missing: a message that should have found one has the topology declared again, a question has not.
    channel.queue_delete(place.jobs.name().into(), Default::default()).await.unwrap();
    let ask = || Outgoing::routed(place.open, "anybody.there", &Job(1)).asking_who_listens();
    assert_eq!(broker.publisher().publish(ask()).await, Err(PublishError::Unroutable));
    let exclusive = QueueDeclareOptions { exclusive: true, ..Default::default() };
    let mine = channel.queue_declare("".into(), exclusive, FieldTable::default()).await.unwrap();
    let bind = channel.queue_bind(
        mine.name().clone(),
        place.open.into(),
        "anybody.*".into(),
        Default::default(),
        FieldTable::default(),
    );
    bind.await.unwrap();
    assert_eq!(broker.publisher().publish(ask()).await, Ok(()));
    assert!(place.take(mine.name().as_str()).await.is_some());
    let passive = QueueDeclareOptions { passive: true, ..Default::default() };
    let missing = channel.queue_declare(place.jobs.name().into(), passive, FieldTable::default()).await;
    assert!(missing.is_err(), "nobody declared it again");
    place.finish(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_an_alternate_exchange_what_no_queue_takes_waits_in_the_unroutable_queue() {
    let place = Place::new().await;
    let broker = place.broker().await;
    broker.publisher().publish(Outgoing::routed(place.work, "no.such.key", &Job(1)).with_id("stray")).await.unwrap();
    let found = place.take(place.topology.unroutable()).await.expect("the message");
    assert_eq!(found.properties.message_id().as_ref().unwrap().as_str(), "stray");
    place.finish(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_above_the_bound_is_refused_before_it_is_sent() {
    let place = Place::new().await;
    let broker = place.broker().await;
    let large = Outgoing::routed("", place.jobs.name(), &Raw(Bytes::from(vec![0; 256 * 1024 + 1])));
    let expected = PublishError::TooLarge { bytes: 256 * 1024 + 1, limit: 256 * 1024 };
    assert_eq!(broker.publisher().publish(large).await, Err(expected));
    let fits = Outgoing::routed("", place.jobs.name(), &Raw(Bytes::from(vec![0; 256 * 1024])));
    assert_eq!(broker.publisher().publish(fits).await, Ok(()));
    place.finish(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_at_the_start_is_no_error_and_is_found_later() {
    let (place, proxy) = (Place::new().await, Proxy::start().await);
    proxy.refuse(true);
    let config = Config { confirm_timeout_ms: 300, ..Config::new(proxy.url()) };
    let broker = Broker::connect(&config, "test", place.topology.clone(), place.stop.clone()).unwrap();
    let message = Outgoing::to(&place.jobs, &Job(1));
    assert_eq!(broker.publisher().publish(message.clone()).await, Err(PublishError::Unavailable));
    assert_eq!(*broker.status().borrow(), Status::default());

    proxy.refuse(false);
    until(&broker, Status::connected).await;
    assert_eq!(broker.publisher().publish(message).await, Ok(()));
    place.finish(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_outage_is_waited_out_by_a_message_that_was_not_sent() {
    let (place, proxy) = (Place::new().await, Proxy::start().await);
    proxy.refuse(true);
    let config = Config { confirm_timeout_ms: 20_000, ..Config::new(proxy.url()) };
    let broker = Broker::connect(&config, "test", place.topology.clone(), place.stop.clone()).unwrap();
    let publisher = broker.publisher();
    let (result, ()) =
        tokio::join!(publisher.publish(Outgoing::to(&place.jobs, &Job(1))), async { proxy.refuse(false) });
    assert_eq!(result, Ok(()));
    place.finish(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confirm_that_does_not_come_is_unknown_and_the_connection_is_replaced() {
    let (place, proxy) = (Place::new().await, Proxy::start().await);
    let config = Config { confirm_timeout_ms: 300, ..Config::new(proxy.url()) };
    let broker = place.broker_with(&config).await;
    let before = proxy.connections();
    proxy.freeze(true);
    let messages = (0..20).map(|n| Outgoing::to(&place.jobs, &Job(n))).collect();
    for result in broker.publisher().publish_all(messages).await {
        assert!(matches!(result, Err(PublishError::Unknown(_))), "{result:?}");
    }
    proxy.freeze(false);
    until(&broker, Status::connected).await;
    let retried = async { while broker.publisher().publish(Outgoing::to(&place.jobs, &Job(1))).await.is_err() {} };
    tokio::time::timeout(std::time::Duration::from_secs(30), retried).await.expect("publishes again");
    assert!(proxy.connections() > before);
    place.finish(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_connection_is_kept_and_used_again_when_the_broker_is_well() {
    let (place, proxy) = (Place::new().await, Proxy::start().await);
    let config = Config { confirm_timeout_ms: 300, ..Config::new(proxy.url()) };
    let broker = place.broker_with(&config).await;
    let connections = proxy.connections();
    proxy.say_blocked(true);
    until(&broker, |status| status.blocked).await;
    assert!(!broker.status().borrow().accepts());
    let message = Outgoing::to(&place.jobs, &Job(1));
    assert_eq!(broker.publisher().publish(message.clone()).await, Err(PublishError::Unavailable));

    proxy.say_blocked(false);
    until(&broker, Status::accepts).await;
    assert_eq!(broker.publisher().publish(message).await, Ok(()));
    assert_eq!(proxy.connections(), connections);
    place.finish(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_and_a_queue_with_other_arguments_is_used_as_it_is() {
    let place = Place::new().await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let channel = place.channel().await;
    channel.queue_declare(place.jobs.name().into(), QueueDeclareOptions::durable(), arguments).await.unwrap();

    let broker = place.broker().await;
    let mut refused = None;
    for n in 0..100 {
        let result = broker.publisher().publish(Outgoing::to(&place.jobs, &Job(n))).await;
        if result.is_err() {
            refused = Some(result);
            break;
        }
    }
    assert_eq!(refused, Some(Err(PublishError::Refused)));
    place.finish(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_drain_publishing_says_closed() {
    let place = Place::new().await;
    let broker = place.broker().await;
    let publisher = broker.publisher();
    let message = Outgoing::to(&place.jobs, &Job(1));
    place.finish(broker).await;
    assert_eq!(publisher.publish(message).await, Err(PublishError::Closed));
}
