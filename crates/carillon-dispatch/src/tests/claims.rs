use std::sync::atomic::Ordering;
use std::time::Duration;

use carillon_domain::delivery_status::{Reason, Status};

use super::world::{Scripted, World, chunk, granted};

/// The dispatcher learns the ledger's clock from any answer.
async fn acquainted(world: &World) {
    world.send(vec![chunk(1000, 1)]).await.unwrap();
    world.ledger.claims.lock().unwrap().clear();
}

#[tokio::test(start_paused = true)]
async fn a_chunk_is_claimed_sent_and_given_back() {
    let world = World::new(Scripted::sends());
    world.send(vec![chunk(1, 3)]).await.unwrap();
    let outcomes = world.ledger.outcomes(1);
    assert_eq!(outcomes.len(), 3);
    assert!(outcomes.values().all(|o| o.status == Status::Sent as u32 && o.generation == 3));
    assert_eq!(outcomes[&2].provider_id, "id of t2");
    assert!(world.ledger.released(1));
    assert_eq!(world.calls.seen.lock().unwrap()[2].2, r#"{"d":"d2"}"#);
}

#[tokio::test(start_paused = true)]
async fn the_chunks_of_a_message_are_claimed_together() {
    let world = World::new(Scripted::sends());
    world.send((1..=5).map(|n| chunk(n, 2)).collect()).await.unwrap();
    assert_eq!(world.ledger.claims.lock().unwrap().len(), 5);
    assert!((1..=5).all(|n| world.ledger.outcomes(n).len() == 2 && world.ledger.released(n)));
}

#[tokio::test(start_paused = true)]
async fn a_message_with_nothing_to_do_is_acknowledged_without_a_word_to_the_provider() {
    let world = World::new(Scripted::sends());
    world.ledger.nothing.store(true, Ordering::SeqCst);
    world.send(vec![chunk(1, 3)]).await.unwrap();
    assert_eq!((world.calls.count(), world.ledger.reports.lock().unwrap().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn only_granted_positions_are_sent() {
    let world = World::new(Scripted::sends());
    world.ledger.positions.store(2, Ordering::SeqCst);
    world.send(vec![chunk(1, 5)]).await.unwrap();
    assert_eq!(world.ledger.outcomes(1).into_keys().collect::<Vec<_>>(), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_does_not_answer_a_claim_is_a_fault_and_nothing_is_sent() {
    let world = World::new(Scripted::sends());
    acquainted(&world).await;
    world.ledger.away.store(true, Ordering::SeqCst);
    let before = world.calls.count();
    assert!(world.send(vec![granted(chunk(1, 3)), chunk(2, 3)]).await.is_err());
    assert_eq!(world.calls.count(), before, "the granted one must not begin either: the message comes again");
}

#[tokio::test(start_paused = true)]
async fn a_chunk_granted_in_advance_is_sent_without_a_claim() {
    let world = World::new(Scripted::sends());
    acquainted(&world).await;
    world.send(vec![granted(chunk(1, 3))]).await.unwrap();
    assert!(world.ledger.claims.lock().unwrap().is_empty());
    assert_eq!(world.ledger.outcomes(1).len(), 3);
    assert!(world.ledger.reports.lock().unwrap().iter().all(|(_, r)| r.chunk != 1 || r.lease == 99));
}

#[tokio::test(start_paused = true)]
async fn a_grant_in_advance_is_not_used_when_anything_speaks_against_it() {
    let world = World::new(Scripted::sends());
    world.send(vec![granted(chunk(1, 1))]).await.unwrap();
    assert_eq!(world.ledger.claims.lock().unwrap().len(), 1, "the ledger's clock was not known");
    acquainted(&world).await;
    world.deliver(vec![granted(chunk(2, 1))], true).await.unwrap();
    assert_eq!(world.ledger.claims.lock().unwrap().len(), 1, "redelivered");
    let mut copy = granted(chunk(3, 1));
    copy.copy = 1;
    world.send(vec![copy]).await.unwrap();
    assert_eq!(world.ledger.claims.lock().unwrap().len(), 2, "not the first copy");
    world.pass(Duration::from_millis(1_600)).await;
    world.send(vec![granted(chunk(4, 1))]).await.unwrap();
    assert_eq!(world.ledger.claims.lock().unwrap().len(), 3, "less than half of its lease was left");
}

#[tokio::test(start_paused = true)]
async fn a_repeated_copy_asks_when_the_lease_granted_in_advance_is_over() {
    let world = World::new(Scripted::sends());
    acquainted(&world).await;
    let (began, fresh) = (tokio::time::Instant::now(), granted(chunk(2, 1)));
    let lease = Duration::from_millis(fresh.grant.as_ref().unwrap().lease_ms.into());
    world.deliver(vec![fresh.clone()], true).await.unwrap();
    let waited = began.elapsed();
    assert!(waited >= lease && waited < 2 * lease, "{waited:?}");
    let began = tokio::time::Instant::now();
    world.deliver(vec![fresh], true).await.unwrap();
    assert!(began.elapsed() < lease, "it is over by now");
}

#[tokio::test(start_paused = true)]
async fn a_claim_exchanges_the_lease_granted_in_advance_unless_another_copy_may_use_it() {
    let world = World::new(Scripted::sends());
    let shown = |world: &World| world.ledger.claims.lock().unwrap().last().map(|claim| claim.advance_lease);
    world.send(vec![granted(chunk(1, 1))]).await.unwrap();
    assert_eq!(shown(&world), Some(99), "the ledger's clock was not known, and the lease is ours");
    world.deliver(vec![granted(chunk(2, 1))], true).await.unwrap();
    assert_eq!(shown(&world), Some(0), "redelivered: somebody else may be sending under it");
}

#[tokio::test(start_paused = true)]
async fn an_app_without_a_credential_holds_its_messages_until_it_has_one() {
    let world = World::new(Scripted::sends());
    let mut bare = chunk(1, 2);
    bare.credential = None;
    world.send(vec![bare]).await.unwrap();
    let outcomes = world.ledger.outcomes(1);
    assert!(outcomes.len() == 2 && outcomes.values().all(|o| o.status == 0 && o.not_before_ms > 0));
}

#[tokio::test(start_paused = true)]
async fn what_was_too_large_once_rendered_has_failed_and_was_not_suppressed() {
    let world = World::new(Scripted::sends());
    let mut large = chunk(1, 1);
    large.targets[0].suppressed = Reason::PayloadTooLarge as u32;
    world.send(vec![large]).await.unwrap();
    assert!(world.ledger.outcomes(1).values().all(|o| o.status == Status::Failed as u32));
}

#[tokio::test(start_paused = true)]
async fn an_expired_message_is_closed_and_never_sent() {
    let world = World::new(Scripted::sends());
    let mut late = chunk(1, 3);
    (late.released_at_ms, late.expires_at_ms) = (late.released_at_ms - 60_000, late.released_at_ms - 1);
    world.send(vec![late]).await.unwrap();
    let outcomes = world.ledger.outcomes(1);
    assert!(outcomes.values().all(|o| (o.status, o.reason) == (Status::Expired as u32, Reason::Ttl as u32)));
    assert_eq!((outcomes.len(), world.calls.count()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn messages_expire_while_they_wait_for_their_turn() {
    let world = World::bounded(Scripted::sends().within(Duration::from_secs(1)), 1, 1000);
    let mut short = chunk(1, 10);
    short.expires_at_ms = short.released_at_ms + 2_500;
    world.send(vec![short]).await.unwrap();
    let outcomes = world.ledger.outcomes(1);
    let count = |status: Status| outcomes.values().filter(|o| o.status == status as u32).count();
    assert_eq!((count(Status::Sent), count(Status::Expired)), (3, 7));
}

#[tokio::test(start_paused = true)]
async fn a_suppressed_target_is_closed_for_its_reason() {
    let world = World::new(Scripted::sends());
    let mut one = chunk(1, 2);
    one.targets[1].suppressed = Reason::TokenMoved as u32;
    world.send(vec![one]).await.unwrap();
    let outcomes = world.ledger.outcomes(1);
    assert_eq!((outcomes[&1].status, outcomes[&1].reason), (Status::Suppressed as u32, Reason::TokenMoved as u32));
    assert_eq!((outcomes[&0].status, world.calls.count()), (Status::Sent as u32, 1));
}

#[tokio::test(start_paused = true)]
async fn a_message_for_now_or_never_is_tried() {
    let world = World::new(Scripted::sends());
    let mut now = chunk(1, 1);
    now.expires_at_ms = now.released_at_ms;
    world.send(vec![now]).await.unwrap();
    assert_eq!(world.ledger.outcomes(1)[&0].status, Status::Sent as u32);
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_cannot_be_read_takes_no_other_with_it() {
    let world = World::new(Scripted::sends());
    let mut broken = chunk(1, 1);
    broken.run_id.clear();
    world.send(vec![broken, chunk(2, 1)]).await.unwrap();
    assert_eq!((world.ledger.outcomes(1).len(), world.ledger.outcomes(2).len()), (0, 1));
}
