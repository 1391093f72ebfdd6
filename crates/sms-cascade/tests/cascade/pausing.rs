//! A pause: nothing is texted meanwhile, and the wait does not count it.

use crate::world::{World, reachable};
use carillon_domain::cascade::Sms;
use carillon_domain::ids::NotificationId;
use carillon_store::Steered;
use std::time::{Duration, Instant};

#[tokio::test]
async fn nobody_is_texted_during_a_pause_and_everybody_who_did_not_read_after_it() {
    let world = World::new().await;
    let people: Vec<_> = (0..6).map(reachable).collect();
    let sms = Sms { text: Some("Your table is ready".into()), ..Default::default() };
    let sent = world.send(sms, 2, &people).await;
    world.accept_pushes(&sent).await;
    let id = NotificationId(sent.run.0);
    assert_eq!(world.store.pause_notification(world.tenant, id, None).await.unwrap(), Steered::Done);
    let paused = Instant::now();
    let service = world.service(&[]).await;
    world
        .eventually("all are set aside", async || {
            let sql = "SELECT count(*) FROM cascades WHERE state = 1 AND due_at IS NULL";
            world.sql.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 6
        })
        .await;
    assert!(world.texts().is_empty());
    // One of them reads meanwhile.
    World::open(&world.store, world.tenant, sent.chunk, &[3]).await;
    assert!(paused.elapsed() >= Duration::from_secs(1), "the wait was over during the pause");
    assert_eq!(world.store.resume_notification(world.tenant, id, None).await.unwrap(), Steered::Done);
    let resumed = Instant::now();
    // What the segmenter does.
    world.store.take_up_resumed().await.unwrap();
    world.settled(sent.run).await;
    assert_eq!(world.texts().len(), 5);
    assert!(resumed.elapsed() >= Duration::from_secs(1), "they waited on: {:?}", resumed.elapsed());
    service.stop().await.unwrap();
    world.end().await;
}
