//! What is committed for later is published at its time, without anybody's wake-up.

use crate::world::{World, user};
use carillon_store::Steered;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduled_notification_reaches_its_dispatcher_at_its_time_and_not_before() {
    let world = World::new().await;
    world.people(1).await;
    let replica = world.replica(&world.database).await;
    let at = Timestamp::now() + SignedDuration::from_secs(3);
    let id = world.accept(user("u000000"), Some(at)).await;
    world.eventually("its chunk", async || !world.received(id).is_empty()).await;
    let (came, chunk) = world.received(id).remove(0);
    // The scan looks four times a second; a machine that is busy with other things gets a few seconds more.
    let late = came.duration_since(at);
    assert!(late >= SignedDuration::ZERO && late < SignedDuration::from_secs(5), "{late}");
    assert_eq!((chunk.targets.len(), chunk.released_at_ms), (1, at.as_millisecond()));
    replica.stop().await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_scheduled_and_is_resumed_after_its_time_goes_out_at_once() {
    let world = World::new().await;
    world.people(1).await;
    let replica = world.replica(&world.database).await;
    let at = Timestamp::now() + SignedDuration::from_secs(1);
    let id = world.accept(user("u000000"), Some(at)).await;
    assert_eq!(world.store.pause_notification(world.tenant, id, None).await.unwrap(), Steered::Done);
    // Its time comes, and it is looked at: it expires in 28 days and a minute.
    let looked = "SELECT due_at > scheduled_at + interval '28 days' FROM notifications WHERE notification_id = $1";
    world.eventually("a look", async || world.sql.query_one(looked, &[&id.0]).await.unwrap().get(0)).await;
    assert!(world.received(id).is_empty());
    assert_eq!(world.store.resume_notification(world.tenant, id, None).await.unwrap(), Steered::Done);
    let began = std::time::Instant::now();
    world.eventually("its chunk", async || !world.received(id).is_empty()).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    replica.stop().await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_notification_that_expires_ends_by_itself() {
    let world = World::new().await;
    world.people(1).await;
    let replica = world.replica(&world.database).await;
    let id = world.accept(user("u000000"), None).await;
    assert_eq!(world.store.pause_notification(world.tenant, id, None).await.unwrap(), Steered::Done);
    // Accepted 29 days ago.
    let old =
        "UPDATE notifications SET created_at = now() - interval '29 days', due_at = now() WHERE notification_id = $1";
    world.sql.execute(old, &[&id.0]).await.unwrap();
    // What a dispatcher gets is closed as expired, not sent.
    world.eventually("its chunk", async || !world.received(id).is_empty()).await;
    let (_, chunk) = world.received(id).remove(0);
    assert!(chunk.expires_at_ms < Timestamp::now().as_millisecond());
    replica.stop().await.unwrap();
    world.end().await;
}
