//! What is told of deliveries, and of those that wait for a credential.

use crate::world::{World, sent};
use carillon_domain::delivery_status::Reason;
use carillon_domain::ids::AppKey;
use carillon_domain::outcome::{Outcome, Progress};
use carillon_domain::person::Person;
use carillon_domain::platform::{Lane, Platform};
use carillon_store::{DeliveryId, Page, Suppressed};
use jiff::{SignedDuration, Timestamp};

#[tokio::test]
async fn a_batch_of_statuses_that_does_not_read_is_set_aside_alone() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    let chunk = world.chunk(&["u1"]).await;
    let garbage = "INSERT INTO status_batches (changes, due_at) VALUES ('nonsense', now() - interval '1 minute')";
    world.sql.execute(garbage, &[]).await.unwrap();
    let lease = world.claim(chunk).await.unwrap().lease;
    world.report(chunk, lease, vec![sent(0)], true).await;
    let batches = world.store.take_status_batches(20).await.unwrap();
    assert_eq!(batches.len(), 1, "the other one is told");
    world.store.status_batches_told(&[batches[0].id]).await.unwrap();
    let row = world.sql.query_one("SELECT count(*), bool_and(due_at = 'infinity') FROM status_batches", &[]).await;
    let row = row.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, bool>(1)), (1, true), "kept for the operator, and never due");
}

#[tokio::test]
async fn an_event_of_a_device_that_was_named_and_is_not_there_names_it() {
    let world = World::new().await;
    let id = world.accept().await;
    let (expansion, _) = world.store.expand(&[id]).await.unwrap();
    let suppressed = [("d:gone", 0), ("u:nobody", 1)].map(|(person, number)| Suppressed {
        subject: DeliveryId::person_subject(number),
        platform: None,
        person: Some(Person::from_key(person)),
        reason: Reason::NoDevice,
    });
    let now = expansion.now();
    let page = Page {
        notification_id: id,
        tenant_key: world.tenant,
        app_key: world.app,
        lane: Lane::Transactional,
        run: id.as_run(),
        run_started_at: now,
        expires_at: now + SignedDuration::from_secs(3_600),
        first_chunk: 0,
        chunks: Vec::new(),
        suppressed: suppressed.into(),
        cascades: Vec::new(),
        persons: 2,
        cursor: None,
        last: true,
        rests: false,
    };
    expansion.commit(vec![page], 0).await.unwrap();
    let changes = world.told().await;
    let told = world.store.describe_changes(&changes).await.unwrap();
    let mut named: Vec<_> = told.into_iter().flatten().map(|s| (s.device, s.user_id)).collect();
    named.sort();
    assert_eq!(named, [(None, Some("nobody".to_owned())), (Some("gone".to_owned()), None)]);
}

#[tokio::test]
async fn what_a_dispatcher_put_off_is_tried_again_soon_when_the_app_gets_a_credential() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    world.device("u2", "d2").await;
    world.device("u3", "d3").await;
    let chunk = world.chunk(&["u1", "u2", "u3"]).await;
    let granted = world.claim(chunk).await.unwrap();
    let put_off = |position, seconds| Outcome {
        progress: Progress::Deferred { not_before: Timestamp::now() + SignedDuration::from_secs(seconds), attempts: 0 },
        ..sent(position)
    };
    // The third waits because its provider asked for patience.
    world.report(chunk, granted.lease, vec![put_off(0, 60), put_off(1, 55), put_off(2, 1_800)], true).await;
    assert_eq!(world.claim(chunk).await, None);
    let other = AppKey(world.app.0 + 1);
    for (app, platform, woken) in
        [(other, Platform::Apns, 0), (world.app, Platform::Fcm, 0), (world.app, Platform::Apns, 1)]
    {
        assert_eq!(world.store.wake_held(world.tenant, app, platform).await.unwrap(), woken);
    }
    let due: f64 =
        world.sql.query_one("SELECT extract(epoch FROM due_at - now())::float8 FROM chunks", &[]).await.unwrap().get(0);
    assert!(due < 10.0, "due in {due} s");
    assert_eq!(world.claim(chunk).await.unwrap().positions, [(0, 0), (1, 0)]);
    assert_eq!(world.store.wake_held(world.tenant, world.app, Platform::Apns).await.unwrap(), 0, "it is in hand");
}
