//! What a publisher committed as published is due as soon as it is gone, unless somebody has claimed it.

use crate::world::{World, sent};
use carillon_domain::platform::{Lane, Platform};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Shows that the world's process is alive, until it is aborted.
#[allow(clippy::disallowed_methods, reason = "a task that a test ends")]
async fn present(world: &World) -> JoinHandle<()> {
    let store = world.store.clone();
    let shown = tokio::spawn(async move { match store.stay_present().await {} });
    eventually("it is seen", async || world.store.is_present()).await;
    shown
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < Duration::from_secs(20), "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn absent(world: &World) -> Vec<i32> {
    world.store.absent_publishers().await.unwrap()
}

async fn due(world: &World) -> usize {
    world.store.due_chunks(Platform::Apns, Lane::Transactional, 100, 50).await.unwrap().len()
}

#[tokio::test]
async fn what_is_committed_as_published_by_somebody_who_is_gone_is_due_at_once() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    let shown = present(&world).await;
    let chunks = [world.chunk(&["u1"]).await, world.chunk(&["u1"]).await, world.chunk(&["u1"]).await];
    // The second one is in a dispatcher's hands, the third one is through.
    world.claim(chunks[1]).await.unwrap();
    let grant = world.claim(chunks[2]).await.unwrap();
    world.report(chunks[2], grant.lease, vec![sent(0)], true).await;
    assert!(absent(&world).await.is_empty(), "it is alive");
    shown.abort();
    eventually("it is gone", async || absent(&world).await.len() == 1).await;
    assert_eq!(due(&world).await, 0, "not before somebody says so");
    let gone = absent(&world).await;
    assert_eq!(world.store.publish_for(&gone).await.unwrap(), 1);
    let published = world.store.due_chunks(Platform::Apns, Lane::Transactional, 100, 50).await.unwrap();
    assert_eq!(published.iter().map(|c| (c.chunk, c.copy)).collect::<Vec<_>>(), [(chunks[0], 2)]);
}

#[tokio::test]
async fn what_the_scan_took_is_due_at_once_when_the_scanner_is_gone() {
    let world = World::new().await;
    let run = world.waiting_chunks((world.tenant.0, world.app.0), 3, 0).await;
    let shown = present(&world).await;
    let take = async || world.store.due_chunks(Platform::Apns, Lane::Bulk, 100, 50).await.unwrap();
    assert_eq!((take().await.len(), take().await.len()), (3, 0));
    shown.abort();
    eventually("it is gone", async || absent(&world).await.len() == 1).await;
    assert_eq!(world.store.publish_for(&absent(&world).await).await.unwrap(), 3);
    let again = take().await;
    assert!(again.len() == 3 && again.iter().all(|c| c.chunk.run == run && c.copy == 2));
}

#[tokio::test]
async fn nobody_judges_what_was_published_by_somebody_who_could_not_be_seen() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    assert!(!world.store.is_present());
    world.chunk(&["u1"]).await;
    assert!(absent(&world).await.is_empty());
    let row = world.sql.query_one("SELECT publisher FROM chunks", &[]).await.unwrap();
    assert_eq!(row.get::<_, Option<i32>>(0), None);
}

#[tokio::test]
async fn whoever_lost_the_connection_is_seen_again_under_the_same_number() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    let shown = present(&world).await;
    world.chunk(&["u1"]).await;
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks
               WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(world.sql.query_one(cut, &[]).await.unwrap().get::<_, i64>(0), 1);
    eventually("it notices", async || !world.store.is_present()).await;
    eventually("it is back", async || world.store.is_present()).await;
    assert!(absent(&world).await.is_empty());
    shown.abort();
}
