//! What an operator can see and do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use carillon_broker::{Moved, ParkedFilter};
use lapin::BasicProperties;
use lapin::options::QueueDeleteOptions;

use crate::place::{Place, Script};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parked_messages_are_listed_without_leaving_and_replayed_to_where_they_came_from() {
    let place = Place::new().await;
    let broker = place.broker().await;
    let broken = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&broken);
    let (script, seen) = Script::new(move |_, _| {
        let broken = state.load(Ordering::SeqCst);
        async move {
            assert!(!broken, "a release with a bug");
            Ok(Vec::new())
        }
    });
    place.publish_jobs(&broker, 0..3).await;
    broker.consume(&place.jobs, 10, 1, script);
    place.ready_is(place.topology.parked(), 3).await;
    let inspector = broker.inspector();
    for _ in 0..3 {
        let ids: Vec<_> = inspector.parked(2).await.unwrap().into_iter().map(|message| message.message_id).collect();
        assert_eq!(ids, [Some("job-0".to_owned()), Some("job-1".to_owned())]);
        place.ready_is(place.topology.parked(), 3).await;
    }

    broken.store(false, Ordering::SeqCst);
    let one = ParkedFilter { message_id: Some("job-1".to_owned()), ..Default::default() };
    assert_eq!(inspector.replay(&one, 10).await.unwrap(), Moved { moved: 1, left: 2 });
    seen.until("the one is handled", |seen| seen.numbers()[3..] == [1]).await;
    let origin = ParkedFilter { origin: Some(place.jobs.name().to_owned()), ..Default::default() };
    assert_eq!(inspector.replay(&origin, 10).await.unwrap(), Moved { moved: 2, left: 0 });
    seen.until("the others are handled", |seen| seen.numbers()[3..] == [1, 0, 2]).await;
    assert_eq!(place.ready(place.topology.parked()).await, Some(0));
    place.finish(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_parked_again_while_it_is_replayed_is_not_sent_round_a_second_time() {
    let place = Place::new().await;
    let broker = place.broker().await;
    let (script, seen) = Script::new(|job, _| async move {
        assert!(job.0 > 99, "a release with a bug");
        Ok(Vec::new())
    });
    place.publish_jobs(&broker, 0..50).await;
    broker.consume(&place.jobs, 10, 1, script);
    place.ready_is(place.topology.parked(), 50).await;
    let before = seen.numbers().len();
    // The first ones come back long before the last one was sent: without a count it would go round until the limit.
    assert_eq!(broker.inspector().replay(&ParkedFilter::default(), 1_000).await.unwrap(), Moved { moved: 50, left: 0 });
    place.ready_is(place.topology.parked(), 50).await;
    assert_eq!(seen.numbers()[before..], (0..50).collect::<Vec<_>>());
    place.finish(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_origin_is_gone_stays_parked_until_it_is_discarded() {
    let place = Place::new().await;
    let broker = place.broker().await;
    place.publish_bytes(place.topology.parked(), b"from nowhere", BasicProperties::default()).await;
    let inspector = broker.inspector();
    let all = ParkedFilter::default();
    assert_eq!(inspector.replay(&all, 10).await.unwrap(), Moved { moved: 0, left: 1 });
    assert_eq!(inspector.parked(10).await.unwrap()[0].reason, "unknown");
    assert_eq!(inspector.discard(&all, 10).await.unwrap(), Moved { moved: 1, left: 0 });
    assert_eq!(inspector.parked(10).await.unwrap(), []);
    place.finish(broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_queue_is_counted_and_a_missing_one_is_named() {
    let place = Place::new().await;
    let broker = place.broker().await;
    place.publish_jobs(&broker, 0..4).await;
    let channel = place.channel().await;
    channel.queue_delete(place.done.name().into(), QueueDeleteOptions::default()).await.unwrap();
    place.ready_is(place.jobs.name(), 4).await;
    let counts = broker.inspector().queues().await.unwrap();
    let ready = |name: &str| counts.iter().find(|count| count.queue == name).map(|count| count.ready);
    assert_eq!(ready(place.jobs.name()), Some(Some(4)));
    assert_eq!(ready(place.done.name()), Some(None));
    assert_eq!(ready(place.topology.parked()), Some(Some(0)));
    place.finish(broker).await;
}
