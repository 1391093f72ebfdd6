//! How runs end: cancelled in pages, expired without a dispatcher, finished when nothing is open.

use crate::world::{NewCascadeShape, World, sent};
use carillon_domain::cascade::Unless;
use carillon_domain::chunk::Position;
use carillon_domain::delivery_status::{Reason, Status};
use carillon_domain::ids::{NotificationId, RunId};
use carillon_domain::person::Person;
use carillon_domain::platform::Lane;
use carillon_store::{DeliveryId, NewCascade, Page, Suppressed};
use jiff::SignedDuration;

async fn state(world: &World, run: RunId) -> (i16, bool) {
    let sql = "SELECT state, finished_at IS NOT NULL FROM notifications WHERE run_id = $1";
    let row = world.sql.query_one(sql, &[&run.0]).await.unwrap();
    (row.get(0), row.get(1))
}

/// A page without anybody.
pub(crate) fn empty(world: &World, id: NotificationId, now: jiff::Timestamp, last: bool) -> Page {
    Page {
        notification_id: id,
        tenant_key: world.tenant,
        app_key: world.app,
        lane: Lane::Bulk,
        run: id.as_run(),
        run_started_at: now,
        expires_at: now + SignedDuration::from_secs(3600),
        first_chunk: 0,
        chunks: Vec::new(),
        suppressed: Vec::new(),
        cascades: Vec::new(),
        persons: 0,
        cursor: None,
        last,
        rests: false,
    }
}

#[tokio::test]
async fn a_cancelled_run_with_thousands_of_cascades_is_closed_in_pages() {
    let world = World::new().await;
    let run = world.waiting_chunks((world.tenant.0, world.app.0), 60, 0).await;
    world
        .sql
        .execute(
            "INSERT INTO cascades (run_id, link, person_number, notification_id, tenant_key, app_key, person, unless,
                within_seconds, open_devices, released_at, due_at)
             SELECT $1, 1, i, $1, $2, $3, 'u:' || i, 4, 60, 1, now(), now() + interval '1 minute' FROM generate_series(0, 11999) i",
            &[&run.0, &world.tenant.0, &world.app.0],
        )
        .await
        .unwrap();
    world.sql.execute("UPDATE notifications SET state = 4", &[]).await.unwrap();
    let mut pages = 1;
    while world.store.close_cancelled(0).await.unwrap() {
        let left = world.sql.query_one("SELECT count(*) FROM cascades WHERE state = 1", &[]).await.unwrap();
        assert_eq!(left.get::<_, i64>(0), 12_000 - 5_000 * pages);
        assert_eq!(state(&world, run).await, (4, false), "not while anything is open");
        pages += 1;
    }
    assert_eq!((pages, state(&world, run).await), (3, (4, true)));
    let open: i64 =
        world.sql.query_one("SELECT count(*) FROM chunks WHERE due_at IS NOT NULL", &[]).await.unwrap().get(0);
    assert_eq!(open, 0);
}

#[tokio::test]
async fn cancelling_leaves_a_chunk_to_who_holds_it_until_the_lease_is_over() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    let chunk = world.chunk(&["u1"]).await;
    world.claim(chunk).await.unwrap();
    world.sql.execute("UPDATE notifications SET state = 4", &[]).await.unwrap();
    world.store.close_cancelled(0).await.unwrap();
    assert_eq!(world.positions(chunk).await.get(0), Some(Position::Open(0)));
    assert_eq!(state(&world, chunk.run).await, (4, false));
    world.sql.execute("UPDATE chunks SET lease_until = now()", &[]).await.unwrap();
    world.store.close_cancelled(0).await.unwrap();
    assert_eq!(world.positions(chunk).await.get(0), Some(Position::Closed(Status::Cancelled)));
    assert_eq!(state(&world, chunk.run).await, (4, true));
}

#[tokio::test]
async fn what_expires_while_no_dispatcher_comes_is_closed_and_its_cascade_goes_on() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    let id = world.accept().await;
    let chunk = world.expand(id, &["u1"], Some(NewCascadeShape { unless: Unless::Read, within: 86_400 })).await;
    world.sql.execute("UPDATE chunks SET due_at = now()", &[]).await.unwrap();
    assert!(world.store.close_expired(0).await.unwrap().is_empty(), "it may still be sent");
    world.sql.execute("UPDATE chunks SET expires_at = now() - interval '2 minutes'", &[]).await.unwrap();
    let held = "UPDATE chunks SET lease_until = now() + $1::int4 * interval '1 second'";
    world.sql.execute(held, &[&5]).await.unwrap();
    assert!(world.store.close_expired(0).await.unwrap().is_empty(), "somebody is at it");
    world.sql.execute(held, &[&-1]).await.unwrap();
    assert_eq!(world.store.close_expired(0).await.unwrap(), [chunk.run]);
    assert_eq!(world.positions(chunk).await.get(0), Some(Position::Closed(Status::Expired)));
    let (cascade, due) = world.cascade_state(chunk.run, 0).await;
    assert!(cascade == 1 && due.is_some_and(|s| s <= 0.0));
    let expired = world.sql.query_one("SELECT sum(expired)::int8 FROM run_counters", &[]).await.unwrap();
    assert_eq!(expired.get::<_, i64>(0), 1);
    assert!(world.store.close_expired(0).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_run_of_which_only_a_cascade_is_left_is_not_finished_by_an_empty_last_page() {
    let world = World::new().await;
    let id = world.accept().await;
    let (expansion, runs) = world.store.expand(&[id]).await.unwrap();
    assert_eq!(runs[0].epoch, 0);
    let mut first = empty(&world, id, expansion.now(), false);
    first.persons = 1;
    first.cursor = Some("u:a".into());
    first.suppressed = vec![Suppressed {
        subject: DeliveryId::person_subject(0),
        platform: None,
        person: Some(Person::user("a")),
        reason: Reason::NoDevice,
    }];
    first.cascades = vec![NewCascade {
        person_number: 0,
        person: Person::user("a"),
        phone: None,
        locale: None,
        unless: Unless::Read,
        within: 60,
        open_devices: 0,
        fires: true,
    }];
    expansion.commit(vec![first], 0).await.unwrap();
    let (expansion, runs) = world.store.expand(&[id]).await.unwrap();
    assert_eq!((runs[0].epoch, runs[0].cursor.as_deref(), runs[0].next_person), (1, Some("u:a"), 1));
    let last = empty(&world, id, expansion.now(), true);
    expansion.commit(vec![last], 0).await.unwrap();
    assert_eq!(state(&world, id.as_run()).await, (2, false));
    world.sql.execute("UPDATE cascades SET state = 3, due_at = NULL", &[]).await.unwrap();
    assert_eq!(world.store.finish_runs(&[id.as_run()]).await.unwrap(), 1);
}

#[tokio::test]
async fn totals_are_unknown_until_the_last_page_and_then_nothing_is_pending_too_much() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    let id = world.accept().await;
    let read = async || world.store.get_notification(world.tenant, id, None).await.unwrap().unwrap();
    assert_eq!((read().await.push.total, read().await.recipients.total), (None, None));
    let chunk = world.expand(id, &["u1"], None).await;
    assert_eq!((read().await.push.total, read().await.push.pending), (Some(1), Some(1)));
    let grant = world.claim(chunk).await.unwrap();
    world.report(chunk, grant.lease, vec![sent(0)], false).await;
    assert_eq!((read().await.push.total, read().await.push.pending), (Some(1), Some(0)));
}

#[tokio::test]
async fn runs_that_take_long_do_not_hide_one_that_was_left_unfinished() {
    let world = World::new().await;
    world
        .sql
        .execute(
            "WITH n AS (
                 INSERT INTO notifications (notification_id, tenant_key, app_key, body, state, lane, run_id, run_started_at,
                     expires_at, expanded)
                 SELECT r, $1, $2, '', 2, 1, r, now() - interval '1 hour', now(), true
                 FROM (SELECT carillon_first_run_id(now() + i * interval '1 ms') r FROM generate_series(0, 599) i) x
                 RETURNING run_id
             )
             INSERT INTO cascades (run_id, link, person_number, notification_id, tenant_key, app_key, person, unless,
                 within_seconds, open_devices, released_at, due_at)
             SELECT run_id, 1, 0, run_id, $1, $2, 'u:a', 4, 60, 1, now(), now() + interval '1 day' FROM n",
            &[&world.tenant.0, &world.app.0],
        )
        .await
        .unwrap();
    let last = "DELETE FROM cascades WHERE run_id = (SELECT max(run_id::text)::uuid FROM cascades)";
    world.sql.execute(last, &[]).await.unwrap();
    let (finished, after) = world.store.finish_stale(30.0, None).await.unwrap();
    assert!(finished == 0 && after.is_some());
    assert_eq!(world.store.finish_stale(30.0, after).await.unwrap(), (1, None));
}
