//! Conditions asked of real rows.

use crate::world::World;
use carillon_domain::condition::Condition;
use carillon_domain::ids::{DeviceKey, NotificationId};
use carillon_store::Narrowing;
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What devices bring along: name, and columns that differ from those of the others.
const DEVICES: &[(&str, &str)] = &[
    (
        "ann",
        "platform = 1, os = 1, permission = 1, tags = '{vip,it''s}', attributes = '{\"age\": 31, \"city\": \"Lodz\", \"pro\": true}', locale = 'pl-PL', app_version = '4.10.0'",
    ),
    (
        "bob",
        "platform = 2, os = 2, permission = 2, tags = '{}', attributes = '{\"age\": \"31\", \"city\": \"Żory\", \"pro\": false}', locale = 'de', app_version = '4.9.1', user_id = 'u-17'",
    ),
    (
        "cas",
        "platform = 3, os = 3, permission = 3, tags = '{VIP}', attributes = '{\"age\": 17.5, \"trial ends\": \"2026-12-01T10:00:00.25+01:00\"}', timezone = 'Europe/Warsaw', app_version = '4.10', os_version = '10.0.19041'",
    ),
    (
        "dan",
        "platform = 1, os = 4, attributes = '{\"trial ends\": \"2026-02-31T00:00:00Z\", \"big\": 12345678901234567890.5}', app_version = '4.10.0-beta.2', os_version = 'seven'",
    ),
    (
        "eve",
        "platform = 1, os = 5, app_version = 'v5', last_seen_at = '2026-01-01T00:00:00Z', registered_at = '2025-01-01T00:00:00Z', last_sent_at = '2026-01-02T00:00:00Z'",
    ),
];

/// Now, in these tests.
const NOW: &str = "2026-11-22T12:00:00Z";

struct Asking {
    world: World,
    names: BTreeMap<DeviceKey, &'static str>,
    now: Timestamp,
}

impl Asking {
    async fn new() -> Self {
        let world = World::new().await;
        let mut names = BTreeMap::new();
        for (name, columns) in DEVICES {
            world.device(name, name).await;
            let seen = "last_seen_at = '2026-11-22T11:00:00Z', registered_at = '2026-11-01T00:00:00Z', app_version = NULL, locale = NULL,
                        timezone = NULL, os_version = NULL, user_id = NULL, last_sent_at = NULL, tags = '{}', attributes = '{}', state_at = '2026-11-01T00:00:00Z'";
            let set = format!("UPDATE devices SET {seen} WHERE device = $1");
            world.sql.execute(&set, &[name]).await.unwrap();
            let set = format!("UPDATE devices SET {columns} WHERE device = $1 RETURNING device_key");
            let row = world.sql.query_one(&set, &[name]).await.unwrap();
            names.insert(DeviceKey(row.get(0)), *name);
        }
        Self { world, names, now: NOW.parse().unwrap() }
    }

    /// Names of the devices that a condition is true of, by both ways of asking.
    async fn ask(&self, text: &str) -> String {
        let condition = Condition::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let (expansion, _) = self.world.store.expand(&[NotificationId(Uuid::now_v7())]).await.unwrap();
        let keys: Vec<DeviceKey> = self.names.keys().copied().collect();
        let meeting = expansion.meeting(&keys, &condition, self.now).await.unwrap_or_else(|e| panic!("{text}: {e}"));
        let narrowing = Narrowing { platforms: &[], os: &[], condition: Some(&condition), began: self.now };
        let page = expansion.page(self.world.app, None, narrowing, 100).await.unwrap_or_else(|e| panic!("{text}: {e}"));
        expansion.abandon().await.unwrap();
        let name = |key: &DeviceKey| self.names[key];
        let (one, other): (BTreeSet<_>, BTreeSet<_>) =
            (meeting.iter().map(name).collect(), page.devices.iter().map(|device| name(&device.key)).collect());
        assert_eq!(one, other, "{text}");
        one.into_iter().collect::<Vec<_>>().join(" ")
    }
}

/// Conditions with those that they are true of.
const CASES: &[(&str, &str)] = &[
    ("tags has 'vip'", "ann"),
    ("tags has 'it''s'", "ann"),
    ("not tags has 'vip'", "bob cas dan eve"),
    ("platform = 'apns'", "ann dan eve"),
    ("platform != 'apns'", "bob cas"),
    ("os in ['ios', 'web']", "ann cas"),
    ("permission = 'denied'", "bob"),
    ("platform exists", "ann bob cas dan eve"),
    ("locale = 'de'", "bob"),
    ("locale != 'de'", "ann"),
    ("not locale = 'de'", "ann cas dan eve"),
    ("locale starts_with 'pl'", "ann"),
    ("locale contains 'PL'", "ann"),
    ("locale in ['de', 'fr']", "bob"),
    ("locale < 'e'", "bob"),
    ("locale exists", "ann bob"),
    ("user_id = 'u-17'", "bob"),
    ("timezone = 'Europe/Warsaw'", "cas"),
    // Kinds are told apart, and what is not there is compared with nothing.
    ("attributes.age = 31", "ann"),
    ("attributes.age = 31.0", "ann"),
    ("attributes.age = '31'", "bob"),
    ("attributes.age != 31", "cas"),
    ("not attributes.age = 31", "bob cas dan eve"),
    ("attributes.age < 18", "cas"),
    ("attributes.age >= 17.5", "ann cas"),
    ("attributes.age in [31, '31']", "ann bob"),
    ("attributes.age exists", "ann bob cas"),
    ("not attributes.age exists", "dan eve"),
    ("attributes.city starts_with 'Ż'", "bob"),
    ("attributes.city contains 'od'", "ann"),
    ("attributes.city > 'Z'", "bob"),
    ("attributes.city in ['Lodz', 'Wien']", "ann"),
    ("attributes.city contains '%'", ""),
    ("attributes.pro = true", "ann"),
    ("attributes.pro != true", "bob"),
    ("attributes.big = 12345678901234567890.5", "dan"),
    ("attributes.big = 12345678901234567891", ""),
    ("attributes.'trial ends' < 2026-12-01T09:00:01Z", "cas"),
    ("attributes.'trial ends' = 2026-12-01T09:00:00.25Z", "cas"),
    ("attributes.'trial ends' > now() + 8d", "cas"),
    ("attributes.'trial ends' > now() + 9d", ""),
    ("attributes.city < now()", ""),
    ("attributes.'; DROP TABLE devices' = ''' OR true --'", ""),
    // As versions, not as texts.
    ("app_version > '4.9.1'", "ann cas dan eve"),
    ("app_version = '4.10'", "ann cas"),
    ("app_version in ['4.10.0.0', '5']", "ann cas eve"),
    ("app_version < '4.10'", "bob dan"),
    ("app_version > '4.10.0-beta.1'", "ann cas dan eve"),
    ("app_version != '5.0.0'", "ann bob cas dan"),
    ("app_version starts_with '4.1'", "ann cas dan"),
    ("os_version >= '10'", "cas"),
    ("os_version < '10'", ""),
    ("os_version exists", "cas dan"),
    // Times.
    ("last_seen_at < 2026-06-01T00:00:00Z", "eve"),
    ("last_seen_at > 0000-01-01T00:00:00Z and last_seen_at < 9999-12-30T00:00:00Z", "ann bob cas dan eve"),
    ("last_seen_at >= now() - 1h", "ann bob cas dan"),
    ("last_seen_at > now() - 1h", ""),
    ("registered_at < '2026-01-01T00:00:00Z'", "eve"),
    ("last_sent_at exists", "eve"),
    ("last_sent_at > now() - 52w", "eve"),
    ("not last_sent_at > now() - 1d", "ann bob cas dan eve"),
    // Together.
    ("tags has 'vip' or platform = 'fcm' and locale = 'fr'", "ann"),
    ("(tags has 'vip' or platform = 'fcm') and not locale = 'de'", "ann"),
    ("not (locale = 'de' or locale = 'pl-PL')", "cas dan eve"),
];

#[tokio::test]
async fn a_condition_is_true_of_the_devices_that_it_says() {
    let asking = Asking::new().await;
    for (text, expected) in CASES {
        assert_eq!(asking.ask(text).await, *expected, "{text}");
    }
}

/// A condition with those that it must be true of, by the truth of its terms.
fn made() -> impl Strategy<Value = (String, BTreeSet<&'static str>)> {
    let everybody: BTreeSet<&str> = DEVICES.iter().map(|(name, _)| *name).collect();
    let term = prop::sample::select(CASES.to_vec())
        .prop_map(|(text, names)| (format!("({text})"), names.split_whitespace().collect::<BTreeSet<_>>()));
    term.prop_recursive(3, 12, 3, move |inner| {
        let everybody = everybody.clone();
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|((a, of_a), (b, of_b))| (format!("({a} and {b})"), &of_a & &of_b)),
            (inner.clone(), inner.clone()).prop_map(|((a, of_a), (b, of_b))| (format!("({a} or {b})"), &of_a | &of_b)),
            inner.prop_map(move |(a, of_a)| (format!("(not {a})"), &everybody - &of_a)),
        ]
    })
}

#[tokio::test]
async fn whatever_is_joined_is_true_where_its_parts_say_so() {
    let asking = Asking::new().await;
    let mut runner = TestRunner::deterministic();
    for _ in 0..100 {
        let (text, expected) = made().new_tree(&mut runner).unwrap().current();
        assert_eq!(asking.ask(&text).await, expected.into_iter().collect::<Vec<_>>().join(" "), "{text}");
    }
}

#[tokio::test]
async fn a_rare_tag_is_found_page_by_page() {
    let world = World::new().await;
    for i in 0..90 {
        world.device(&format!("u{i:02}"), &format!("d{i:02}")).await;
    }
    world.sql.execute("UPDATE devices SET tags = '{vip}' WHERE device IN ('d03', 'd77')", &[]).await.unwrap();
    let condition = Condition::parse("tags has 'vip'").unwrap();
    let (expansion, _) = world.store.expand(&[NotificationId(Uuid::now_v7())]).await.unwrap();
    let narrowing = Narrowing { platforms: &[], os: &[], condition: Some(&condition), began: Timestamp::now() };
    let (mut cursor, mut found, mut empty) = (None, Vec::new(), 0);
    loop {
        let page = expansion.page(world.app, cursor.as_deref(), narrowing, 5).await.unwrap();
        empty += usize::from(page.devices.is_empty());
        found.extend(page.devices.into_iter().map(|device| device.device));
        if page.last {
            break;
        }
        cursor = page.cursor;
    }
    assert_eq!(found, ["d03", "d77"]);
    assert!(empty >= 2, "each statement is bounded, and so some find nobody: {empty}");
}
