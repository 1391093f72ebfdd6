//! Pause and resume: nothing is granted, published or fired meanwhile, all of it goes on afterwards, and a wait does not count the pause.

use crate::world::{World, sent};
use carillon_domain::ids::{ChunkId, NotificationId, RunId};
use carillon_domain::notification::State;
use carillon_domain::platform::{Lane, Platform};
use carillon_store::{Continue, Steered};
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use uuid::Uuid;

pub(crate) async fn pause(world: &World, id: NotificationId) -> Steered {
    world.store.pause_notification(world.tenant, id, None).await.unwrap()
}

pub(crate) async fn resume(world: &World, id: NotificationId) -> Steered {
    world.store.resume_notification(world.tenant, id, None).await.unwrap()
}

pub(crate) async fn state(world: &World, id: NotificationId) -> (State, Option<i64>) {
    let row = world.store.get_notification(world.tenant, id, None).await.unwrap().unwrap();
    (row.state, row.push.pending)
}

/// What the scan would publish.
pub(crate) async fn due(world: &World) -> usize {
    world.store.due_chunks(Platform::Apns, Lane::Transactional, 100, 50).await.unwrap().len()
}

/// Makes rows due that would be due later.
pub(crate) async fn pass(world: &World) {
    world.sql.batch_execute("UPDATE chunks SET due_at = now() WHERE due_at IS NOT NULL").await.unwrap();
}

/// Takes up what was resumed, to its end; how many notifications are through.
async fn take_up(world: &World) -> u64 {
    let mut through = 0;
    loop {
        let taken = world.store.take_up_resumed().await.unwrap();
        through += taken.through;
        if !taken.more {
            return through;
        }
    }
}

async fn id_of(world: &World, run: RunId) -> NotificationId {
    let sql = "SELECT notification_id FROM notifications WHERE run_id = $1";
    NotificationId(world.sql.query_one(sql, &[&run.0]).await.unwrap().get(0))
}

async fn set_aside(world: &World, chunk: ChunkId) -> bool {
    let sql = "SELECT due_at = expires_at AND NOT outstanding FROM chunks WHERE run_id = $1 AND chunk = $2";
    world.sql.query_one(sql, &[&chunk.run.0, &(chunk.number as i32)]).await.unwrap().get(0)
}

#[tokio::test]
async fn what_is_set_aside_in_its_last_minute_goes_on_after_the_resume() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    let chunk = world.chunk(&["u1"]).await;
    let id = id_of(&world, chunk.run).await;
    world.sql.batch_execute("UPDATE chunks SET expires_at = now() + interval '50 seconds'").await.unwrap();
    assert_eq!(pause(&world, id).await, Steered::Done);
    pass(&world).await;
    assert_eq!(due(&world).await, 0);
    assert!(set_aside(&world, chunk).await);
    assert_eq!(resume(&world, id).await, Steered::Done);
    assert_eq!((take_up(&world).await, due(&world).await), (1, 1));
}

#[tokio::test]
async fn a_paused_chunk_is_neither_published_nor_granted_and_goes_on_after_the_resume() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    let chunk = world.chunk(&["u1"]).await;
    let id = id_of(&world, chunk.run).await;
    assert_eq!((pause(&world, id).await, pause(&world, id).await), (Steered::Done, Steered::Done), "twice is fine");
    assert_eq!(state(&world, id).await, (State::Paused, Some(1)));
    pass(&world).await;
    assert_eq!(due(&world).await, 0);
    assert!(set_aside(&world, chunk).await, "looked at when it expires");
    assert_eq!(world.claim(chunk).await, None);
    assert_eq!((resume(&world, id).await, resume(&world, id).await), (Steered::Done, Steered::Done), "twice is fine");
    assert_eq!(due(&world).await, 0, "not before it is taken up");
    assert_eq!(take_up(&world).await, 1);
    assert_eq!(take_up(&world).await, 0, "once");
    assert_eq!(due(&world).await, 1);
    let grant = world.claim(chunk).await.expect("it goes on");
    world.report(chunk, grant.lease, vec![sent(0)], true).await;
    assert_eq!(state(&world, id).await, (State::Finished, Some(0)));
}

#[tokio::test]
async fn a_copy_that_meets_a_pause_gives_its_credit_back() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    let chunk = world.chunk(&["u1"]).await;
    pause(&world, id_of(&world, chunk.run).await).await;
    assert!(!set_aside(&world, chunk).await, "it lies in a queue");
    assert_eq!(world.claim(chunk).await, None);
    assert!(set_aside(&world, chunk).await);
}

#[tokio::test]
async fn a_copy_that_meets_a_pause_at_the_moment_of_its_end_is_not_spent_in_vain() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    let chunk = world.chunk(&["u1"]).await;
    let id = id_of(&world, chunk.run).await;
    pause(&world, id).await;
    // Somebody changes the notification: whether it is paused a moment later cannot be known.
    world.sql.batch_execute("BEGIN; UPDATE notifications SET reference = 'r'").await.unwrap();
    assert_eq!(world.claim(chunk).await, None);
    world.sql.batch_execute("COMMIT").await.unwrap();
    resume(&world, id).await;
    world.store.take_up_resumed().await.unwrap();
    assert_eq!(due(&world).await, 1, "published again at once");
}

#[tokio::test]
async fn who_sends_when_it_is_paused_starts_nothing_more_and_keeps_the_chunk_until_all_is_told() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    world.device("u1", "d2").await;
    let chunk = world.chunk(&["u1"]).await;
    let id = id_of(&world, chunk.run).await;
    let grant = world.claim(chunk).await.unwrap();
    pause(&world, id).await;
    world.sql.batch_execute("UPDATE chunks SET lease_until = now() + interval '100 ms'").await.unwrap();
    let told = world.report(chunk, grant.lease, vec![], false).await;
    assert_eq!(told.answers[0], Continue::Stop);
    let left = "SELECT lease_until > now() + interval '4 s' AND due_at > lease_until FROM chunks";
    assert!(world.sql.query_one(left, &[]).await.unwrap().get::<_, bool>(0), "its requests under way are its own");
    // Resumed while a request is under way: nobody else sends it meanwhile.
    resume(&world, id).await;
    take_up(&world).await;
    assert_eq!((due(&world).await, world.claim(chunk).await), (0, None));
    world.report(chunk, grant.lease, vec![sent(1)], true).await;
    assert_eq!(due(&world).await, 1);
    assert_eq!(world.claim(chunk).await.unwrap().positions, [(0, 0)]);
}

#[tokio::test]
async fn what_is_given_back_during_a_pause_waits_for_the_resume() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    let chunk = world.chunk(&["u1"]).await;
    let id = id_of(&world, chunk.run).await;
    let grant = world.claim(chunk).await.unwrap();
    pause(&world, id).await;
    world.report(chunk, grant.lease, vec![], true).await;
    assert!(set_aside(&world, chunk).await);
    resume(&world, id).await;
    world.store.take_up_resumed().await.unwrap();
    assert_eq!(due(&world).await, 1);
}

#[tokio::test]
async fn a_deferred_chunk_keeps_its_time_across_a_pause() {
    let world = World::new().await;
    let run = world.waiting_chunks((world.tenant.0, world.app.0), 2, 0).await;
    let id = NotificationId(run.0);
    // The second one was deferred for ten minutes.
    let deferred = "UPDATE chunks SET not_before = decode('58020000', 'hex'), due_at = expires_at WHERE chunk = 1";
    world.sql.batch_execute(deferred).await.unwrap();
    pause(&world, id).await;
    let take = async || world.store.due_chunks(Platform::Apns, Lane::Bulk, 100, 50).await.unwrap();
    assert!(take().await.is_empty());
    resume(&world, id).await;
    world.store.take_up_resumed().await.unwrap();
    let due = take().await;
    assert_eq!(due.iter().map(|c| c.chunk.number).collect::<Vec<_>>(), [0]);
    let sql = "SELECT extract(epoch FROM due_at - run_started_at)::float8 FROM chunks WHERE chunk = 1";
    let later: f64 = world.sql.query_one(sql, &[]).await.unwrap().get(0);
    assert!((599.0..=601.0).contains(&later), "{later}");
}

#[tokio::test]
async fn a_paused_backlog_hides_nobody_else_and_is_taken_up_in_pages() {
    let world = World::new().await;
    let run = world.waiting_chunks((world.tenant.0, world.app.0), 2_500, 600).await;
    let other = world.other_tenant("other").await;
    pause(&world, NotificationId(run.0)).await;
    world.waiting_chunks(other, 3, 10).await;
    let take = async |limit| world.store.due_chunks(Platform::Apns, Lane::Bulk, 5_000, limit).await.unwrap().len();
    assert_eq!(take(50).await, 3);
    while world.sql.query_one("SELECT count(*) FROM chunks WHERE due_at <= now()", &[]).await.unwrap().get::<_, i64>(0)
        > 0
    {
        assert_eq!(take(50).await, 0);
    }
    resume(&world, NotificationId(run.0)).await;
    let mut pages = 0;
    for left in [1_500, 500, 0] {
        let taken = world.store.take_up_resumed().await.unwrap();
        assert_eq!((taken.more, taken.through), (left > 0, u64::from(left == 0)), "a page a look");
        let aside = "SELECT count(*) FROM chunks WHERE due_at = expires_at";
        assert_eq!(world.sql.query_one(aside, &[]).await.unwrap().get::<_, i64>(0), left);
        pages += 1;
    }
    assert_eq!((pages, take(5_000).await), (3, 2_500));
}

#[tokio::test]
async fn a_large_resume_leaves_a_small_one_its_share_and_what_stays_aside_does_not_stop_it() {
    let world = World::new().await;
    let large = world.waiting_chunks((world.tenant.0, world.app.0), 1_200, 600).await;
    let small = world.waiting_chunks((world.tenant.0, world.app.0), 2, 600).await;
    // Nobody survived sending the large one's first chunks: they have nothing to do before they expire.
    let aside = "UPDATE chunks SET due_at = expires_at, not_before = CASE WHEN run_id = $1 AND chunk < 1100 THEN decode('ffffffff', 'hex') ELSE '' END";
    world.sql.execute(aside, &[&large.0]).await.unwrap();
    let resumed =
        "UPDATE notifications SET resumed_at = now() + CASE WHEN run_id = $1 THEN 0 ELSE 1 END * interval '1 ms'";
    world.sql.execute(resumed, &[&large.0]).await.unwrap();
    let taken = world.store.take_up_resumed().await.unwrap();
    assert_eq!((taken.more, taken.through), (true, 1), "the small one is through");
    let mut looks = 1;
    while world.store.take_up_resumed().await.unwrap().more {
        looks += 1;
        assert!(looks < 10, "what stays aside is looked at again and again");
    }
    let due = "SELECT count(*) FILTER (WHERE run_id = $1), count(*) FILTER (WHERE run_id = $2) FROM chunks WHERE due_at <= now()";
    let due = world.sql.query_one(due, &[&large.0, &small.0]).await.unwrap();
    assert_eq!((due.get::<_, i64>(0), due.get::<_, i64>(1)), (100, 2));
}

#[tokio::test]
async fn what_expired_while_it_was_paused_is_looked_at_once_and_closed() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    let chunk = world.chunk(&["u1"]).await;
    pause(&world, id_of(&world, chunk.run).await).await;
    let expired =
        "UPDATE chunks SET expires_at = now() - interval '30 s', due_at = now() - interval '30 s', outstanding = false";
    world.sql.batch_execute(expired).await.unwrap();
    assert_eq!(due(&world).await, 0);
    let still = "SELECT count(*) FROM chunks WHERE due_at <= now()";
    assert_eq!(
        world.sql.query_one(still, &[]).await.unwrap().get::<_, i64>(0),
        0,
        "the scan does not meet it at once again"
    );
    assert!(world.store.close_expired(0).await.unwrap().is_empty(), "a dispatcher may still report");
    world.sql.batch_execute("UPDATE chunks SET expires_at = now() - interval '61 s'").await.unwrap();
    assert_eq!(world.store.close_expired(0).await.unwrap(), [chunk.run], "whenever it is due");
}

#[tokio::test]
async fn what_is_paused_before_its_time_waits_for_it_after_the_resume_or_is_sent_at_once() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for hours in [1, 2] {
        let mut new = world.notification(NotificationId(Uuid::now_v7()));
        new.scheduled_at = Some(Timestamp::now() + SignedDuration::from_hours(hours));
        ids.push(new.notification_id);
        world.store.accept_group(&[new]).await.unwrap();
    }
    for id in &ids {
        assert_eq!((pause(&world, *id).await, state(&world, *id).await), (Steered::Done, (State::Paused, None)));
    }
    // The first one's time comes while it is paused.
    let sql = "UPDATE notifications SET scheduled_at = now() - interval '1 minute', due_at = now() WHERE notification_id = $1";
    world.sql.execute(sql, &[&ids[0].0]).await.unwrap();
    assert!(world.store.due_notifications(10).await.unwrap().is_empty());
    let (expansion, runs) = world.store.expand(&ids).await.unwrap();
    assert!(runs.is_empty(), "a wake-up that comes all the same starts nothing");
    expansion.abandon().await.unwrap();
    let looked = world.store.due_paused(10).await.unwrap();
    assert_eq!(looked.iter().map(|d| d.notification_id).collect::<Vec<_>>(), [ids[0]]);
    world.store.look_later(&looked[0], looked[0].now + SignedDuration::from_hours(1)).await.unwrap();
    assert!(world.store.due_paused(10).await.unwrap().is_empty());
    for id in &ids {
        assert_eq!(resume(&world, *id).await, Steered::Done);
    }
    assert_eq!((state(&world, ids[0]).await.0, state(&world, ids[1]).await.0), (State::Sending, State::Scheduled));
    let due = world.store.due_notifications(10).await.unwrap();
    assert_eq!(due.iter().map(|d| d.notification_id).collect::<Vec<_>>(), [ids[0]]);
    let kept = "SELECT due_at = scheduled_at FROM notifications WHERE notification_id = $1";
    assert!(world.sql.query_one(kept, &[&ids[1].0]).await.unwrap().get::<_, bool>(0));
}

#[tokio::test]
async fn a_walk_that_is_paused_goes_on_from_its_cursor() {
    let world = World::new().await;
    let id = world.accept().await;
    let page = async |epoch: i32, cursor: &str| {
        let (expansion, runs) = world.store.expand(&[id]).await.unwrap();
        assert_eq!(runs[0].epoch, epoch);
        let page = crate::finishing::empty(&world, id, expansion.now(), cursor.is_empty());
        let cursor = Some(cursor.to_owned()).filter(|c| !c.is_empty());
        expansion.commit(vec![carillon_store::Page { cursor, persons: 1, ..page }], 0).await.unwrap();
    };
    page(0, "u:b").await;
    pause(&world, id).await;
    let (expansion, runs) = world.store.expand(&[id]).await.unwrap();
    assert!(runs.is_empty(), "it stops");
    expansion.abandon().await.unwrap();
    resume(&world, id).await;
    let due = world.store.due_notifications(10).await.unwrap();
    assert_eq!((due.len(), due[0].epoch), (1, 3), "woken at once");
    let (expansion, runs) = world.store.expand(&[id]).await.unwrap();
    assert_eq!((runs[0].cursor.as_deref(), runs[0].next_person), (Some("u:b"), 1));
    expansion.abandon().await.unwrap();
    page(3, "").await;
    assert_eq!(state(&world, id).await.0, State::Finished);
}

#[tokio::test]
async fn what_expires_during_a_pause_is_closed_and_ends_by_itself() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    let chunk = world.chunk(&["u1"]).await;
    let id = id_of(&world, chunk.run).await;
    pause(&world, id).await;
    assert!(world.store.due_paused(10).await.unwrap().is_empty(), "due when it expires");
    world.sql.batch_execute("UPDATE chunks SET expires_at = now() - interval '2 min', due_at = now()").await.unwrap();
    world
        .sql
        .batch_execute("UPDATE notifications SET expires_at = now() - interval '2 min', due_at = now()")
        .await
        .unwrap();
    let looked = world.store.due_paused(10).await.unwrap();
    world.store.let_expire(&looked[0]).await.unwrap();
    assert_eq!(take_up(&world).await, 1);
    assert_eq!(due(&world).await, 1, "a dispatcher closes it, or the housekeeping");
    world.sql.batch_execute("UPDATE chunks SET due_at = now()").await.unwrap();
    assert_eq!(world.store.close_expired(0).await.unwrap(), [chunk.run]);
    world.store.finish_runs(&[chunk.run]).await.unwrap();
    assert_eq!(state(&world, id).await, (State::Finished, Some(0)));
}

#[tokio::test]
async fn another_tenants_notification_is_like_none() {
    let world = World::new().await;
    let id = world.accept().await;
    let stranger = carillon_domain::ids::TenantKey(world.tenant.0 + 1);
    assert_eq!(world.store.pause_notification(stranger, id, None).await.unwrap(), Steered::Absent);
    assert_eq!(world.store.resume_notification(stranger, id, None).await.unwrap(), Steered::Absent);
    let other = ["other".to_owned()];
    assert_eq!(world.store.pause_notification(world.tenant, id, Some(&other)).await.unwrap(), Steered::Absent);
}

#[tokio::test]
async fn whoever_pauses_resumes_claims_and_scans_at_once_nothing_is_left_aside() {
    let world = Arc::new(World::new().await);
    for d in 0..40 {
        world.device(&format!("u{d}"), &format!("d{d}")).await;
    }
    let mut chunks = Vec::new();
    let id = {
        let run = world.waiting_chunks((world.tenant.0, world.app.0), 40, 0).await;
        chunks.extend((0..40).map(|number| ChunkId { run, number }));
        NotificationId(run.0)
    };
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..4usize {
        let (world, chunks) = (Arc::clone(&world), chunks.clone());
        tasks.spawn(async move {
            for round in 0..60 {
                match worker {
                    0 => drop(pause(&world, id).await),
                    1 => {
                        resume(&world, id).await;
                        world.store.take_up_resumed().await.unwrap();
                    }
                    2 => drop(world.store.due_chunks(Platform::Apns, Lane::Bulk, 1_000, 10).await.unwrap()),
                    _ => {
                        let chunk = chunks[round % chunks.len()];
                        if let Some(grant) = world.claim(chunk).await {
                            world.report(chunk, grant.lease, vec![], true).await;
                        }
                    }
                }
            }
        });
    }
    tasks.join_all().await;
    resume(&world, id).await;
    world.store.take_up_resumed().await.unwrap();
    let aside = "SELECT count(*) FROM chunks WHERE due_at = expires_at";
    assert_eq!(world.sql.query_one(aside, &[]).await.unwrap().get::<_, i64>(0), 0);
}
