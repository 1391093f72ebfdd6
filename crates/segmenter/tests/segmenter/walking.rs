//! A campaign is walked once, by whoever is there.

use crate::way::Way;
use crate::world::{World, everybody, user};
use carillon_domain::audience::Audience;
use carillon_domain::condition::Condition;
use carillon_domain::ids::NotificationId;
use carillon_domain::platform::Lane;
use carillon_store::Steered;
use std::time::{Duration, Instant};

/// Long before a campaign's row, or a chunk's, is looked at by its time.
const SOON: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_walk_that_is_broken_off_by_an_error_is_taken_up_by_another_replica() {
    let world = World::new().await;
    world.people(3_000).await;
    let way = Way::to(&world.database).await;
    let first = world.replica(way.url()).await;
    let id = world.accept(everybody(), None).await;
    world.wake(id, None).await;
    world.eventually("a few pages", async || world.walk(id).await.0 >= 5).await;
    way.set_open(false);
    assert!(!world.walk(id).await.1, "it is not through yet");
    let second = world.replica(&world.database).await;
    world.eventually("the last page", async || world.walk(id).await.1).await;
    assert_eq!(world.chunked(id).await, (3_000, 3_000));
    first.kill().await;
    second.stop().await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_narrows_a_campaign_and_a_list_and_leaves_who_was_listed_without_a_device() {
    let world = World::new().await;
    world.people(300).await;
    let tag = "UPDATE devices SET tags = '{vip}' WHERE user_id IN ('u000007', 'u000123', 'u000299')";
    world.sql.execute(tag, &[]).await.unwrap();
    let condition = Condition::parse("tags has 'vip' and registered_at > now() - 1d").ok();
    let replica = world.replica(&world.database).await;
    let campaign = world.accept(Audience { condition: condition.clone(), ..Default::default() }, None).await;
    world.wake(campaign, None).await;
    let users = ["u000007", "u000008"].into();
    let listed = world.accept(Audience { users, condition, ..Default::default() }, None).await;
    world.wake_in(Lane::Transactional, listed, None).await;
    world.eventually("both to be walked", async || world.walk(campaign).await.1 && world.walk(listed).await.1).await;
    assert_eq!(world.chunked(campaign).await, (3, 3));
    assert_eq!(world.chunked(listed).await, (1, 1));
    let suppressed = async |id: NotificationId| -> i64 {
        let sql = "SELECT count(*) FROM deliveries WHERE run_id = $1";
        world.sql.query_one(sql, &[&id.0]).await.unwrap().get(0)
    };
    assert_eq!(suppressed(campaign).await, 0, "nobody else was meant");
    assert_eq!(suppressed(listed).await, 1, "who was named is told to have no such device");
    replica.stop().await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_walk_without_messages_that_lost_its_database_goes_on_when_that_is_back() {
    let world = World::new().await;
    let way = Way::to(&world.database).await;
    let replica = world.replica(way.url()).await;
    // Nobody has a device: no page leads to a message.
    let users = (0..2_000).map(|i| format!("u{i:06}")).collect();
    let id = world.accept(Audience { users, ..Default::default() }, None).await;
    world.wake(id, Some(0)).await;
    world.eventually("a few pages", async || world.walk(id).await.0 >= 5).await;
    way.set_open(false);
    world.eventually("the loss to be noticed", async || way.turned_away() >= 1).await;
    let (pages, through) = world.walk(id).await;
    assert!(!through, "it is not through yet");
    assert!(world.received(id).is_empty());
    way.set_open(true);
    let began = Instant::now();
    world.eventually("the next page", async || world.walk(id).await.0 > pages).await;
    assert!(began.elapsed() < SOON, "it waited for its time: {:?}", began.elapsed());
    replica.stop().await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_lost_its_database_gives_wake_ups_back_to_the_others() {
    let world = World::new().await;
    world.people(1).await;
    let way = Way::to(&world.database).await;
    let first = world.replica(way.url()).await;
    way.set_open(false);
    // Nobody looks at them by their time.
    let mut all = Vec::new();
    for to in [everybody(), user("u000000")] {
        let id = world.accept(to, None).await;
        let later = "UPDATE notifications SET due_at = now() + interval '1 hour' WHERE notification_id = $1";
        world.sql.execute(later, &[&id.0]).await.unwrap();
        all.push(id);
    }
    world.wake(all[0], None).await;
    world.wake_in(Lane::Transactional, all[1], None).await;
    world.eventually("the loss to be met", async || way.turned_away() >= 1).await;
    let second = world.replica(&world.database).await;
    for id in all {
        world.eventually("it to be expanded", async || world.walk(id).await.1).await;
    }
    first.kill().await;
    second.stop().await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_walkers_campaign_goes_on_at_once_and_its_chunks_are_published_by_another() {
    let world = World::new().await;
    world.people(10_000).await;
    let first = world.replica(&world.database).await;
    let id = world.accept(everybody(), None).await;
    // As its own wake-up would be after a first turn: for a page that is committed by the time that it is handed out again.
    world.wake(id, Some(0)).await;
    world.eventually("a few pages", async || world.walk(id).await.0 >= 20).await;
    first.kill().await;
    let (pages, through) = world.walk(id).await;
    assert!(!through, "it is not through yet");
    let began = Instant::now();
    let second = world.replica(&world.database).await;
    world.eventually("the next page", async || world.walk(id).await.0 > pages).await;
    assert!(began.elapsed() < SOON, "it waited for its time: {:?}", began.elapsed());
    world.eventually("the last page", async || world.walk(id).await.1).await;
    let began = Instant::now();
    world.eventually("every chunk's message", async || world.all_published(id).await).await;
    assert!(began.elapsed() < SOON, "they waited for their time: {:?}", began.elapsed());
    assert_eq!(world.chunked(id).await, (10_000, 10_000));
    second.stop().await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wake_up_that_was_overtaken_walks_nothing() {
    let world = World::new().await;
    world.people(30).await;
    let id = world.accept(everybody(), None).await;
    let overtaken = "UPDATE notifications SET epoch = 5, due_at = now() + interval '1 hour' WHERE notification_id = $1";
    world.sql.execute(overtaken, &[&id.0]).await.unwrap();
    let replica = world.replica(&world.database).await;
    world.wake(id, Some(3)).await;
    // Others that came later are through: so is the first.
    for _ in 0..10 {
        let other = world.accept(everybody(), None).await;
        world.wake(other, None).await;
        world.eventually("another campaign", async || world.walk(other).await.1).await;
    }
    assert_eq!(world.walk(id).await, (5, false));
    world.wake(id, Some(5)).await;
    world.eventually("its own page", async || world.walk(id).await.1).await;
    assert_eq!(world.chunked(id).await, (30, 30));
    replica.stop().await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_walk_stops_and_goes_on_from_its_cursor_at_once() {
    let world = World::new().await;
    world.people(3_000).await;
    let replica = world.replica(&world.database).await;
    let id = world.accept(everybody(), None).await;
    world.wake(id, None).await;
    world.eventually("a few pages", async || world.walk(id).await.0 >= 5).await;
    assert_eq!(world.store.pause_notification(world.tenant, id, None).await.unwrap(), Steered::Done);
    let (pages, through) = world.walk(id).await;
    assert!(!through, "it is not through yet");
    // A wake-up under way finds nothing to do; another campaign has its turn meanwhile.
    world.wake(id, None).await;
    let other = world.accept(everybody(), None).await;
    world.wake(other, None).await;
    world.eventually("another campaign", async || world.walk(other).await.1).await;
    assert_eq!(world.walk(id).await, (pages, false));
    let began = Instant::now();
    assert_eq!(world.store.resume_notification(world.tenant, id, None).await.unwrap(), Steered::Done);
    world.eventually("the next page", async || world.walk(id).await.0 > pages + 1).await;
    assert!(began.elapsed() < SOON, "it waited for its time: {:?}", began.elapsed());
    world.eventually("the last page", async || world.walk(id).await.1).await;
    assert_eq!(world.chunked(id).await, (3_000, 3_000));
    replica.stop().await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_is_walked_only_as_far_as_its_chunks_are_taken_off_it() {
    let world = World::new().await;
    world.people(400).await;
    // Of 16, two are kept for others; a page is a chunk.
    let replica = world.replica_with(&world.database, 16).await;
    let id = world.accept(everybody(), None).await;
    world.wake(id, None).await;
    let in_hand = "SELECT count(*) FILTER (WHERE outstanding), count(*) FROM chunks WHERE notification_id = $1";
    let taken = "UPDATE chunks SET outstanding = false, due_at = NULL WHERE notification_id = $1 AND outstanding";
    let mut through = false;
    while !through {
        world
            .eventually("as many chunks as it may have", async || {
                through = world.walk(id).await.1;
                let row = world.sql.query_one(in_hand, &[&id.0]).await.unwrap();
                let (in_hand, all): (i64, i64) = (row.get(0), row.get(1));
                assert!(in_hand <= 14 && all <= 40, "{in_hand} of {all} are in hand");
                through || in_hand == 14
            })
            .await;
        world.sql.execute(taken, &[&id.0]).await.unwrap();
    }
    assert_eq!(world.chunked(id).await, (400, 400));
    world.eventually("every message", async || world.received(id).len() == 40).await;
    assert!(world.received(id).iter().all(|(_, chunk)| chunk.copy == 0), "some were written first and read again");
    replica.stop().await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_that_waits_for_its_share_is_walked_to_its_end_when_it_expires_or_after_a_minute() {
    let world = World::new().await;
    world.people(400).await;
    // Who registered after a run began is not in it.
    world.sql.batch_execute("UPDATE devices SET state_at = state_at - interval '1 hour'").await.unwrap();
    let replica = world.replica_with(&world.database, 16).await;
    for since in ["expires_at = now()", "run_started_at = now() - interval '1 minute'"] {
        let id = world.accept(everybody(), None).await;
        world.wake(id, None).await;
        world.eventually("as many chunks as it may have", async || world.walk(id).await.0 == 14).await;
        let later = format!("UPDATE notifications SET {since} WHERE notification_id = $1");
        world.sql.execute(&later, &[&id.0]).await.unwrap();
        world.eventually("its last page", async || world.walk(id).await.1).await;
        assert_eq!(world.chunked(id).await, (400, 400));
        let gone = "DELETE FROM chunks WHERE notification_id = $1";
        world.sql.execute(gone, &[&id.0]).await.unwrap();
    }
    replica.stop().await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_messages_of_a_long_walk_leave_before_it_is_over() {
    let world = World::new().await;
    world.people(400).await;
    // A page is a chunk. The fortieth waits for this test, and with it whatever has not left by then; but only until the replica has waited six
    // seconds, and then there is another try.
    let gate = "
        CREATE SEQUENCE tries;
        CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.chunk = 39 THEN PERFORM nextval('tries'); PERFORM pg_advisory_xact_lock(1); END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER wait BEFORE INSERT ON chunks FOR EACH ROW EXECUTE FUNCTION wait();
        SELECT pg_advisory_lock(1)";
    world.sql.batch_execute(gate).await.unwrap();
    let first_try = "
        SELECT CASE WHEN is_called THEN last_value ELSE 0 END =
            (SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
             WHERE l.locktype = 'advisory' AND NOT granted AND datname = current_database() AND query_start > now() - interval '5 s')
        FROM tries";
    let replica = world.replica(&world.database).await;
    let id = world.accept(everybody(), None).await;
    world.wake(id, None).await;
    world
        .eventually("thirty-two messages", async || {
            world.received(id).len() >= 32 && world.sql.query_one(first_try, &[]).await.unwrap().get::<_, bool>(0)
        })
        .await;
    assert!(!world.walk(id).await.1, "the walk is not over");
    world.sql.batch_execute("SELECT pg_advisory_unlock(1)").await.unwrap();
    world.eventually("the rest", async || world.all_published(id).await && world.walk(id).await.1).await;
    assert_eq!(world.received(id).len(), 40);
    replica.stop().await.unwrap();
    world.end().await;
}
