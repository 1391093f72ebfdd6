//! Messages that nobody survives.

use crate::world::{World, sent};

/// Takes the chunk and gives it back with nothing done, as a dispatcher does that died of it.
async fn fail(world: &World, chunk: carillon_domain::ids::ChunkId) -> usize {
    let granted = world.claim(chunk).await.expect("granted");
    world.report(chunk, granted.lease, Vec::new(), true).await;
    granted.positions.len()
}

#[tokio::test]
async fn a_lone_message_is_set_aside_for_good_although_there_is_nothing_else_to_grant() {
    let world = World::new().await;
    world.device("ann", "a").await;
    let chunk = world.chunk(&["ann"]).await;
    for _ in 0..6 {
        assert_eq!(fail(&world, chunk).await, 1);
    }
    assert!(world.claim(chunk).await.is_none());
    let aside = world.store.set_aside_messages(100).await.unwrap();
    assert_eq!(aside.iter().map(|one| (one.chunk, one.position)).collect::<Vec<_>>(), [(chunk, 0)]);
    assert!(world.claim(chunk).await.is_none());
    assert_eq!(world.store.send_back_set_aside(100).await.unwrap(), 1);
    assert_eq!(fail(&world, chunk).await, 1);
}

#[tokio::test]
async fn what_fails_three_times_alone_is_set_aside_listed_and_can_be_sent_back() {
    let world = World::new().await;
    world.device("ann", "a").await;
    world.device("bob", "b").await;
    let chunk = world.chunk(&["ann", "bob"]).await;
    for expected in [2, 2, 2, 1, 1, 1] {
        assert_eq!(fail(&world, chunk).await, expected);
    }
    assert_eq!(
        world.store.set_aside_messages(100).await.unwrap(),
        [],
        "it is set aside when it would be granted again"
    );
    let next = world.claim(chunk).await.expect("the other one");
    assert_eq!(next.positions, [(1, 0)]);
    world.report(chunk, next.lease, vec![sent(1)], true).await;
    assert!(world.claim(chunk).await.is_none(), "nobody gets the first");
    let aside = world.store.set_aside_messages(100).await.unwrap();
    assert_eq!(aside.iter().map(|one| (one.chunk, one.position)).collect::<Vec<_>>(), [(chunk, 0)]);
    assert_eq!(world.store.send_back_set_aside(100).await.unwrap(), 1);
    assert_eq!(world.store.set_aside_messages(100).await.unwrap(), []);
    let again = world.claim(chunk).await.expect("it may be tried again");
    assert_eq!(again.positions, [(0, 0)]);
    world.report(chunk, again.lease, vec![sent(0)], true).await;
    assert_eq!(world.store.send_back_set_aside(100).await.unwrap(), 0);
}
