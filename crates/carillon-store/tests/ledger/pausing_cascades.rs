//! Cascades of paused notifications: none fires, no wait counts the pause, and a read or a cancel ends them all the same.

use crate::pausing::{due, pass, pause, resume, state};
use crate::world::{NewCascadeShape, World, closed, sent};
use carillon_domain::cascade::Unless;
use carillon_domain::chunk::Position;
use carillon_domain::delivery_status::{Reason, Status};
use carillon_domain::notification::State;
use carillon_store::{DueCascades, Steered};
use jiff::Timestamp;
use std::time::Duration;

async fn due_cascades(world: &World) -> DueCascades {
    world.store.due_cascades(100, Duration::from_secs(30), 0).await.unwrap()
}

#[tokio::test]
async fn a_cascade_of_a_paused_notification_neither_fires_nor_counts_down() {
    let world = World::new().await;
    for user in ["u1", "u2", "u3"] {
        world.device(user, user).await;
    }
    let id = world.accept().await;
    let shape = NewCascadeShape { unless: Unless::Read, within: 600 };
    let chunk = world.expand(id, &["u1", "u2", "u3"], Some(shape)).await;
    let grant = world.claim(chunk).await.unwrap();
    world.report(chunk, grant.lease, vec![sent(0), sent(1)], true).await;
    // Sent nine minutes ago, paused for the last eight: one minute counted.
    let sql = "UPDATE cascades SET first_sent_at = now() - interval '9 min', released_at = now() - interval '9 min'";
    world.sql.batch_execute(sql).await.unwrap();
    pause(&world, id).await;
    world.sql.batch_execute("UPDATE notifications SET paused_at = now() - interval '8 min'").await.unwrap();
    // The first person's time comes during the pause, the second one's after it; the third one's push fails meanwhile.
    world.sql.batch_execute("UPDATE cascades SET due_at = now() WHERE person_number = 0").await.unwrap();
    world
        .sql
        .batch_execute("UPDATE cascades SET due_at = now() + interval '1 min' WHERE person_number = 1")
        .await
        .unwrap();
    world.report(chunk, grant.lease, vec![closed(2, Status::Failed, Some(Reason::TokenInvalid))], true).await;
    let taken = due_cascades(&world).await;
    assert_eq!((taken.cascades.len(), taken.taken), (0, 2));
    assert_eq!(
        (world.cascade_state(chunk.run, 0).await, world.cascade_state(chunk.run, 2).await),
        ((1, None), (1, None))
    );
    assert_eq!(due_cascades(&world).await.taken, 0, "set aside");
    assert_eq!(state(&world, id).await.0, State::Paused);

    resume(&world, id).await;
    world.store.take_up_resumed().await.unwrap();
    let fired = due_cascades(&world).await;
    assert_eq!(fired.cascades.iter().map(|c| c.id.person_number).collect::<Vec<_>>(), [2], "what fires at once");
    let (_, waits) = world.cascade_state(chunk.run, 0).await;
    assert!(waits.is_some_and(|s| (530.0..=545.0).contains(&s)), "nine minutes are left: {waits:?}");
    // Who was not looked at during the pause waits as long.
    world.sql.batch_execute("UPDATE cascades SET due_at = now() WHERE person_number = 1").await.unwrap();
    assert!(due_cascades(&world).await.cascades.is_empty());
    let (_, waits) = world.cascade_state(chunk.run, 1).await;
    assert!(waits.is_some_and(|s| (530.0..=545.0).contains(&s)), "{waits:?}");
    // And then it fires.
    world
        .sql
        .batch_execute(
            "UPDATE cascades SET first_sent_at = now() - interval '19 min', due_at = now() WHERE person_number = 1",
        )
        .await
        .unwrap();
    let fired = due_cascades(&world).await;
    assert_eq!(fired.cascades.iter().map(|c| c.id.person_number).collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn waits_do_not_count_pauses_however_they_lie() {
    let world = World::new().await;
    let waited = async |pauses: &str| -> i64 {
        let sql = format!(
            "SELECT extract(epoch FROM carillon_waited('epoch'::timestamptz + interval '100 s', interval '50 s', '{pauses}'::tstzmultirange))::int8"
        );
        world.sql.query_one(&sql, &[]).await.unwrap().get(0)
    };
    let at = |s: i64| Timestamp::from_second(s).unwrap().to_string();
    let span = |from: i64, to: i64| format!("[{},{})", at(from), at(to));
    assert_eq!(waited("{}").await, 150);
    assert_eq!(waited(&format!("{{{}}}", span(10, 90))).await, 150, "before it began");
    assert_eq!(waited(&format!("{{{}}}", span(90, 120))).await, 170, "begun during a pause");
    assert_eq!(waited(&format!("{{{}}}", span(110, 120))).await, 160);
    assert_eq!(waited(&format!("{{{}}}", span(150, 900))).await, 150, "after it was over");
    let both = format!("{{{},{}}}", span(110, 120), span(155, 200));
    assert_eq!(waited(&both).await, 205, "the second one came because of the first");
}

#[tokio::test]
async fn a_read_during_a_pause_stops_a_cascade_that_was_set_aside() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    let id = world.accept().await;
    let chunk = world.expand(id, &["u1"], Some(NewCascadeShape { unless: Unless::Read, within: 600 })).await;
    let grant = world.claim(chunk).await.unwrap();
    world.report(chunk, grant.lease, vec![sent(0)], true).await;
    pause(&world, id).await;
    world.sql.batch_execute("UPDATE cascades SET due_at = now()").await.unwrap();
    due_cascades(&world).await;
    let read = crate::receipt(chunk, 0, carillon_domain::receipt::Event::Opened);
    let results = world.store.record_receipts(world.tenant, &[read], 0).await.unwrap();
    assert_eq!(results[0].cascade, carillon_domain::receipt::CascadeEffect::Stopped);
    assert_eq!(state(&world, id).await.0, State::Finished, "nothing is left to resume");
    assert_eq!(resume(&world, id).await, Steered::Over(State::Finished));
}

#[tokio::test]
async fn cancelling_what_is_paused_closes_all_of_it() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    let id = world.accept().await;
    let chunk = world.expand(id, &["u1"], Some(NewCascadeShape { unless: Unless::Read, within: 600 })).await;
    pause(&world, id).await;
    pass(&world).await;
    assert_eq!(due(&world).await, 0);
    world.sql.batch_execute("UPDATE cascades SET due_at = now()").await.unwrap();
    due_cascades(&world).await;
    assert_eq!(world.store.cancel_notification(world.tenant, id, None).await.unwrap(), Steered::Done);
    world.store.close_cancelled(0).await.unwrap();
    assert_eq!(world.positions(chunk).await.get(0), Some(Position::Closed(Status::Cancelled)));
    assert_eq!(world.cascade_state(chunk.run, 0).await, (4, None));
    assert_eq!(state(&world, id).await, (State::Cancelled, Some(0)));
    assert_eq!(pause(&world, id).await, Steered::Over(State::Cancelled));
    assert_eq!(resume(&world, id).await, Steered::Over(State::Cancelled));
}

#[tokio::test]
async fn closing_what_was_paused_and_cancelled_takes_cascades_before_deliveries_as_receipts_do() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    let id = world.accept().await;
    let chunk = world.expand(id, &["u1"], Some(NewCascadeShape { unless: Unless::Read, within: 600 })).await;
    // Heard of before it was reported, so that its delivery is there to be locked.
    let delivered = crate::receipt(chunk, 0, carillon_domain::receipt::Event::Delivered);
    world.store.record_receipts(world.tenant, &[delivered], 0).await.unwrap();
    pause(&world, id).await;
    world.sql.batch_execute("UPDATE cascades SET state = 2, due_at = NULL").await.unwrap();
    assert_eq!(world.store.cancel_notification(world.tenant, id, None).await.unwrap(), Steered::Done);

    // Who takes a read: the cascade first, and then the delivery, which nobody may have taken meanwhile who waits for the cascade.
    world.sql.batch_execute("BEGIN; SELECT FROM cascades FOR UPDATE").await.unwrap();
    let store = world.store.clone();
    let mut closing = tokio::task::JoinSet::new();
    closing.spawn(async move { store.close_cancelled(0).await });
    let waits = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                 WHERE NOT l.granted AND a.datname = current_database()";
    while world.sql.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        tokio::task::yield_now().await;
    }
    world.sql.batch_execute("SELECT FROM deliveries FOR UPDATE NOWAIT; COMMIT").await.unwrap();
    assert!(!closing.join_next().await.unwrap().unwrap().unwrap(), "all of it is closed");
    assert_eq!(world.positions(chunk).await.get(0), Some(Position::Closed(Status::Cancelled)));
}
