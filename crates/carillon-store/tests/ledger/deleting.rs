//! What becomes of messages whose app or tenant is deleted while they wait.

use crate::world::{NewCascadeShape, World, sent};
use carillon_domain::cascade::Unless;
use carillon_domain::chunk::Position;
use carillon_domain::delivery_status::Status;
use carillon_domain::ids::NotificationId;
use carillon_domain::platform::{Lane, Platform};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

async fn states(world: &World) -> Vec<(i16, bool)> {
    let sql = "SELECT state, finished_at IS NOT NULL FROM notifications ORDER BY notification_id";
    let rows = world.sql.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

async fn open_chunks(world: &World) -> i64 {
    world.sql.query_one("SELECT count(*) FROM chunks WHERE due_at IS NOT NULL", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn what_a_deleted_app_did_not_send_is_cancelled_counted_and_in_nobodys_way() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    world.device("u2", "d2").await;
    let other = world.other_tenant("other").await;
    let running = world.accept().await;
    let chunk = world.expand(running, &["u1", "u2"], Some(NewCascadeShape { unless: Unless::Read, within: 600 })).await;
    let grant = world.claim(chunk).await.unwrap();
    world.report(chunk, grant.lease, vec![sent(0)], true).await;
    let mut scheduled = world.notification(NotificationId(Uuid::now_v7()));
    scheduled.scheduled_at = Some(Timestamp::now() + SignedDuration::from_hours(1));
    world.store.accept_group(&[scheduled]).await.unwrap();
    let paused = world.chunk(&["u1"]).await;
    world.store.pause_notification(world.tenant, NotificationId(paused.run.0), None).await.unwrap();
    let sql = "UPDATE notifications SET state = 3 WHERE run_id = $1";
    world.sql.execute(sql, &[&paused.run.0]).await.unwrap();
    let backlog = world.waiting_chunks((world.tenant.0, world.app.0), 120, 600).await;

    assert!(world.store.delete_app(world.tenant, "shop").await.unwrap());
    assert!(!world.store.delete_app(world.tenant, "shop").await.unwrap(), "it is gone");
    let after = states(&world).await;
    assert!(after.iter().all(|(state, _)| *state == 4), "{after:?}");
    assert_eq!(after.iter().filter(|(_, finished)| *finished).count(), 1, "what never started is through");
    assert_eq!(world.claim(chunk).await, None);

    world.waiting_chunks(other, 3, 10).await;
    while world.store.close_cancelled(0).await.unwrap() {}
    assert_eq!((open_chunks(&world).await, states(&world).await.iter().filter(|s| **s == (4, true)).count()), (3, 4));
    assert_eq!(
        world.store.due_chunks(Platform::Apns, Lane::Bulk, 3, 50).await.unwrap().len(),
        3,
        "credit is the others'"
    );
    assert_eq!(world.positions(chunk).await.get(1), Some(Position::Closed(Status::Cancelled)));
    assert_eq!(world.counts(chunk.run, 1).await, (1, 0, 1, 0, 0), "one was sent, one was not");
    assert_eq!(world.counts(backlog, 1).await, (0, 0, 1, 0, 0), "all to the same device");
    assert_eq!(world.cascade_state(chunk.run, 0).await, (4, None));
}

#[tokio::test]
async fn a_tenant_that_is_deleted_takes_the_messages_of_all_its_apps_along_and_nobody_elses() {
    let world = World::new().await;
    let other = world.other_tenant("other").await;
    let mine = world.waiting_chunks((world.tenant.0, world.app.0), 2, 10).await;
    let theirs = world.waiting_chunks(other, 2, 10).await;
    assert!(world.store.delete_tenant("acme").await.unwrap());
    while world.store.close_cancelled(0).await.unwrap() {}
    let state = async |run: &Uuid| -> i16 {
        let sql = "SELECT state FROM notifications WHERE run_id = $1";
        world.sql.query_one(sql, &[run]).await.unwrap().get(0)
    };
    assert_eq!((state(&mine.0).await, state(&theirs.0).await, open_chunks(&world).await), (4, 2, 2));
}

#[tokio::test]
async fn what_was_accepted_while_its_app_was_being_deleted_ends_too() {
    let world = World::new().await;
    world.store.delete_app(world.tenant, "shop").await.unwrap();
    // The caller's app was looked up before.
    world.accept().await;
    assert_eq!(world.store.cancel_orphans().await.unwrap(), 1);
    assert_eq!(world.store.cancel_orphans().await.unwrap(), 0);
    assert_eq!(states(&world).await, [(4, true)]);
}
