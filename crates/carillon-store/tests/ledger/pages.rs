//! Pages of a broad audience against a model: whole persons, every device once, whatever is narrowed.

use crate::world::World;
use carillon_domain::ids::{AppKey, NotificationId};
use carillon_domain::platform::{Os, Platform};
use carillon_store::Narrowing;
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use std::collections::BTreeSet;
use uuid::Uuid;

/// A device: whose, which platform, which state.
type Shape = (u8, i16, i16);

fn devices() -> impl Strategy<Value = (Vec<Shape>, usize, Vec<Platform>, bool)> {
    let device = (0u8..12, 1i16..=3, prop_oneof![8 => Just(1i16), 2 => Just(2), 1 => Just(3), 1 => Just(5)]);
    let platforms = prop_oneof![3 => Just(vec![]), 1 => Just(vec![Platform::Fcm]), 1 => Just(vec![Platform::Apns, Platform::Webpush])];
    (proptest::collection::vec(device, 0..60), 1usize..9, platforms, any::<bool>())
}

async fn register(world: &World, app: i32, all: &[Shape]) -> Vec<i64> {
    let mut keys = Vec::new();
    for (person, platform, state) in all {
        // Keys that differ in case and beyond ASCII: the order is that of bytes, in no language.
        let person = format!("u:{}{person}", ["a", "B", "ä", "Z"][usize::from(*person % 4)]);
        let device = format!("d-{}", Uuid::new_v4().simple());
        let sql = "INSERT INTO devices (tenant_key, app_key, device, person, platform, os, token, token_hash, state)
                   VALUES ($1, $2, $3, $4, $5, $5, $3, sha256($3::text::bytea), $6) RETURNING device_key";
        let row = world.sql.query_one(sql, &[&world.tenant.0, &app, &device, &person, platform, state]).await.unwrap();
        keys.push(row.get(0));
    }
    keys
}

#[tokio::test]
async fn pages_bring_every_device_once_and_never_part_a_person() {
    let world = World::new().await;
    let mut runner = TestRunner::deterministic();
    for case in 0..48 {
        let (all, limit, platforms, by_os) = devices().new_tree(&mut runner).unwrap().current();
        let (_, app) = world.other_tenant(&format!("case-{case}")).await;
        let keys = register(&world, app, &all).await;
        // The same narrowing, said in one way or the other.
        let os: Vec<Os> = platforms.iter().map(|p| Os::from_number(p.number()).unwrap()).collect();
        let (narrow, narrow_os): (&[Platform], &[Os]) = if by_os { (&[], &os) } else { (&platforms, &[]) };
        let meant: BTreeSet<i64> = all
            .iter()
            .zip(&keys)
            .filter(|((_, platform, state), _)| {
                matches!(state, 1 | 2) && (platforms.is_empty() || platforms.iter().any(|p| p.number() == *platform))
            })
            .map(|(_, key)| *key)
            .collect();

        let (expansion, _) = world.store.expand(&[NotificationId(Uuid::now_v7())]).await.unwrap();
        let (mut cursor, mut seen, mut persons, mut pages) = (None, BTreeSet::new(), BTreeSet::new(), 0);
        loop {
            let narrowing = Narrowing { platforms: narrow, os: narrow_os, condition: None, began: Timestamp::now() };
            let page = expansion.page(AppKey(app), cursor.as_deref(), narrowing, limit).await.unwrap();
            let of_page: BTreeSet<String> = page.devices.iter().map(|d| d.person.key().to_owned()).collect();
            assert!(of_page.is_disjoint(&persons), "case {case}: a person is on two pages");
            assert!(of_page.iter().all(|p| cursor.as_ref() < Some(p) && Some(p) <= page.cursor.as_ref()));
            let order: Vec<_> = page.devices.iter().map(|d| (d.person.key().to_owned(), d.key)).collect();
            assert!(order.is_sorted(), "case {case}: out of order");
            assert!(page.devices.iter().all(|d| seen.insert(d.key.0)), "case {case}: a device came twice");
            assert!(
                of_page.len() == 1 || page.devices.len() <= limit * 10,
                "case {case}: a page of several persons is bounded"
            );
            persons.extend(of_page);
            pages += 1;
            assert!(pages <= 200, "case {case}: no end");
            if page.last {
                break;
            }
            assert!(page.cursor > cursor, "case {case}: no progress");
            cursor = page.cursor;
        }
        assert_eq!(seen, meant, "case {case}");
        expansion.abandon().await.unwrap();
    }
}

#[tokio::test]
async fn a_person_with_more_devices_than_a_page_is_walked_whole() {
    let world = World::new().await;
    for d in 0..25 {
        world.device("many", &format!("d{d}")).await;
    }
    world.device("next", "n").await;
    let (expansion, _) = world.store.expand(&[NotificationId(Uuid::now_v7())]).await.unwrap();
    let everybody = Narrowing { platforms: &[], os: &[], condition: None, began: Timestamp::now() };
    let page = expansion.page(world.app, None, everybody, 10).await.unwrap();
    assert_eq!((page.devices.len(), page.cursor.as_deref(), page.last), (25, Some("u:many"), false));
    let page = expansion.page(world.app, page.cursor.as_deref(), everybody, 10).await.unwrap();
    assert_eq!((page.devices.len(), page.last), (1, true));
}

#[tokio::test]
async fn who_registers_or_logs_in_while_an_audience_is_walked_is_not_in_it() {
    let world = World::new().await;
    world.device("jan", "d1").await;
    world.device("ola", "d2").await;
    let began: Timestamp = world.sql.query_one("SELECT now()", &[]).await.unwrap().get(0);
    let everybody = Narrowing { platforms: &[], os: &[], condition: None, began };
    world.device("piotr", "d3").await;
    // Who was jan is zofia from now on, with the same phone: the first of them may have been sent to already.
    world.sql.execute("UPDATE devices SET state = 5, state_at = now() WHERE device = 'd1'", &[]).await.unwrap();
    world.device("zofia", "d1").await;
    let (expansion, _) = world.store.expand(&[NotificationId(Uuid::now_v7())]).await.unwrap();
    let page = expansion.page(world.app, None, everybody, 10).await.unwrap();
    let names: Vec<_> = page.devices.iter().filter_map(|device| device.person.user_id()).collect();
    assert_eq!((names, page.last), (vec!["ola"], true));
}

#[tokio::test]
async fn a_campaign_that_rests_is_looked_at_less_and_less_often_but_never_forgotten() {
    let world = World::new().await;
    let id = world.accept().await;
    let (due, first) = (
        "UPDATE notifications SET due_at = now() - interval '1 second' WHERE notification_id = $1",
        "SELECT extract(epoch FROM due_at - now())::float8, copies FROM notifications WHERE notification_id = $1",
    );
    let mut rests = Vec::new();
    for _ in 0..6 {
        world.sql.execute(due, &[&id.0]).await.unwrap();
        assert_eq!(world.store.due_notifications(10).await.unwrap().len(), 1);
        let (expansion, rows) = world.store.expand(&[id]).await.unwrap();
        assert_eq!(rows.len(), 1);
        expansion.rest(id).await.unwrap();
        let row = world.sql.query_one(first, &[&id.0]).await.unwrap();
        let (seconds, copies): (f64, i32) = (row.get(0), row.get(1));
        assert!(copies <= 3, "a lost wake-up would be missed late: {copies} copies");
        rests.push(seconds);
    }
    let expected = [0.25, 0.5, 1.0, 2.0, 2.0, 2.0];
    assert!(rests.iter().zip(expected).all(|(rest, most)| *rest <= most && *rest > most / 2.0), "{rests:?}");
}
