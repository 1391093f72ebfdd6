//! The ledger against a real PostgreSQL: nothing lost, nothing counted twice, whoever comes first.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its database says where")]

#[path = "ledger/conditions.rs"]
mod conditions;
#[path = "ledger/deleting.rs"]
mod deleting;
#[path = "ledger/due.rs"]
mod due;
#[path = "ledger/finishing.rs"]
mod finishing;
#[path = "ledger/first_word.rs"]
mod first_word;
#[path = "ledger/pages.rs"]
mod pages;
#[path = "ledger/parked.rs"]
mod parked;
#[path = "ledger/pausing.rs"]
mod pausing;
#[path = "ledger/pausing_cascades.rs"]
mod pausing_cascades;
#[path = "ledger/publishers.rs"]
mod publishers;
#[path = "ledger/receipts.rs"]
mod receipts;
#[path = "ledger/selecting.rs"]
mod selecting;
#[path = "ledger/told.rs"]
mod told;
#[path = "ledger/world.rs"]
mod world;

use carillon_domain::cascade::Unless;
use carillon_domain::chunk::Position;
use carillon_domain::delivery_status::{Reason, Status};
use carillon_domain::ids::{ChunkId, NotificationId};
use carillon_domain::outcome::{Outcome, Progress, TokenVerdict};
use carillon_domain::platform::{Lane, Platform};
use carillon_domain::receipt::{CascadeEffect, Event, Recorded};
use carillon_domain::reference::Reference;
use carillon_store::{Accepted, Continue, ReceiptItem};
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use uuid::Uuid;
use world::{NewCascadeShape, World, closed, sent};

fn receipt(chunk: ChunkId, position: u16, event: Event) -> ReceiptItem {
    ReceiptItem {
        app_scope: None,
        device_scope: None,
        notification_id: None,
        reference: Some(Reference { chunk, position }),
        device: None,
        event,
        at: None,
        action: None,
    }
}

#[tokio::test]
async fn one_key_at_once_from_everywhere_makes_one_notification() {
    let world = Arc::new(World::new().await);
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..50u8 {
        let world = Arc::clone(&world);
        tasks.spawn(async move {
            let mut new = world.notification(NotificationId(Uuid::now_v7()));
            // Every tenth asks for something else under the same key.
            new.idempotency = Some(("key-1".into(), [u8::from(i % 10 == 9); 32]));
            world.store.accept_group(&[new]).await.unwrap().remove(0)
        });
    }
    let answers = tasks.join_all().await;
    let new = answers.iter().filter(|a| matches!(a, Accepted::New { .. })).count();
    let replayed = answers.iter().filter(|a| matches!(a, Accepted::Replayed { .. })).count();
    assert_eq!((new, answers.len() - new - replayed == 5 || answers.len() - new - replayed == 45), (1, true));
    let rows: i64 = world.sql.query_one("SELECT count(*) FROM notifications", &[]).await.unwrap().get(0);
    assert_eq!(rows, 1);
}

#[tokio::test]
async fn one_key_twice_in_a_group_makes_one_notification() {
    let world = World::new().await;
    let mut first = world.notification(NotificationId(Uuid::now_v7()));
    first.idempotency = Some(("key".into(), [7; 32]));
    let mut second = world.notification(NotificationId(Uuid::now_v7()));
    second.idempotency = Some(("key".into(), [7; 32]));
    let answers = world.store.accept_group(&[first, second]).await.unwrap();
    assert_eq!(answers.iter().filter(|a| matches!(a, Accepted::New { .. })).count(), 1);
    assert_eq!(answers.iter().filter(|a| matches!(a, Accepted::Replayed { .. })).count(), 1);
}

#[tokio::test]
async fn a_wake_up_that_comes_twice_expands_once() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    let id = world.accept().await;
    world.expand(id, &["u1"], None).await;
    let (_open, runs) = world.store.expand(&[id]).await.unwrap();
    assert!(runs.is_empty(), "the audience is walked");
}

#[tokio::test]
async fn a_chunk_is_granted_to_one_and_again_when_given_back() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    world.device("u1", "d2").await;
    let chunk = world.chunk(&["u1"]).await;
    let first = world.claim(chunk).await.expect("open and free");
    assert_eq!(first.positions, [(0, 0), (1, 0)]);
    assert_eq!(world.claim(chunk).await, None, "leased");
    let reported = world.report(chunk, first.lease, vec![sent(0)], true).await;
    assert_eq!(reported.answers[0], Continue::Stop);
    let second = world.claim(chunk).await.expect("given back");
    assert_eq!(second.positions, [(1, 0)]);
}

#[tokio::test]
async fn a_grant_that_nobody_heard_of_is_taken_back_and_counts_for_nothing() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    let chunk = world.chunk(&["u1"]).await;
    // More often than a message that kills whoever sends it is tried.
    for _ in 0..10 {
        let grant = world.claim(chunk).await.expect("nobody holds it");
        assert_eq!(grant.positions.len(), 1);
        assert!(world.claim(chunk).await.is_none(), "somebody may");
        world.store.unclaim(&[(chunk, grant.lease)]).await.unwrap();
    }
    let grant = world.claim(chunk).await.unwrap();
    world.store.unclaim(&[(chunk, grant.lease + 1)]).await.unwrap();
    assert!(world.claim(chunk).await.is_none(), "another lease than the one that holds it");
}

#[tokio::test]
async fn a_lease_granted_in_advance_is_its_holders_to_exchange_and_nobody_elses() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    let chunk = world.chunk(&["u1"]).await;
    world.sql.execute("UPDATE chunks SET lease = 77, lease_until = now() + interval '3 s'", &[]).await.unwrap();
    assert_eq!(world.claim(chunk).await, None);
    assert_eq!(world.claim_with(chunk, Some(78), 1).await, None);
    let exchanged = world.claim_with(chunk, Some(77), 2).await.expect("the holder asks");
    assert_eq!((exchanged.lease, exchanged.positions.len()), (2, 1));
    assert_eq!(world.claim_with(chunk, Some(77), 3).await, None, "exchanged once");
}

#[tokio::test]
async fn a_report_is_taken_whatever_the_lease_says_and_counted_once() {
    let world = World::new().await;
    for d in ["d1", "d2", "d3"] {
        world.device("u1", d).await;
    }
    let chunk = world.chunk(&["u1"]).await;
    let grant = world.claim(chunk).await.unwrap();
    for lease in [grant.lease, 12345, grant.lease] {
        world
            .report(chunk, lease, vec![sent(0), closed(1, Status::Failed, Some(Reason::ProviderRejected))], false)
            .await;
    }
    assert_eq!(world.counts(chunk.run, 1).await, (1, 1, 0, 0, 0));
    let stranger = world.report(chunk, 12345, vec![], false).await;
    assert_eq!(stranger.answers[0], Continue::Stop, "only the holder may go on");
    let holder = world.report(chunk, grant.lease, vec![], false).await;
    assert!(matches!(holder.answers[0], Continue::Go(_)));
}

#[tokio::test]
async fn a_chunk_whose_positions_are_all_closed_is_never_due_again_and_its_run_is_finished() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    let chunk = world.chunk(&["u1"]).await;
    let grant = world.claim(chunk).await.unwrap();
    let reported = world.report(chunk, grant.lease, vec![sent(0)], false).await;
    assert_eq!(reported.closed_runs, [chunk.run]);
    assert_eq!(world.store.finish_runs(&reported.closed_runs).await.unwrap(), 1);
    let row = world.sql.query_one("SELECT due_at, outstanding FROM chunks", &[]).await.unwrap();
    assert_eq!((row.get::<_, Option<Timestamp>>(0), row.get::<_, bool>(1)), (None, false));
    assert_eq!(world.claim(chunk).await, None);
}

#[tokio::test]
async fn a_deferred_position_is_due_at_its_time_and_published_again_with_what_is_open() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    world.device("u1", "d2").await;
    let chunk = world.chunk(&["u1"]).await;
    let grant = world.claim(chunk).await.unwrap();
    let later = Timestamp::now() + SignedDuration::from_secs(120);
    let deferred = Outcome {
        position: 1,
        progress: Progress::Deferred { not_before: later, attempts: 1 },
        token: TokenVerdict::Keep,
        generation: 1,
    };
    world.report(chunk, grant.lease, vec![sent(0), deferred], true).await;
    assert!(world.store.due_chunks(Platform::Apns, Lane::Transactional, 10, 10).await.unwrap().is_empty());
    world
        .sql
        .execute("UPDATE chunks SET due_at = now(), run_started_at = now() - interval '10 min'", &[])
        .await
        .unwrap();
    let due = world.store.due_chunks(Platform::Apns, Lane::Transactional, 10, 10).await.unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!((due[0].copy, due[0].targets.len(), due[0].targets[0].0), (2, 1, 1));
    assert!(due[0].targets[0].2.is_some(), "the device is read anew");
    assert!(world.store.due_chunks(Platform::Apns, Lane::Transactional, 10, 10).await.unwrap().is_empty(), "once");
    let again = world.claim(chunk).await.unwrap();
    assert_eq!(again.positions, [(1, 1)]);
}

#[tokio::test]
async fn no_more_chunks_go_out_than_the_lane_has_credit_for_and_tenants_take_turns() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    for _ in 0..5 {
        world.chunk(&["u1"]).await;
    }
    world.sql.execute("UPDATE chunks SET due_at = now(), outstanding = false", &[]).await.unwrap();
    let first = world.store.due_chunks(Platform::Apns, Lane::Transactional, 3, 10).await.unwrap();
    assert_eq!(first.len(), 3);
    assert!(world.store.due_chunks(Platform::Apns, Lane::Transactional, 3, 10).await.unwrap().is_empty());
    assert_eq!(world.store.due_chunks(Platform::Apns, Lane::Transactional, 4, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_dead_token_retires_only_the_registration_it_was_sent_to() {
    let world = World::new().await;
    let keys = [world.device("u1", "d1").await, world.device("u1", "d2").await, world.device("u1", "d3").await];
    let chunk = world.chunk(&["u1"]).await;
    let grant = world.claim(chunk).await.unwrap();
    // d2 was registered again meanwhile; d3 was registered after the provider's word.
    world.sql.execute("UPDATE devices SET generation = 2 WHERE device_key = $1", &[&keys[1]]).await.unwrap();
    let before = Timestamp::now() - SignedDuration::from_secs(3600);
    let retire = |position, since| Outcome {
        token: TokenVerdict::Retire { since },
        ..closed(position, Status::Failed, Some(Reason::TokenInvalid))
    };
    world.report(chunk, grant.lease, vec![retire(0, None), retire(1, None), retire(2, Some(before))], false).await;
    let rows = world.sql.query("SELECT state FROM devices ORDER BY device_key", &[]).await.unwrap();
    assert_eq!(rows.iter().map(|r| r.get::<_, i16>(0)).collect::<Vec<_>>(), [3, 1, 1]);
}

#[tokio::test]
async fn receipts_may_come_before_the_report_twice_and_late() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    let chunk = world.chunk(&["u1"]).await;
    let grant = world.claim(chunk).await.unwrap();
    let opened = [receipt(chunk, 0, Event::Opened)];
    let first = world.store.record_receipts(world.tenant, &opened, 0).await.unwrap();
    assert_eq!((first[0].recorded, first[0].cascade), (Recorded::Recorded, CascadeEffect::None));
    world.report(chunk, grant.lease, vec![sent(0)], false).await;
    let second = world.store.record_receipts(world.tenant, &opened, 0).await.unwrap();
    assert_eq!(second[0].recorded, Recorded::Duplicate);
    assert_eq!(world.counts(chunk.run, 1).await, (1, 0, 0, 1, 1));
    let stranger = carillon_domain::ids::TenantKey(world.tenant.0 + 1);
    let unknown = world.store.record_receipts(stranger, &opened, 0).await.unwrap();
    assert_eq!(unknown[0].recorded, Recorded::Unknown, "another tenant's reference is like none");
}

#[tokio::test]
async fn a_receipt_by_names_finds_its_delivery_too() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    world.device("u1", "d2").await;
    let id = world.accept().await;
    let chunk = world.expand(id, &["u1"], None).await;
    let item = |device: &str| ReceiptItem {
        notification_id: Some(id),
        reference: None,
        device: Some(device.into()),
        ..receipt(chunk, 0, Event::Delivered)
    };
    let items = [item("d2"), item("d9")];
    let results = world.store.record_receipts(world.tenant, &items, 0).await.unwrap();
    assert_eq!(results.iter().map(|r| r.recorded).collect::<Vec<_>>(), [Recorded::Recorded, Recorded::Unknown]);
    assert_eq!(world.told().await.len(), 1);
}

#[tokio::test]
async fn the_first_accept_starts_the_cascades_clock_and_a_read_stops_it() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    world.device("u2", "d2").await;
    let id = world.accept().await;
    let shape = NewCascadeShape { unless: Unless::Read, within: 600 };
    let chunk = world.expand(id, &["u1", "u2"], Some(shape)).await;
    let grant = world.claim(chunk).await.unwrap();
    world.report(chunk, grant.lease, vec![sent(0)], false).await;
    let (state, due) = world.cascade_state(chunk.run, 0).await;
    assert!(state == 1 && due.is_some_and(|s| (590.0..=600.0).contains(&s)));
    let results = world.store.record_receipts(world.tenant, &[receipt(chunk, 0, Event::Clicked)], 0).await.unwrap();
    assert_eq!(results[0].cascade, CascadeEffect::Stopped);
    assert_eq!(world.cascade_state(chunk.run, 0).await, (4, None));

    // Nobody reached u2: the cascade goes on at once.
    world.report(chunk, grant.lease, vec![closed(1, Status::Failed, Some(Reason::TokenInvalid))], false).await;
    let (state, due) = world.cascade_state(chunk.run, 1).await;
    assert!(state == 1 && due.is_some_and(|s| s <= 0.0));
}

#[tokio::test]
async fn a_cancelled_run_grants_nothing_stops_its_holder_and_closes_what_is_open() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    world.device("u1", "d2").await;
    let chunk = world.chunk(&["u1"]).await;
    let grant = world.claim(chunk).await.unwrap();
    world.sql.execute("UPDATE notifications SET state = 4", &[]).await.unwrap();
    let reported = world.report(chunk, grant.lease, vec![sent(0)], false).await;
    assert_eq!(reported.answers[0], Continue::Stop);
    world.report(chunk, grant.lease, vec![], true).await;
    assert!(!world.store.close_cancelled(0).await.unwrap());
    assert_eq!(world.positions(chunk).await.get(1), Some(Position::Closed(Status::Cancelled)));
    assert_eq!(world.counts(chunk.run, 1).await, (1, 0, 1, 0, 0));

    // What was in flight at the cancel was sent after all: the greater evidence wins, and is counted in one place.
    world.report(chunk, grant.lease, vec![sent(1)], false).await;
    assert_eq!(world.counts(chunk.run, 1).await, (2, 0, 0, 0, 0));
}

#[tokio::test]
async fn status_changes_are_left_to_be_told_until_they_were() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    let chunk = world.chunk(&["u1"]).await;
    let grant = world.claim(chunk).await.unwrap();
    world.report(chunk, grant.lease, vec![sent(0)], false).await;
    let batches = world.store.take_status_batches(10).await.unwrap();
    assert_eq!((batches.len(), batches[0].changes.len(), batches[0].changes[0].status), (1, 1, Status::Sent.number()));
    let subjects = world.store.describe_changes(&batches[0].changes).await.unwrap();
    let subject = subjects[0].as_ref().expect("described");
    assert_eq!(
        (subject.device.as_deref(), subject.user_id.as_deref(), subject.app.as_str()),
        (Some("d1"), Some("u1"), "shop")
    );
    assert!(world.store.take_status_batches(10).await.unwrap().is_empty(), "taken");
    world.store.status_batches_told(&[batches[0].id]).await.unwrap();
    let left: i64 = world.sql.query_one("SELECT count(*) FROM status_batches", &[]).await.unwrap().get(0);
    assert_eq!(left, 0);
}

#[tokio::test]
async fn many_reporters_and_receipts_at_once_count_every_delivery_once() {
    let world = Arc::new(World::new().await);
    for d in 0..60 {
        world.device(&format!("u{}", d % 20), &format!("d{d}")).await;
    }
    let users: Vec<String> = (0..20).map(|u| format!("u{u}")).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    let id = world.accept().await;
    let shape = NewCascadeShape { unless: Unless::Read, within: 600 };
    let chunk = world.expand(id, &users, Some(shape)).await;
    let grant = world.claim(chunk).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for round in 0..12u16 {
        let (world, lease) = (Arc::clone(&world), grant.lease);
        tasks.spawn(async move {
            let own: Vec<Outcome> = (0..60).filter(|p| (p + round) % 3 != 0).map(sent).collect();
            world.report(chunk, lease, own, false).await;
            let receipts: Vec<_> =
                (0..60).filter(|p| p % 4 == round % 4).map(|p| receipt(chunk, p, Event::Opened)).collect();
            world.store.record_receipts(world.tenant, &receipts, (round % 4) as i16).await.unwrap();
        });
    }
    tasks.join_all().await;
    assert_eq!(world.counts(chunk.run, 1).await, (60, 0, 0, 60, 60));
    assert_eq!(world.positions(chunk).await.open_positions().count(), 0);
}

#[tokio::test]
async fn a_group_in_which_a_receipt_came_before_its_report_is_counted_once_and_so_are_those_after_it() {
    let world = World::new().await;
    for i in 0..4 {
        world.device(&format!("u{i}"), &format!("d{i}")).await;
    }
    let chunk = world.chunk(&["u0", "u1", "u2", "u3"]).await;
    let grant = world.claim(chunk).await.unwrap();
    let early = world.store.record_receipts(world.tenant, &[receipt(chunk, 1, Event::Opened)], 0).await.unwrap();
    assert_eq!(early[0].recorded, Recorded::Recorded);
    // The first of them meets the receipt's row, the second looks before it writes, and tells what was told before.
    assert_eq!(world.told().await.len(), 1);
    world.report(chunk, grant.lease, vec![sent(0), sent(1)], false).await;
    let told = world.told().await;
    assert_eq!(told.len(), 1, "of what was opened, sent is no news: {told:?}");
    world.report(chunk, grant.lease, vec![sent(1), sent(2)], false).await;
    world.report(chunk, grant.lease, vec![sent(3)], true).await;
    let (sent, failed, .., opened) = world.counts(chunk.run, 1).await;
    assert_eq!((sent, failed, opened), (4, 0, 1));
}

#[tokio::test]
async fn when_a_device_was_last_sent_to_is_known_to_the_hour() {
    let world = World::new().await;
    let key = world.device("u1", "d1").await;
    let device = async || world.store.get_device(world.tenant, world.app, "d1").await.unwrap().unwrap().last_sent_at;
    assert_eq!(device().await, None);
    let chunk = world.chunk(&["u1"]).await;
    let grant = world.claim(chunk).await.unwrap();
    let reported = world.report(chunk, grant.lease, vec![sent(0)], true).await;
    assert_eq!(reported.sent, [key]);
    let at: Timestamp = "2026-11-22T03:59:59Z".parse().unwrap();
    let hour: Timestamp = "2026-11-22T03:00:00Z".parse().unwrap();
    world.store.mark_sent(&reported.sent.into_iter().collect(), at).await.unwrap();
    assert_eq!(device().await, Some(hour));
    // One that comes late takes nothing back, in one row or in several.
    let many = (0..2_000).map(|other| key + other).collect();
    world.store.mark_sent(&many, at - SignedDuration::from_hours(2)).await.unwrap();
    assert_eq!(device().await, Some(hour));
}
