use super::*;
use carillon_domain::content::Open;
use carillon_domain::fault::ErrorCode;
use serde_json::{Value, json};

fn now() -> Timestamp {
    "2026-11-21T00:00:00Z".parse().unwrap()
}

fn pointers(body: Value) -> Vec<String> {
    match read(body.to_string().as_bytes(), now()).and_then(|sent| sent.notification.late.map_or(Ok(()), Err)) {
        Ok(()) => Vec::new(),
        Err(refusal) => refusal.faults.into_iter().map(|fault| fault.pointer).collect(),
    }
}

fn hello() -> Value {
    json!({"app": "shop", "to": {"users": ["u1"]}, "content": {"title": "Hello"}})
}

/// `hello` with one field set.
fn with(pointer: &str, value: Value) -> Value {
    let mut body = hello();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let mut at = &mut body;
    for key in parent.split('/').skip(1) {
        at = at.as_object_mut().unwrap().entry(key).or_insert_with(|| json!({}));
    }
    at[name] = value;
    body
}

#[test]
fn every_field_of_the_contract_is_read() {
    let body = json!({
        "app": "shop", "reference": "order-17", "metadata": {"team": "orders"}, "dry_run": true,
        "to": {"devices": ["d1"], "users": ["u-17"], "phones": ["+48 501 502 503"], "all": true,
               "platforms": ["apns", "fcm"], "os": ["ios"], "where": "tags has 'vip' and attributes.age >= 18"},
        "deliver": "primary_device", "kind": "marketing",
        "content": {"title": "T", "subtitle": "S", "body": "B", "image": "https://x/y.png", "sound": "default", "badge": 3,
            "thread": "t", "android_channel": "c", "interruption_level": "time-sensitive",
            "open": {"url": "https://x", "as": "webview"},
            "buttons": [{"id": "buy", "title": "Buy", "open": {"screen": "cart"}}],
            "data": {"n": 12345678901234567890u64, "o": {"b": [1, null]}}, "silent": false,
            "localized": {"pl": {"title": "Tytuł", "buttons": {"buy": "Kup"}}},
            "overrides": {"apns": {"aps": {"badge": null}}, "fcm": {}, "webpush": {}}},
        "options": {"ttl": "4w", "priority": "normal", "collapse_key": "k"},
        "schedule": {"at": "2026-12-01T09:00:00Z"},
        "cascade": [{"unless": "read", "within": "30m",
                     "then": {"sms": {"from": "SHOP", "text": "Hi", "localized": {"pl": "C"}, "ttl": 3600}}}]
    });
    let sent = read(body.to_string().as_bytes(), now()).ok().unwrap();
    assert!(sent.dry_run);
    let notification = sent.notification.notification;
    let draft = notification.draft();
    assert_eq!(draft.to.phones[0].as_str(), "+48501502503");
    assert_eq!(draft.to.condition.as_ref().unwrap().as_str(), "tags has 'vip' and attributes.age >= 18");
    assert_eq!(draft.content.data[0].1.0, "12345678901234567890");
    assert_eq!(draft.content.data[1].1.0, r#"{"b":[1,null]}"#);
    assert_eq!(draft.content.localized[0].buttons, [("buy".to_owned(), "Kup".to_owned())]);
    assert_eq!(draft.content.buttons[0].open, Some(Open::Screen("cart".into())));
    assert_eq!(draft.content.overrides.apns.as_ref().unwrap().0, r#"{"aps":{"badge":null}}"#);
    assert_eq!(draft.cascade[0].sms.ttl.unwrap().0, 3600);
    assert_eq!(draft.options.ttl.unwrap().0, 2_419_200);
    assert!(notification.is_scheduled(now()));
    // What travels is what was read.
    let kept = carillon_wire::decode_body(&carillon_wire::encode_body(&notification)).unwrap();
    assert_eq!(kept, notification);
}

#[test]
fn a_bad_field_is_named_by_its_pointer() {
    for (pointer, value) in [
        ("/app", json!("Shop!")),
        ("/app", json!(null)),
        ("/reference", json!(7)),
        ("/metadata", json!([])),
        ("/metadata/team", json!(1)),
        ("/to", json!({})),
        ("/to/users", json!("u1")),
        ("/to/users/0", json!([""])),
        ("/to/devices/0", json!(["a/b"])),
        ("/to/phones/0", json!(["501502503"])),
        ("/to/platforms/0", json!(["hms"])),
        ("/to/all", json!("yes")),
        ("/to/where", json!(["vip"])),
        ("/to/where", json!("tag has 'vip'")),
        ("/to/groups", json!(["vip"])),
        ("/deliver", json!("all")),
        ("/kind", json!("spam")),
        ("/topic", json!("news")),
        ("/content/title", json!(1)),
        ("/content/body", json!("a\0b")),
        ("/content/image", json!("http://x")),
        ("/content/badge", json!(-1)),
        ("/content/badge", json!(1.5)),
        ("/content/interruption_level", json!("loud")),
        ("/content/open/url", json!("javascript:alert(1)")),
        ("/content/open/url", json!(null)),
        ("/content/buttons/0/id", json!([{"title": "T"}])),
        ("/content/data/from", json!("x")),
        ("/content/localized/pl/title", json!(1)),
        ("/content/localized/pl/colour", json!(1)),
        ("/content/localized/pl/buttons/x", json!("no such button")),
        ("/content/overrides/fcm", json!("x")),
        ("/options/ttl", json!("29d")),
        ("/options/ttl", json!(-1)),
        ("/options/priority", json!("urgent")),
        ("/options/collapse_key", json!("")),
        ("/schedule/at", json!("tomorrow")),
        ("/schedule/at", json!("2026-11-20T23:00:00Z")),
        ("/schedule/at", json!("2028-11-20T23:00:00Z")),
        ("/schedule/local", json!("2026-12-01T09:00:00")),
        ("/cascade/0/within", json!([{"unless": "read", "within": "5w", "then": {"sms": {}}}])),
        ("/cascade/0/then/push", json!([{"unless": "read", "within": "5m", "then": {"push": {}, "sms": {}}}])),
        ("/cascade/0/then/sms", json!([{"unless": "read", "within": "5m", "then": {}}])),
        ("/cascade/0/unless", json!([{"within": "5m", "then": {"sms": {}}}])),
        ("/notify_url", json!("https://x")),
        ("/nonsense", json!(1)),
    ] {
        // A list's item is set through the list.
        let list = ["/0", "/0/id", "/0/within", "/0/then/push", "/0/then/sms", "/0/unless"];
        let target = list.iter().find_map(|tail| pointer.strip_suffix(tail)).unwrap_or(pointer);
        let found = pointers(with(target, value.clone()));
        assert!(found.contains(&pointer.to_owned()), "{pointer} = {value}: {found:?}");
    }
}

#[test]
fn what_is_wrong_in_a_condition_is_told_with_its_character() {
    let refusal = read(with("/to/where", json!("tags has vip")).to_string().as_bytes(), now()).err().unwrap();
    let found: Vec<_> = refusal.faults.into_iter().map(|fault| (fault.pointer, fault.detail)).collect();
    assert_eq!(found, [("/to/where".into(), "character 10: expected a text in single quotes".into())]);
}

#[test]
fn faults_of_form_and_of_meaning_come_together_and_none_only_follows_from_another() {
    let body = json!({"app": "Shop!", "to": {"users": 7}, "content": {"title": 7}, "options": {"ttl": "9w"}});
    assert_eq!(pointers(body), ["/to/users", "/content/title", "/app", "/options/ttl"]);
}

#[test]
fn a_schedule_in_the_past_has_a_code_of_its_own() {
    let body = with("/schedule/at", json!("2026-11-20T23:00:00Z")).to_string();
    let sent = read(body.as_bytes(), now()).unwrap();
    assert_eq!(sent.notification.late.unwrap().code, Some(ErrorCode::ScheduleInPast));
    assert!(pointers(with("/schedule/at", json!("2026-11-20T23:58:00Z"))).is_empty(), "clocks differ");
}

#[test]
fn too_many_recipients_have_a_code_of_their_own() {
    let users: Vec<String> = (0..2_001).map(|n| n.to_string()).collect();
    let refusal = read(with("/to/users", json!(users)).to_string().as_bytes(), now()).err().unwrap();
    assert_eq!(refusal.code, Some(ErrorCode::TooManyRecipients));
}

#[test]
fn what_is_no_object_is_refused() {
    for body in ["", "[]", "null", "7", "{", "{\"app\": 1, \"app\": 2}"] {
        assert!(read(body.as_bytes(), now()).is_err(), "{body}");
    }
}
