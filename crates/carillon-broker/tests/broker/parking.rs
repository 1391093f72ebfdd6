//! What cannot be handled is set aside, and nothing else is.

use bytes::Bytes;
use carillon_broker::{Outgoing, Raw};
use lapin::BasicProperties;
use lapin::options::{BasicGetOptions, BasicNackOptions};
use lapin::types::{AMQPValue, FieldTable};

use crate::place::{Place, Script};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undecodable_bodies_are_parked_with_their_reason_and_their_neighbours_are_handled() {
    let place = Place::new().await;
    let broker = place.broker().await;
    place.publish_jobs(&broker, 0..5).await;
    let mut headers = FieldTable::default();
    headers.insert("authorization".into(), AMQPValue::LongString("Bearer csk_1".into()));
    let properties = BasicProperties::default().with_message_id("odd".into()).with_headers(headers);
    place.publish_bytes(place.jobs.name(), b"rubbish", properties).await;
    place.publish_jobs(&broker, 5..10).await;
    let (script, seen) = Script::content();
    broker.consume(&place.jobs, 20, 1, script);
    seen.count_is(10).await;
    assert_eq!(seen.distinct(), (0..10).collect());

    place.ready_is(place.topology.parked(), 1).await;
    let parked = broker.inspector().parked(10).await.unwrap();
    assert_eq!(parked.len(), 1);
    assert_eq!(parked[0].message_id.as_deref(), Some("odd"));
    assert_eq!(parked[0].origin.as_deref(), Some(place.jobs.name()));
    assert_eq!((parked[0].reason.as_str(), parked[0].detail.as_deref()), ("undecodable", Some("not a job")));
    assert_eq!(parked[0].crc32, format!("{:08x}", crc32fast::hash(b"rubbish")));
    assert!(parked[0].parked_at.is_some_and(|at| at > 1_600_000_000));
    let raw = place.take(place.topology.parked()).await.unwrap();
    assert_eq!(raw.data, b"rubbish");
    assert!(!raw.properties.headers().as_ref().unwrap().contains_key("authorization"));
    place.finish(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_parks_its_message_at_once_and_the_consumer_goes_on() {
    let place = Place::new().await;
    let broker = place.broker().await;
    place.publish_jobs(&broker, 0..3).await;
    place.publish_bytes(place.jobs.name(), b"panic", BasicProperties::default()).await;
    place.publish_jobs(&broker, 3..6).await;
    let (script, seen) = Script::new(|job, _| async move {
        assert_ne!(job.0, 1, "a handler that panics");
        Ok(Vec::new())
    });
    broker.consume(&place.jobs, 20, 2, script);
    seen.count_is(6).await;
    place.ready_is(place.topology.parked(), 2).await;
    let parked = broker.inspector().parked(10).await.unwrap();
    assert!(parked.iter().all(|message| message.reason == "panicked"), "{parked:?}");
    assert_eq!(seen.numbers().iter().filter(|number| **number == 1).count(), 1);
    place.finish(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_effect_can_never_be_published_is_parked() {
    let place = Place::new().await;
    let broker = place.broker().await;
    let done = place.done.name();
    let (script, _) =
        Script::new(
            move |_, _| async move { Ok(vec![Outgoing::routed("", done, &Raw(Bytes::from(vec![0; 300 * 1024])))]) },
        );
    place.publish_jobs(&broker, 0..1).await;
    broker.consume(&place.jobs, 10, 5, script);
    place.ready_is(place.topology.parked(), 1).await;
    assert_eq!(broker.inspector().parked(1).await.unwrap()[0].reason, "effect");
    assert_eq!(place.ready(place.jobs.name()).await, Some(0));
    place.finish(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_back_a_hundred_times_is_parked_by_the_broker_and_not_dropped() {
    let place = Place::new().await;
    let broker = place.broker().await;
    place.publish_jobs(&broker, 0..1).await;
    let channel = place.channel().await;
    let mut times = 0;
    while let Some(got) = channel.basic_get(place.jobs.name().into(), BasicGetOptions::default()).await.unwrap() {
        times += 1;
        assert!(times <= 110, "the limit is not kept");
        got.delivery.acker.nack(BasicNackOptions { requeue: true, multiple: false }).await.unwrap();
    }
    assert_eq!(times, 101);
    place.ready_is(place.topology.parked(), 1).await;
    let parked = broker.inspector().parked(1).await.unwrap();
    assert_eq!((parked[0].reason.as_str(), parked[0].origin.as_deref()), ("delivery_limit", Some(place.jobs.name())));
    place.finish(broker).await;
}
