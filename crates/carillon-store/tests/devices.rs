//! Devices against a real PostgreSQL.

#[path = "devices/database.rs"]
mod database;
#[path = "devices/migrating.rs"]
mod migrating;
#[path = "devices/model.rs"]
mod model;

use carillon_domain::delivery_status::Reason;
use carillon_domain::device::{DeviceChange, DeviceState, Environment, Permission};
use carillon_domain::limits;
use carillon_domain::phone::Phone;
use carillon_domain::platform::{Os, Platform};
use carillon_domain::push_token::PushToken;
use carillon_store::{Cursor, Device, DeviceFilter, PageRequest, Registered, Registrar};
use database::Database;

fn apns(n: u32) -> PushToken {
    PushToken::Apns(format!("{n:064x}"))
}

fn token(n: u32) -> DeviceChange {
    DeviceChange { token: Some(apns(n)), ..Default::default() }
}

fn of_user(n: u32, user: &str) -> DeviceChange {
    DeviceChange { user_id: Some(Some(user.into())), ..token(n) }
}

async fn put(db: &Database, device: &str, change: &DeviceChange) -> Device {
    done(put_as(db, device, change, Registrar::Server).await).1
}

async fn put_as(db: &Database, device: &str, change: &DeviceChange, who: Registrar) -> Registered {
    db.store.put_device(db.tenant, db.app, device, change, who).await.expect("the database takes it")
}

fn done(registered: Registered) -> (bool, Device) {
    match registered {
        Registered::Done { created, device } => (created, *device),
        other => panic!("not done: {other:?}"),
    }
}

async fn get(db: &Database, device: &str) -> Option<Device> {
    db.store.get_device(db.tenant, db.app, device).await.expect("the database answers")
}

async fn list(db: &Database, filter: &DeviceFilter) -> Vec<Device> {
    let page = PageRequest { limit: 50, after: None };
    db.store.list_devices(db.tenant, db.app, filter, &page).await.expect("the database answers").items
}

async fn page(
    db: &Database,
    filter: &DeviceFilter,
    after: Option<Cursor<i64>>,
    limit: u32,
) -> (Option<Cursor<i64>>, Vec<String>) {
    let page = PageRequest { limit, after };
    let listed = db.store.list_devices(db.tenant, db.app, filter, &page).await.expect("the database answers");
    (listed.next, listed.items.into_iter().map(|row| row.device).collect())
}

#[tokio::test]
async fn a_registration_makes_a_device_with_all_its_fields() {
    let db = Database::new().await;
    let change = DeviceChange {
        os: Some(Os::Macos),
        environment: Some(Environment::Sandbox),
        user_id: Some(Some("u-17".into())),
        phone: Some(Some(Phone::from_e164("+48501502503"))),
        name: Some(Some("Ola's phone".into())),
        locale: Some(Some("pl-PL".into())),
        timezone: Some(Some("Europe/Warsaw".into())),
        primary: Some(true),
        permission: Some(Permission::Granted),
        tags: Some(vec!["vip".into()]),
        attributes: vec![("age".into(), Some("12345678901234567890".into())), ("city".into(), Some("\"Lodz\"".into()))],
        app_version: Some(Some("4.2.0".into())),
        os_version: Some(Some("18.1".into())),
        ..token(1)
    };
    let (created, device) = done(put_as(&db, "d1", &change, Registrar::Server).await);
    assert!(created);
    assert_eq!(get(&db, "d1").await, Some(device.clone()));
    assert_eq!((device.platform, device.os, device.environment), (Platform::Apns, Os::Macos, Environment::Sandbox));
    assert_eq!((device.user_id.as_deref(), device.name.as_deref()), (Some("u-17"), Some("Ola's phone")));
    assert_eq!(device.phone.as_ref().map(Phone::as_str), Some("+48501502503"));
    assert_eq!(device.attributes, r#"{"age": 12345678901234567890, "city": "Lodz"}"#, "numbers are kept as written");
    assert!(device.primary && device.state == DeviceState::Active && device.generation == 1);
    assert_eq!((device.tags, device.permission), (vec!["vip".to_owned()], Permission::Granted));
    assert_eq!(db.store.get_device(carillon_domain::ids::TenantKey(0), db.app, "d1").await.unwrap(), None);
    db.drop_it().await;
}

#[tokio::test]
async fn a_change_merges_and_null_clears() {
    let db = Database::new().await;
    let full = DeviceChange {
        name: Some(Some("a".into())),
        locale: Some(Some("pl".into())),
        attributes: vec![("a".into(), Some("1".into())), ("b".into(), Some("2".into()))],
        ..token(1)
    };
    let before = put(&db, "d1", &full).await;
    let change = DeviceChange {
        name: Some(None),
        attributes: vec![("a".into(), None), ("c".into(), Some("true".into()))],
        ..Default::default()
    };
    let after = put(&db, "d1", &change).await;
    assert_eq!((after.name.as_deref(), after.locale.as_deref()), (None, Some("pl")));
    assert_eq!(after.attributes, r#"{"b": 2, "c": true}"#);
    assert_eq!((after.token, after.generation, after.device_key), (before.token, before.generation, before.device_key));
    db.drop_it().await;
}

#[tokio::test]
async fn the_last_registration_takes_the_token_and_the_other_device_is_invalid() {
    let db = Database::new().await;
    let old = put(&db, "old", &token(1)).await;
    let new = put(&db, "new", &token(1)).await;
    assert_eq!(new.state, DeviceState::Active);
    let lost = get(&db, "old").await.expect("an invalid device is read");
    assert_eq!((lost.state, lost.reason), (DeviceState::Invalid, Some(Reason::TokenMoved)));
    assert_eq!(lost.device_key, old.device_key);
    let listed = list(&db, &DeviceFilter::default()).await;
    assert_eq!(listed.iter().map(|d| d.device.as_str()).collect::<Vec<_>>(), ["new"], "listed only when asked for");
    let asked = DeviceFilter { state: Some(DeviceState::Invalid), ..Default::default() };
    let listed = list(&db, &asked).await;
    assert_eq!(listed.iter().map(|d| d.device.as_str()).collect::<Vec<_>>(), ["old"]);
    db.drop_it().await;
}

#[tokio::test]
async fn registering_revives_an_invalid_device_and_nothing_else_does() {
    let db = Database::new().await;
    let first = put(&db, "old", &token(1)).await;
    put(&db, "new", &token(1)).await;
    let still = put(&db, "old", &DeviceChange { active: Some(true), ..Default::default() }).await;
    assert_eq!(still.state, DeviceState::Invalid);
    let revived = put(&db, "old", &token(2)).await;
    assert_eq!((revived.state, revived.reason), (DeviceState::Active, None));
    assert_eq!((revived.device_key, revived.generation), (first.device_key, 2));
    db.drop_it().await;
}

#[tokio::test]
async fn every_registration_of_a_token_is_a_new_generation() {
    let db = Database::new().await;
    let first = put(&db, "d1", &token(1)).await;
    let again = put(&db, "d1", &token(1)).await;
    let other = put(&db, "d1", &token(2)).await;
    assert_eq!([first.generation, again.generation, other.generation], [1, 2, 3]);
    assert!(again.registered_at > first.registered_at);
    let touched = put(&db, "d1", &DeviceChange { name: Some(Some("x".into())), ..Default::default() }).await;
    assert_eq!((touched.generation, touched.registered_at), (3, other.registered_at));
    db.drop_it().await;
}

#[tokio::test]
async fn a_device_that_changes_hands_is_forgotten_and_its_id_goes_to_a_new_row() {
    let db = Database::new().await;
    let secret_hash = [7; 32];
    let fresh = put_as(&db, "d1", &token(1), Registrar::Newcomer { secret_hash }).await;
    let anonymous = done(fresh).1;
    let ola = put(&db, "d1", &DeviceChange { primary: Some(true), ..of_user(1, "ola") }).await;
    assert_ne!(ola.device_key, anonymous.device_key);
    let jan = put(&db, "d1", &DeviceChange { user_id: Some(Some("jan".into())), ..Default::default() }).await;
    assert_ne!(jan.device_key, ola.device_key);
    assert_eq!((jan.token.clone(), jan.state), (Some(apns(1)), DeviceState::Active), "the installation is the same");
    assert!(!jan.primary, "being somebody's main device says nothing about the next person");
    let owner = db.store.device_by_secret_hash(&secret_hash).await.unwrap().expect("the installation keeps its key");
    assert_eq!(owner.device_key, jan.device_key);
    let forgotten = "state = 5 AND token IS NULL AND token_hash IS NULL AND user_id IS NULL AND secret_hash IS NULL
        AND person = 'd:d1' AND NOT is_primary AND reason = 4";
    assert_eq!(db.count(forgotten).await, 2);
    db.drop_it().await;
}

#[tokio::test]
async fn the_same_user_with_another_phone_keeps_the_device() {
    let db = Database::new().await;
    let before = put(&db, "d1", &of_user(1, "ola")).await;
    let phone = DeviceChange { phone: Some(Some(Phone::from_e164("+48501502503"))), ..Default::default() };
    assert_eq!(put(&db, "d1", &phone).await.device_key, before.device_key);
    db.drop_it().await;
}

#[tokio::test]
async fn a_person_has_one_primary_device_and_setting_it_moves_it() {
    let db = Database::new().await;
    let primary = |n| DeviceChange { primary: Some(true), ..of_user(n, "ola") };
    put(&db, "d1", &primary(1)).await;
    put(&db, "d2", &primary(2)).await;
    put(&db, "d3", &DeviceChange { primary: Some(true), ..of_user(3, "jan") }).await;
    assert!(!get(&db, "d1").await.unwrap().primary);
    assert!(get(&db, "d2").await.unwrap().primary && get(&db, "d3").await.unwrap().primary);
    put(&db, "d1", &DeviceChange { primary: Some(true), ..Default::default() }).await;
    assert!(get(&db, "d1").await.unwrap().primary && !get(&db, "d2").await.unwrap().primary);
    db.drop_it().await;
}

#[tokio::test]
async fn active_is_a_switch_of_the_device() {
    let db = Database::new().await;
    put(&db, "d1", &token(1)).await;
    let off = put(&db, "d1", &DeviceChange { active: Some(false), ..Default::default() }).await;
    assert_eq!((off.state, off.reason), (DeviceState::Inactive, Some(Reason::Inactive)));
    let registered = put(&db, "d1", &token(2)).await;
    assert_eq!(registered.state, DeviceState::Inactive, "a new token does not switch it on");
    let on = put(&db, "d1", &DeviceChange { active: Some(true), ..Default::default() }).await;
    assert_eq!((on.state, on.reason), (DeviceState::Active, None));
    db.drop_it().await;
}

#[tokio::test]
async fn forgetting_takes_token_keys_and_person_and_frees_the_id() {
    let db = Database::new().await;
    let full = DeviceChange {
        phone: Some(Some(Phone::from_e164("+48501502503"))),
        name: Some(Some("n".into())),
        tags: Some(vec!["t".into()]),
        attributes: vec![("a".into(), Some("1".into()))],
        ..of_user(1, "ola")
    };
    let before = put(&db, "d1", &full).await;
    assert!(db.store.forget_device(db.tenant, db.app, "d1").await.unwrap());
    assert!(!db.store.forget_device(db.tenant, db.app, "d1").await.unwrap(), "it is gone");
    assert_eq!(get(&db, "d1").await, None);
    let bare =
        "state = 5 AND token IS NULL AND token_hash IS NULL AND user_id IS NULL AND phone IS NULL AND name IS NULL
        AND tags = '{}' AND attributes = '{}' AND person = 'd:d1'";
    assert_eq!(db.count(bare).await, 1);
    let anew = put(&db, "d1", &token(1)).await;
    assert_ne!(anew.device_key, before.device_key);
    assert_eq!(anew.name, None);
    db.drop_it().await;
}

#[tokio::test]
async fn a_newcomer_makes_a_device_that_does_not_exist_and_no_other() {
    let db = Database::new().await;
    let newcomer = Registrar::Newcomer { secret_hash: [1; 32] };
    assert!(done(put_as(&db, "d1", &token(1), newcomer).await).0);
    let again = put_as(&db, "d1", &token(2), Registrar::Newcomer { secret_hash: [2; 32] }).await;
    assert!(matches!(again, Registered::Exists));
    assert_eq!(get(&db, "d1").await.unwrap().token, Some(apns(1)), "nothing changed");
    let moved = done(put_as(&db, "d2", &token(1), Registrar::Newcomer { secret_hash: [2; 32] }).await);
    assert!(moved.0, "with another id it is taken, and the token moves");
    assert_eq!(get(&db, "d1").await.unwrap().reason, Some(Reason::TokenMoved));
    db.drop_it().await;
}

#[tokio::test]
async fn an_installation_changes_itself_and_no_other() {
    let db = Database::new().await;
    let own = Registrar::Installation { secret_hash: [1; 32] };
    put_as(&db, "d1", &token(1), Registrar::Newcomer { secret_hash: [1; 32] }).await;
    put(&db, "d2", &token(2)).await;
    let name = DeviceChange { name: Some(Some("mine".into())), ..Default::default() };
    let (created, device) = done(put_as(&db, "d1", &name, own).await);
    assert!(!created && device.name.as_deref() == Some("mine"));
    assert!(matches!(put_as(&db, "d2", &name, own).await, Registered::Absent));
    assert!(matches!(put_as(&db, "d3", &token(3), own).await, Registered::Absent));
    db.drop_it().await;
}

#[tokio::test]
async fn what_does_not_fit_the_device_is_refused_with_its_place() {
    let db = Database::new().await;
    let pointer = |r: Registered| match r {
        Registered::Refused(faults) => faults.as_slice()[0].pointer.clone(),
        other => panic!("{other:?}"),
    };
    let no_token = DeviceChange::default();
    assert_eq!(pointer(put_as(&db, "d1", &no_token, Registrar::Server).await), "/token");
    put(&db, "d1", &token(1)).await;
    let other_platform = DeviceChange { platform: Some(Platform::Fcm), ..Default::default() };
    assert_eq!(pointer(put_as(&db, "d1", &other_platform, Registrar::Server).await), "/platform");
    let many = |from: u32| DeviceChange {
        attributes: (from..from + 40).map(|i| (format!("a{i}"), Some("1".into()))).collect(),
        ..Default::default()
    };
    put(&db, "d1", &many(0)).await;
    assert_eq!(pointer(put_as(&db, "d1", &many(40), Registrar::Server).await), "/attributes");
    assert!(matches!(put_as(&db, "d9", &no_token, Registrar::ServerUpdate).await, Registered::Absent));
    db.drop_it().await;
}

#[tokio::test]
async fn a_listing_is_narrowed_and_paged_newest_first() {
    let db = Database::new().await;
    for n in 0..5 {
        let user = if n % 2 == 0 { "even" } else { "odd" };
        let tags = if n == 4 { vec!["a".into(), "b".into()] } else { vec!["a".into()] };
        put(&db, &format!("d{n}"), &DeviceChange { tags: Some(tags), ..of_user(n, user) }).await;
    }
    let (next, first) = page(&db, &DeviceFilter::default(), None, 2).await;
    assert_eq!(first, ["d4", "d3"]);
    put(&db, "d9", &token(9)).await;
    assert_eq!(page(&db, &DeviceFilter::default(), next, 2).await.1, ["d2", "d1"], "stable while rows arrive");
    let names = |rows: Vec<Device>| rows.into_iter().map(|row| row.device).collect::<Vec<_>>();
    let even = DeviceFilter { user_id: Some("even".into()), ..Default::default() };
    assert_eq!(names(list(&db, &even).await), ["d4", "d2", "d0"]);
    let both = DeviceFilter { tags: vec!["a".into(), "b".into()], ..Default::default() };
    assert_eq!(names(list(&db, &both).await), ["d4"]);
    let fcm = DeviceFilter { platform: Some(Platform::Fcm), ..Default::default() };
    assert!(list(&db, &fcm).await.is_empty());
    db.drop_it().await;
}

#[tokio::test]
async fn a_subscription_keeps_its_keys_and_an_installation_id_is_not_a_token() {
    let db = Database::new().await;
    let subscription =
        PushToken::Webpush { endpoint: "https://push.example/1".into(), p256dh: vec![4; 65], auth: vec![9; 16] };
    let change = DeviceChange { token: Some(subscription.clone()), ..Default::default() };
    let device = put(&db, "w1", &change).await;
    assert_eq!((device.token, device.os), (Some(subscription), Os::Web));
    let text = "abcdefghijklmnopqrst".to_owned();
    put(&db, "f1", &DeviceChange { token: Some(PushToken::Fcm(text.clone())), ..Default::default() }).await;
    put(&db, "f2", &DeviceChange { token: Some(PushToken::FcmInstallation(text.clone())), ..Default::default() }).await;
    assert_eq!(get(&db, "f1").await.unwrap().token, Some(PushToken::Fcm(text.clone())));
    assert_eq!(get(&db, "f2").await.unwrap().token, Some(PushToken::FcmInstallation(text)));
    assert_eq!(get(&db, "f1").await.unwrap().state, DeviceState::Active);
    db.drop_it().await;
}

#[tokio::test]
async fn the_switch_makes_devices_inactive_without_touching_their_rows_and_gives_back_what_it_took() {
    let db = Database::new().await;
    for (n, name) in (0..4).zip(["on", "off", "dead", "heir"]) {
        put(&db, name, &token(n)).await;
    }
    put(&db, "off", &DeviceChange { active: Some(false), ..Default::default() }).await;
    put(&db, "heir", &token(2)).await;
    let rows = async || db.sql.query("SELECT xmin::text, state, reason FROM devices ORDER BY device_key", &[]).await;
    let stands = async || {
        let mut all = Vec::new();
        for name in ["on", "off", "dead"] {
            let device = db.store.get_device(db.tenant, db.app, name).await.unwrap().unwrap();
            all.push((device.state, device.reason));
        }
        all
    };
    let listed = async |state| {
        let filter = DeviceFilter { state, ..Default::default() };
        let page = PageRequest { limit: 10, after: None };
        let found = db.store.list_devices(db.tenant, db.app, &filter, &page).await.unwrap().items;
        found.into_iter().map(|d| (d.device, d.state)).collect::<Vec<_>>()
    };
    let shown = |names: &[&str], state| names.iter().map(|n| ((*n).to_owned(), state)).collect::<Vec<_>>();
    use DeviceState::{Active, Inactive, Invalid};
    let before = (stands().await, format!("{:?}", rows().await.unwrap()));
    assert_eq!(before.0, [(Active, None), (Inactive, Some(Reason::Inactive)), (Invalid, Some(Reason::TokenMoved))]);
    assert_eq!(listed(Some(Inactive)).await, shown(&["off"], Inactive));
    for switch in ["UPDATE tenants SET push_enabled = $1::bool", "UPDATE apps SET push_enabled = $1::bool"] {
        db.sql.execute(switch, &[&false]).await.unwrap();
        assert_eq!(
            stands().await,
            [
                (Inactive, Some(Reason::PushDisabled)),
                (Inactive, Some(Reason::Inactive)),
                (Invalid, Some(Reason::TokenMoved))
            ]
        );
        assert_eq!(listed(None).await, shown(&["heir", "off", "on"], Inactive));
        assert_eq!(listed(Some(Inactive)).await, shown(&["heir", "off", "on"], Inactive));
        assert_eq!(listed(Some(Active)).await, []);
        assert_eq!(listed(Some(Invalid)).await, shown(&["dead"], Invalid));
        assert_eq!(db.store.tenant_usage(db.tenant).await.unwrap().devices, 0);
        db.sql.execute(switch, &[&true]).await.unwrap();
    }
    assert_eq!((stands().await, format!("{:?}", rows().await.unwrap())), before);
    assert_eq!(listed(Some(Active)).await, shown(&["heir", "on"], Active));
    assert_eq!(db.store.tenant_usage(db.tenant).await.unwrap().devices, 2);
    db.drop_it().await;
}

#[tokio::test]
async fn a_person_has_ten_thousand_devices_at_most_and_may_go_on_changing_them() {
    let db = Database::new().await;
    let fill = "INSERT INTO devices (tenant_key, app_key, device, person, platform, os, token, token_hash, user_id)
                SELECT $1, $2, 'x' || i, 'u:guest', 1, 1, i::text, sha256(i::text::bytea), 'guest' FROM generate_series(2, $3) i";
    db.sql.execute(fill, &[&db.tenant.0, &db.app.0, &(limits::PERSON_DEVICES as i32)]).await.unwrap();
    let of = |n: u32, user: &str| DeviceChange { user_id: Some(Some(user.to_owned())), ..token(n) };
    put(&db, "last", &of(1, "guest")).await;
    let register = async |device: &str, change: &DeviceChange| {
        db.store.put_device(db.tenant, db.app, device, change, Registrar::Server).await.unwrap()
    };
    let refused = |registered: &Registered| match registered {
        Registered::Refused(faults) => faults.as_slice()[0].pointer.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&register("more", &of(2, "guest")).await), "/user_id");
    put(&db, "other", &of(3, "somebody")).await;
    assert_eq!(refused(&register("other", &of(3, "guest")).await), "/user_id", "nor by changing hands");
    put(&db, "last", &of(4, "guest")).await;
    db.sql.execute("UPDATE devices SET state = 3 WHERE device = 'x2'", &[]).await.unwrap();
    put(&db, "more", &of(2, "guest")).await;
    assert_eq!(refused(&register("x2", &of(5, "guest")).await), "/user_id", "nor by coming back");
    db.drop_it().await;
}

#[tokio::test]
async fn a_filter_that_few_devices_fit_takes_pages_that_look_at_so_many_each() {
    let db = Database::new().await;
    put(&db, "rare", &DeviceChange { tags: Some(vec!["rare".into()]), ..token(1) }).await;
    let fill = "INSERT INTO devices (tenant_key, app_key, device, person, platform, os, token, token_hash)
                SELECT $1, $2, 'x' || i, 'd:x' || i, 1, 1, i::text, sha256(i::text::bytea) FROM generate_series(1, 25000) i";
    db.sql.execute(fill, &[&db.tenant.0, &db.app.0]).await.unwrap();
    let filter = DeviceFilter { tags: vec!["rare".into()], ..Default::default() };
    let (mut after, mut found, mut pages) = (None, Vec::new(), 0);
    loop {
        let (next, names) = page(&db, &filter, after, 50).await;
        found.extend(names);
        pages += 1;
        if next.is_none() {
            break;
        }
        after = next;
    }
    assert_eq!((found, pages), (vec!["rare".to_owned()], 3));
    db.drop_it().await;
}
