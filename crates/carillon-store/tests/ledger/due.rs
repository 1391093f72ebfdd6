//! What is due: each row to one scanner, credit shared between tenants.

use crate::world::World;
use carillon_domain::ids::{NotificationId, RunId};
use carillon_domain::platform::{Lane, Platform};
use carillon_store::{Accepted, Asked, DueChunk};
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

async fn take(world: &World, credit: i64, limit: i64) -> Vec<DueChunk> {
    world.store.due_chunks(Platform::Apns, Lane::Bulk, credit, limit).await.unwrap()
}

fn of(due: &[DueChunk], run: RunId) -> usize {
    due.iter().filter(|c| c.chunk.run == run).count()
}

#[tokio::test]
async fn credit_goes_to_the_tenant_that_has_least_in_hand() {
    let world = World::new().await;
    let (whale, small) = (world.other_tenant("whale").await, world.other_tenant("small").await);
    let campaign = world.waiting_chunks(whale, 30, 600).await;
    assert_eq!(of(&take(&world, 2, 10).await, campaign), 2);
    // A moment of credit for one: the other tenant's chunk is younger, and its turn.
    let few = world.waiting_chunks(small, 3, 10).await;
    assert_eq!(of(&take(&world, 3, 10).await, few), 1);
    let both = take(&world, 6, 10).await;
    assert_eq!((of(&both, campaign), of(&both, few)), (1, 2), "three each");
    assert!(take(&world, 6, 10).await.is_empty());
}

#[tokio::test]
async fn a_backlog_however_long_hides_nobody_else() {
    let world = World::new().await;
    let (whale, small) = (world.other_tenant("whale").await, world.other_tenant("small").await);
    world.waiting_chunks(whale, 10_500, 600).await;
    let few = world.waiting_chunks(small, 2, 10).await;
    assert_eq!(of(&take(&world, 4, 10).await, few), 2);
}

#[tokio::test]
async fn four_scanners_take_each_due_chunk_once() {
    let world = Arc::new(World::new().await);
    for tenant in ["a", "b", "c"] {
        let keys = world.other_tenant(tenant).await;
        world.waiting_chunks(keys, 40, 60).await;
    }
    let mut seen = BTreeSet::new();
    while seen.len() < 120 {
        let mut scanners = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let world = Arc::clone(&world);
            scanners.spawn(async move { take(&world, 1_000, 15).await });
        }
        let taken: Vec<DueChunk> = scanners.join_all().await.into_iter().flatten().collect();
        assert!(!taken.is_empty(), "{} of 120", seen.len());
        for chunk in taken {
            assert!(seen.insert(chunk.chunk), "taken twice");
            assert_eq!(chunk.copy, 1);
        }
    }
    assert!(take(&world, 1_000, 15).await.is_empty());
}

#[tokio::test]
async fn four_scanners_take_each_due_notification_once() {
    let world = Arc::new(World::new().await);
    let mut all = BTreeSet::new();
    for _ in 0..60 {
        all.insert(world.accept().await);
    }
    assert!(world.store.due_notifications(10).await.unwrap().is_empty(), "published by who accepted them");
    world.sql.execute("UPDATE notifications SET due_at = now()", &[]).await.unwrap();
    let mut taken = Vec::new();
    while taken.len() < 60 {
        let mut scanners = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let world = Arc::clone(&world);
            scanners.spawn(async move { world.store.due_notifications(10).await.unwrap() });
        }
        taken.extend(scanners.join_all().await.into_iter().flatten().map(|n| n.notification_id));
    }
    assert_eq!((taken.len(), taken.into_iter().collect::<BTreeSet<_>>()), (60, all));
    assert!(world.store.due_notifications(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_scheduled_is_due_at_its_time_and_started_not_before() {
    let world = World::new().await;
    let mut new = world.notification(NotificationId(Uuid::now_v7()));
    let id = new.notification_id;
    new.scheduled_at = Some(jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3_600));
    world.store.accept_group(&[new]).await.unwrap();
    let early: bool = world.sql.query_one("SELECT due_at = scheduled_at FROM notifications", &[]).await.unwrap().get(0);
    assert!(early, "looked at exactly then");
    let (expansion, runs) = world.store.expand(&[id]).await.unwrap();
    assert!(runs.is_empty(), "a wake-up that comes early starts nothing");
    expansion.abandon().await.unwrap();
    let sql = "UPDATE notifications SET scheduled_at = now(), due_at = now()";
    world.sql.execute(sql, &[]).await.unwrap();
    assert_eq!(world.store.due_notifications(10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_group_that_is_repeated_after_a_commit_in_doubt_is_accepted_as_it_was() {
    let world = World::new().await;
    let plain = world.notification(NotificationId(Uuid::now_v7()));
    let mut keyed = world.notification(NotificationId(Uuid::now_v7()));
    keyed.idempotency = Some(("key".into(), [7; 32]));
    let group = [plain, keyed];
    let first = world.store.accept_group(&group).await.unwrap();
    let again = world.store.accept_group(&group).await.unwrap();
    assert_eq!(first, again);
    assert!(again.iter().all(|a| matches!(a, Accepted::New { .. })));
    let rows: i64 = world.sql.query_one("SELECT count(*) FROM notifications", &[]).await.unwrap().get(0);
    assert_eq!(rows, 2);
}

#[tokio::test]
async fn partitions_are_made_once_and_rows_lie_in_the_week_of_their_run() {
    let world = World::new().await;
    assert_eq!(world.store.make_partitions(5).await.unwrap(), 0, "the migration made them");
    assert_eq!(world.store.make_partitions(7).await.unwrap(), 4);
    assert_eq!(world.store.make_partitions(7).await.unwrap(), 0);
    let app = (world.tenant.0, world.app.0);
    world.waiting_chunks(app, 1, 0).await;
    let sql =
        "SELECT tableoid::regclass::text = to_char(now() AT TIME ZONE 'UTC', '\"chunks_\"IYYY\"w\"IW') FROM chunks";
    assert!(world.sql.query_one(sql, &[]).await.unwrap().get::<_, bool>(0));
    let weeks = "INSERT INTO deliveries (run_id, subject, link, tenant_key, bits)
                 SELECT carillon_first_run_id(now() + w * interval '7 days'), 1, 0, 1, 2 FROM generate_series(-1, 8) w";
    world.sql.execute(weeks, &[]).await.unwrap();
    let sql = "SELECT count(DISTINCT tableoid), count(*) FILTER (WHERE tableoid::regclass::text = 'deliveries_default') FROM deliveries";
    let row = world.sql.query_one(sql, &[]).await.unwrap();
    assert_eq!(
        (row.get::<_, i64>(0), row.get::<_, i64>(1)),
        (10, 1),
        "a partition a week, the rest in the default one"
    );
}

#[tokio::test]
async fn a_week_of_chunks_is_dropped_five_weeks_after_its_end_unless_somebody_must_look_at_it() {
    let world = World::new().await;
    let made = "
        DO $$
        DECLARE week timestamptz; part text;
        BEGIN
            FOR i IN 2 .. 8 LOOP
                week := date_trunc('week', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - i * interval '7 days';
                part := to_char(week AT TIME ZONE 'UTC', '\"chunks_\"IYYY\"w\"IW');
                EXECUTE format('CREATE TABLE %I PARTITION OF chunks FOR VALUES FROM (%L) TO (%L)', part,
                    carillon_first_run_id(week), carillon_first_run_id(week + interval '7 days'));
            END LOOP;
        END $$";
    world.sql.batch_execute(made).await.unwrap();
    // One of eight weeks ago, on which somebody waits, and one of seven weeks ago, which is closed.
    for (weeks, open) in [(8, true), (7, false)] {
        let sql = "INSERT INTO chunks (run_id, chunk, notification_id, tenant_key, app_key, platform, lane, device_keys, states,
                       run_started_at, expires_at, due_at)
                   SELECT carillon_first_run_id(now() - $1::int4 * interval '7 days'), 1, gen_random_uuid(), $2, $3, 1, 2, '', '', now(), now(),
                       CASE WHEN $4 THEN now() END";
        world.sql.execute(sql, &[&weeks, &world.tenant.0, &world.app.0, &open]).await.unwrap();
    }
    let mut dropped = 0;
    while world.store.drop_old_chunks().await.unwrap() {
        dropped += 1;
    }
    assert_eq!(dropped, 2, "those of seven and of six weeks ago: the one of five weeks ago ended four weeks ago");
    let left = "SELECT count(*), min(relname::text) = to_char((now() AT TIME ZONE 'UTC') - interval '56 days', '\"chunks_\"IYYY\"w\"IW')
                FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
                WHERE inhparent = 'chunks'::regclass AND relname < to_char((now() AT TIME ZONE 'UTC') - interval '7 days', '\"chunks_\"IYYY\"w\"IW')";
    let row = world.sql.query_one(left, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, bool>(1)), (5, true), "eight, five, four, three and two weeks ago");
    world.sql.batch_execute("UPDATE chunks SET due_at = NULL").await.unwrap();
    assert!(world.store.drop_old_chunks().await.unwrap() && !world.store.drop_old_chunks().await.unwrap());
}

#[tokio::test]
async fn dropping_a_week_of_chunks_does_not_keep_traffic_waiting() {
    let world = World::new().await;
    let week = "CREATE TABLE chunks_2020w01 PARTITION OF chunks
                FOR VALUES FROM ('016f0000-0000-0000-0000-000000000000') TO ('016f5000-0000-0000-0000-000000000000')";
    world.sql.batch_execute(week).await.unwrap();
    world.sql.batch_execute("BEGIN; UPDATE chunks SET copies = copies").await.unwrap();
    let error = world.store.drop_old_chunks().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    world.sql.batch_execute("COMMIT").await.unwrap();
    assert!(world.store.drop_old_chunks().await.unwrap());
}

#[tokio::test]
async fn purging_takes_what_has_served_its_time_and_nothing_else() {
    let world = World::new().await;
    for device in ["gone", "fresh", "dead", "just-dead", "forgotten", "just-forgotten"] {
        world.device("u1", device).await;
    }
    let age = "UPDATE devices SET state = $2, state_at = now() - $3::int4 * interval '1 day' WHERE device = $1";
    for (device, state, days) in
        [("gone", 2i16, 400), ("dead", 3, 31), ("just-dead", 3, 29), ("forgotten", 5, 36), ("just-forgotten", 5, 34)]
    {
        world.sql.execute(age, &[&device, &state, &days]).await.unwrap();
    }
    for (key, days) in [("old", 31), ("young", 29)] {
        let mut new = world.notification(NotificationId(Uuid::now_v7()));
        new.idempotency = Some((key.into(), [7; 32]));
        world.store.accept_group(&[new]).await.unwrap();
        let sql = "UPDATE idempotency SET created_at = now() - $2::int4 * interval '1 day' WHERE key = $1";
        world.sql.execute(sql, &[&key, &days]).await.unwrap();
    }
    assert_eq!(world.store.purge().await.unwrap(), 3);
    let left = world.sql.query("SELECT device FROM devices ORDER BY device", &[]).await.unwrap();
    let left: Vec<&str> = left.iter().map(|r| r.get(0)).collect();
    assert_eq!(left, ["fresh", "gone", "just-dead", "just-forgotten"]);
    assert!(world.store.idempotent_answer(world.tenant, "young").await.unwrap().is_some());
    assert!(world.store.idempotent_answer(world.tenant, "old").await.unwrap().is_none());
}

#[tokio::test]
async fn whether_anything_is_due_is_known_at_a_glance_however_many_tenants_wait_for_later() {
    let world = World::new().await;
    let waiting = "INSERT INTO chunks (run_id, chunk, notification_id, tenant_key, app_key, platform, lane, device_keys, states,
                       run_started_at, expires_at, due_at)
                   SELECT carillon_first_run_id(now()), i, gen_random_uuid(), i, i, 1, 2, int8send(1), decode('00', 'hex'), now(),
                       now() + interval '1 day', now() + interval '1 hour' FROM generate_series(1, 1000) i";
    world.sql.batch_execute(waiting).await.unwrap();
    world.sql.batch_execute("VACUUM ANALYZE chunks").await.unwrap();
    assert!(world.store.due_lanes().await.unwrap().is_empty());
    // Not by going through the tenants.
    let plan = "EXPLAIN SELECT 1 FROM chunks c WHERE c.platform = 1 AND c.lane = 2 AND c.due_at <= now() LIMIT 1";
    let plan = world.sql.query(plan, &[]).await.unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    assert!(plan.iter().any(|line| line.contains("platform_lane_due_at")), "{plan:#?}");
    world.sql.batch_execute("UPDATE chunks SET due_at = now() WHERE tenant_key = 500").await.unwrap();
    assert_eq!(world.store.due_lanes().await.unwrap(), [(Platform::Apns, Lane::Bulk)]);
    assert_eq!(take(&world, 10, 10).await.len(), 0, "its notification is not there");
}

#[tokio::test]
async fn chunks_of_one_look_each_get_their_devices_also_those_that_stand_in_several() {
    let world = World::new().await;
    for (user, device) in [("u1", "d1"), ("u2", "d2"), ("u3", "d3")] {
        world.device(user, device).await;
    }
    let chunks = [world.chunk(&["u1", "u2"]).await, world.chunk(&["u2", "u3"]).await, world.chunk(&["u2"]).await];
    world.sql.execute("DELETE FROM devices WHERE device = 'd3'", &[]).await.unwrap();
    world.sql.execute("UPDATE chunks SET due_at = now(), lease_until = NULL", &[]).await.unwrap();
    let due = world.store.due_chunks(Platform::Apns, Lane::Transactional, 10, 10).await.unwrap();
    let of = |id| {
        let chunk = due.iter().find(|one| one.chunk == id).expect("it is due");
        let device = |target: &(u16, _, Option<carillon_store::Recipient>)| {
            (target.0, target.2.as_ref().map(|device| device.device.clone()))
        };
        chunk.targets.iter().map(device).collect::<Vec<_>>()
    };
    let named = |position, device: &str| (position, Some(device.to_owned()));
    assert_eq!(of(chunks[0]), [named(0, "d1"), named(1, "d2")]);
    assert_eq!(of(chunks[1]), [named(0, "d2"), (1, None)], "one is gone by now");
    assert_eq!(of(chunks[2]), [named(0, "d2")]);
}

#[tokio::test]
async fn a_message_that_is_spent_on_what_another_may_hold_is_missed_soon_and_not_by_the_rows_time() {
    // Whether the lease still runs, and how long the row may wait then.
    for (left, most) in [(-1, 5.0), (4, 15.0)] {
        let world = World::new().await;
        world.device("d", "d").await;
        let chunk = world.chunk(&["d"]).await;
        world.claim(chunk).await.unwrap();
        // As the scan leaves it that has published a second copy.
        let published =
            "UPDATE chunks SET due_at = now() + interval '120 s', lease_until = now() + $1::int4 * interval '1 s'";
        world.sql.execute(published, &[&left]).await.unwrap();
        let asked = [Asked { chunk, advance_lease: None }];
        // A ledger that was cut off first hears whoever may have sent.
        let (answers, _) = world.store.claim(&asked, &[7], true).await.unwrap();
        assert_eq!(answers, [None]);
        let due = "SELECT extract(epoch FROM due_at - now())::float8, outstanding FROM chunks";
        let row = world.sql.query_one(due, &[]).await.unwrap();
        let (seconds, outstanding): (f64, bool) = (row.get(0), row.get(1));
        assert!(seconds > most - 2.0 && seconds <= most && outstanding, "{seconds} s, {outstanding}");
        // Again, it is not put off.
        world.store.claim(&asked, &[8], true).await.unwrap();
        let again: f64 = world.sql.query_one(due, &[]).await.unwrap().get(0);
        assert!(again <= seconds, "{again} s after {seconds} s");
    }
}
