//! Statements find their rows by keys, also those that were planned while the tables were empty.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "ledger/world.rs"]
#[allow(dead_code, reason = "each of the test binaries uses its part")]
mod world;

use carillon_domain::cascade::Unless;
use carillon_domain::condition::Condition;
use carillon_domain::delivery_status::{Reason, Status};
use carillon_domain::ids::{ChunkId, DeviceKey, NotificationId};
use carillon_domain::platform::{Lane, Platform};
use carillon_store::{Config, Narrowing, Selector, SelectorName, Store};
use world::{NewCascadeShape, World, closed, sent};

/// One round of everything that sending takes.
async fn send(world: &World, device: &str) {
    world.device(device, device).await;
    let chunk = world.chunk(&[device]).await;
    let grant = world.claim(chunk).await.unwrap();
    world.report(chunk, grant.lease, vec![sent(0)], true).await;
    world.store.finish_runs(&[chunk.run]).await.unwrap();
    let batches = world.store.take_status_batches(20).await.unwrap();
    world.store.owners_of_runs(&[chunk.run.0]).await.unwrap();
    for batch in &batches {
        world.store.describe_changes(&batch.changes).await.unwrap();
    }
    world.store.status_batches_told(&batches.iter().map(|batch| batch.id).collect::<Vec<_>>()).await.unwrap();
    world.store.mark_sent(&[1].into_iter().collect(), jiff::Timestamp::now()).await.unwrap();
    world.store.due_chunks(Platform::Apns, Lane::Transactional, 100, 50).await.unwrap();
    world.store.outstanding(Lane::Transactional).await.unwrap();
    world.store.due_notifications(10).await.unwrap();
    world.store.due_lanes().await.unwrap();
    world.store.due_paused(10).await.unwrap();
    world.store.close_cancelled(0).await.unwrap();
    world.store.close_expired(0).await.unwrap();
    world.store.take_up_resumed().await.unwrap();
    world.store.finish_stale(30.0, None).await.unwrap();
    world.store.cancel_orphans().await.unwrap();
    world.store.absent_publishers().await.unwrap();
    world.store.publish_for(&[7]).await.unwrap();
    world.store.purge().await.unwrap();
    look_for_audiences(world, device).await;
}

/// Everything that audiences are read by.
async fn look_for_audiences(world: &World, device: &str) {
    let (expansion, _) = world.store.expand(&[]).await.unwrap();
    let names = [
        SelectorName::Device(device.to_owned()),
        SelectorName::User(device.to_owned()),
        SelectorName::Phone("+48501502503".to_owned()),
    ];
    let selectors = names.map(|name| Selector { run: 0, app_key: world.app, name });
    for after in [None, Some("u:")] {
        expansion.select(&selectors, after, 100).await.unwrap();
    }
    let everybody = Narrowing { platforms: &[], os: &[], condition: None, began: jiff::Timestamp::now() };
    let tagged = Condition::parse("tags has 'vip'").unwrap();
    expansion.page(world.app, Some("u:"), everybody, 100).await.unwrap();
    expansion.page(world.app, None, Narrowing { platforms: &[Platform::Apns], ..everybody }, 100).await.unwrap();
    expansion.page(world.app, None, Narrowing { condition: Some(&tagged), ..everybody }, 100).await.unwrap();
    expansion.meeting(&[DeviceKey(1)], &tagged, everybody.began).await.unwrap();
    expansion.outstanding(Lane::Bulk, world.tenant).await.unwrap();
    expansion.abandon().await.unwrap();
}

/// The same, of a person to whom a text message may follow.
async fn with_cascade(world: &World, device: &str) {
    world.device(device, device).await;
    let id = world.accept().await;
    let chunk = world.expand(id, &[device], Some(NewCascadeShape { unless: Unless::Read, within: 60 })).await;
    let grant = world.claim(chunk).await.unwrap();
    world.report(chunk, grant.lease, vec![closed(0, Status::Failed, Some(Reason::TokenInvalid))], true).await;
}

#[tokio::test]
async fn what_was_planned_for_empty_tables_reads_none_through_for_long_when_they_have_grown() {
    let world = World::new().await;
    send(&world, "first").await;
    with_cascade(&world, "first of all").await;
    let full = "INSERT INTO deliveries (run_id, subject, link, tenant_key, bits)
                SELECT carillon_first_run_id(now()), i, 0, 1, 2 FROM generate_series(1, 20000) i;
                INSERT INTO notifications (notification_id, tenant_key, app_key, body, state, lane, run_id, run_started_at, expires_at)
                SELECT carillon_first_run_id(now() + i * interval '1 ms'), 1, 1, '', 5, 1, carillon_first_run_id(now() + i * interval '1 ms'),
                    now(), now() FROM generate_series(1, 20000) i;
                INSERT INTO devices (tenant_key, app_key, device, person, platform, os)
                SELECT 1, 1, 'x' || i, 'd:x' || i, 1, 1 FROM generate_series(1, 20000) i;
                INSERT INTO cascades (run_id, link, person_number, notification_id, tenant_key, app_key, person, unless, within_seconds,
                    open_devices, released_at, due_at)
                SELECT carillon_first_run_id(now()), 1, i, carillon_first_run_id(now()), 1, 1, 'u:' || i, 4, 60, 1, now(), now() + interval '1 h'
                FROM generate_series(1, 20000) i";
    world.sql.batch_execute(full).await.unwrap();
    let other = world.other_tenant("other").await;
    let run = world.waiting_chunks(other, 300, 10).await;
    world
        .store
        .cancel_notification(carillon_domain::ids::TenantKey(other.0), NotificationId(run.0), None)
        .await
        .unwrap();
    while world.store.close_cancelled(0).await.unwrap() {}
    assert_eq!(world.claim(ChunkId { run, number: 1 }).await, None);
    for _ in 0..64 {
        world.store.ping().await.unwrap();
    }
    world.sql.batch_execute("SELECT pg_stat_reset()").await.unwrap();
    for device in ["second", "third"] {
        send(&world, device).await;
        with_cascade(&world, &format!("{device} of all")).await;
    }
    let through = read_through(world, 10_000).await;
    assert!(through.is_empty(), "read from front to back: {through:?}");
}

/// Tables and indexes of which more rows than this were read since the statistics were reset.
async fn read_through(world: World, rows: i64) -> Vec<(String, i64)> {
    let World { store, sql, .. } = world;
    drop(store);
    // Connections tell what they read when they end.
    let others =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'test'";
    while sql.query_one(others, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        tokio::task::yield_now().await;
    }
    let read = "SELECT relname::text, seq_tup_read FROM pg_stat_user_tables
                UNION ALL SELECT indexrelname::text, idx_tup_read FROM pg_stat_user_indexes";
    let read = sql.query(read, &[]).await.unwrap();
    let read = read.iter().map(|row| (row.get::<_, String>(0), row.get::<_, i64>(1)));
    read.filter(|(_, read)| *read > rows).collect()
}

#[tokio::test]
async fn whether_a_run_has_waiting_cascades_is_not_asked_of_those_that_have_ended() {
    let world = World::new().await;
    let run = world.waiting_chunks((world.tenant.0, world.app.0), 1, 0).await;
    let waiting = "INSERT INTO cascades (run_id, link, person_number, notification_id, tenant_key, app_key, person, unless, within_seconds,
                       open_devices, released_at, due_at)
                   SELECT $1, 1, i, $1, 1, 1, 'u:' || i, 4, 60, 1, now(), now() + interval '1 h' FROM generate_series(1, 5000) i";
    world.sql.execute(waiting, &[&run.0]).await.unwrap();
    // As it is when nearly all of them wait.
    world.sql.batch_execute("UPDATE chunks SET due_at = NULL; ANALYZE").await.unwrap();
    world.sql.batch_execute("UPDATE cascades SET state = 3, due_at = NULL WHERE person_number < 4999").await.unwrap();
    world.sql.batch_execute("SELECT pg_stat_reset()").await.unwrap();
    // As sms-cascade opens it: its statements are planned for the values given.
    let name: String = world.sql.query_one("SELECT current_database()::text", &[]).await.unwrap().get(0);
    let own = format!("{}/{name}", world::url().rsplit_once('/').unwrap().0);
    let cascade = Store::open(&Config::new(own), "test").unwrap();
    for _ in 0..10 {
        cascade.finish_runs(&[run]).await.unwrap();
    }
    drop(cascade);
    // The index of those that wait knows the others too, for as long as a transaction may still see them as they were.
    let through = read_through(world, 6_000).await;
    assert!(through.iter().all(|(name, _)| name == "cascades_waiting"), "read from front to back: {through:?}");
}
