//! What holds for any content.

use super::{facts, reference, values, with};
use crate::json::{Json, Object, Writer};
use crate::locale::Texts;
use crate::{Address, Splice, Template, Values, apns, fcm, render, webpush};
use carillon_domain::content::{Button, Content, JsonText, Open, Overrides};
use carillon_domain::notification::Notification;
use carillon_domain::platform::Platform;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Any text, and often one made of what could break JSON or be taken for a splice point.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\"".to_owned()),
        Just("\\".to_owned()),
        Just("\\u0022".to_owned()),
        Just("\u{0}".to_owned()),
        Just("\u{1f}\n\t\u{7f}".to_owned()),
        Just("\u{2028}é🔔".to_owned()),
        Just("\",\"r\":\"".to_owned()),
        Just("‹device›".to_owned()),
        Just("phone-1".to_owned()),
        any::<String>(),
    ];
    vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((text(), inner), 0..4).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

prop_compose! {
    fn content()(
        title in proptest::option::of(text()), subtitle in proptest::option::of(text()), body in proptest::option::of(text()),
        image in proptest::option::of(text()), sound in proptest::option::of(text()), captions in vec(text(), 0..3),
        screen in proptest::option::of(text()), data in proptest::collection::btree_map(text(), any_value(), 0..4),
        silent in proptest::bool::weighted(0.2),
    ) -> Content {
        let button = |(i, title): (usize, String)| Button { id: format!("b{i}"), title, open: None };
        let data = data.into_iter().filter(|(key, _)| key != "carillon");
        Content {
            title, subtitle, body, image, sound, silent,
            open: screen.map(Open::Screen),
            buttons: captions.into_iter().enumerate().map(button).collect(),
            data: data.map(|(key, value)| (key, JsonText(value.to_string()))).collect(),
            ..Default::default()
        }
    }
}

fn parsed(text: &JsonText) -> Value {
    serde_json::from_str(&text.0).unwrap()
}

fn same(found: Option<&Value>, expected: Option<&str>) -> bool {
    found.map(|v| v.as_str().unwrap()) == expected
}

/// The reserved object says what it should, wherever it stands.
fn reserved_is_right(carillon: &Value, content: &Content) -> bool {
    let text = String::from_utf8(reference().to_text().to_vec()).unwrap();
    let captions: Vec<_> = content.buttons.iter().map(|b| b.title.as_str()).collect();
    let found: Vec<_> =
        carillon["buttons"].as_array().into_iter().flatten().map(|b| b["title"].as_str().unwrap()).collect();
    let screen = match &content.open {
        Some(Open::Screen(screen)) => Some(screen.as_str()),
        _ => None,
    };
    carillon["d"] == "phone-1"
        && carillon["r"] == text.as_str()
        && carillon["n"] == super::ID.0.to_string().as_str()
        && found == captions
        && same(carillon.get("open").and_then(|o| o.get("screen")), screen)
}

/// The tree with values where splice points were: what rendering with the values from the start would write.
fn fill(json: Json, values: &Values<'_>) -> Json {
    let text = |splice| String::from_utf8(values.parts(splice).concat()).unwrap();
    match json {
        Json::Spliced(splice, end) => Json::Text(text(splice) + end),
        Json::Embedded(inner) => Json::Embedded(Box::new(fill(*inner, values))),
        Json::List(items) => Json::List(items.into_iter().map(|item| fill(item, values)).collect()),
        Json::Object(object) => Json::Object(fill_members(object, values)),
        other => other,
    }
}

fn fill_members(object: Object, values: &Values<'_>) -> Object {
    Object(object.0.into_iter().map(|(key, value)| (key, fill(value, values))).collect())
}

fn written_at_once(n: &Notification, platform: Platform, values: &Values<'_>, name: &str, token: &str) -> Template {
    let texts = Texts::of(&n.draft().content, None, None);
    let mut writer = Writer::default();
    let object = match platform {
        Platform::Apns => fill_members(apns::root(n, &texts, &facts()).unwrap(), values),
        Platform::Webpush => fill_members(webpush::body(n, &texts, &facts()).unwrap(), values),
        Platform::Fcm => {
            let mut message = fill_members(fcm::message(n, &texts, &facts()).unwrap(), values);
            message.0.insert(0, (name.to_owned(), Json::text(token)));
            Object(vec![("message".to_owned(), Json::Object(message))])
        }
    };
    writer.value(&Json::Object(object));
    writer.finish()
}

/// RFC 7396, section 2, on plain values.
fn merged(target: &Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut target = target.as_object().cloned().unwrap_or_default();
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            target.insert(key.clone(), merged(target.get(key).unwrap_or(&Value::Null), value));
        }
    }
    Value::Object(target)
}

/// Patches that often meet what is there.
fn patch() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        Just("aps".to_owned()),
        Just("alert".to_owned()),
        Just("title".to_owned()),
        Just("data".to_owned()),
        Just("image".to_owned()),
        text(),
    ];
    let leaf = prop_oneof![Just(Value::Null), text().prop_map(Value::from), any_value()];
    let object = leaf.prop_recursive(3, 24, 4, move |inner| {
        vec((name.clone(), inner), 0..4).prop_map(|members| Value::Object(members.into_iter().collect()))
    });
    object.prop_filter("an object without the reserved key", |p| p.is_object() && p.get("carillon").is_none())
}

proptest! {
    #[test]
    fn apns_carries_any_texts_and_data_unchanged(content in content()) {
        let body = super::body(&with(content.clone()), Platform::Apns, None);
        prop_assert!(reserved_is_right(&body["carillon"], &content));
        prop_assert!(same(body.get("image"), content.image.as_deref()));
        if content.silent {
            prop_assert_eq!(&body["aps"], &json!({"content-available": 1}));
        } else {
            let alert = &body["aps"]["alert"];
            prop_assert!(same(alert.get("title"), content.title.as_deref()));
            prop_assert!(same(alert.get("subtitle"), content.subtitle.as_deref()));
            prop_assert!(same(alert.get("body"), content.body.as_deref()));
            prop_assert!(same(body["aps"].get("sound"), content.sound.as_deref()));
        }
        for (key, value) in &content.data {
            prop_assert_eq!(&body["data"][key], &parsed(value));
        }
    }

    #[test]
    fn webpush_carries_any_texts_and_data_unchanged(content in content()) {
        let body = super::body(&with(content.clone()), Platform::Webpush, None);
        prop_assert!(reserved_is_right(&body["carillon"], &content));
        if !content.silent {
            prop_assert!(same(body.get("title"), content.title.as_deref()));
            prop_assert!(content.body.as_deref().is_none_or(|text| body["body"].as_str().unwrap().ends_with(text)));
        }
        for (key, value) in &content.data {
            prop_assert_eq!(&body["data"][key], &parsed(value));
        }
    }

    #[test]
    fn fcm_carries_any_texts_unchanged_and_all_data_as_strings(content in content()) {
        let message = &super::body(&with(content.clone()), Platform::Fcm, None)["message"];
        prop_assert_eq!(&message["token"], "dQw4w9:APA91b-_x");
        prop_assert_eq!(&message["android"]["ttl"], "3600s");
        let carillon: Value = serde_json::from_str(message["data"]["carillon"].as_str().unwrap()).unwrap();
        prop_assert!(reserved_is_right(&carillon, &content));
        prop_assert_eq!(message.get("notification").is_none(), content.silent);
        if !content.silent {
            prop_assert!(same(message["notification"].get("title"), content.title.as_deref()));
        }
        for (key, value) in &content.data {
            let found = message["data"][key].as_str().unwrap();
            match parsed(value) {
                Value::String(text) => prop_assert_eq!(found, text),
                _ => prop_assert_eq!(found, &value.0),
            }
        }
    }

    #[test]
    fn splicing_gives_what_rendering_with_the_values_gives(
        content in content(), device in "[A-Za-z0-9._:@+-]{1,128}", token in "[A-Za-z0-9_:.=%~-]{16,200}", ttl in any::<u32>(), fid in any::<bool>(),
    ) {
        let n = with(content);
        let (address, name) = if fid { (Address::Installation(&token), "fid") } else { (Address::Token(&token), "token") };
        let values = Values::new(address, &device, reference(), ttl);
        let mut buffer = b"before".to_vec();
        for platform in Platform::ALL {
            let template = render(&n, *platform, None, &facts()).unwrap();
            let rendered = template.render(&values);
            prop_assert_eq!(rendered.len(), template.rendered_len(&values));
            let at_once = written_at_once(&n, *platform, &values, name, &token);
            prop_assert!(at_once.splices().is_empty());
            prop_assert_eq!(&rendered[..], &at_once.bytes()[..]);
            let again = Template::new(template.bytes().clone(), template.splices().to_vec()).unwrap();
            buffer.truncate(6);
            again.render_into(&values, &mut buffer);
            prop_assert_eq!(&buffer[6..], &rendered[..]);
        }
    }

    #[test]
    fn any_overrides_merge_as_rfc_7396_says(content in content(), patch in patch()) {
        let text = JsonText(patch.to_string());
        let patch = parsed(&text);
        for platform in [Platform::Apns, Platform::Webpush] {
            let before = super::body(&with(content.clone()), platform, None);
            let overrides = Overrides { apns: Some(text.clone()), webpush: Some(text.clone()), ..Default::default() };
            let after = super::body(&with(Content { overrides, ..content.clone() }), platform, None);
            prop_assert_eq!(after, merged(&before, &patch));
        }
    }

    #[test]
    fn no_overrides_make_it_panic(patch in prop_oneof![text(), any_value().prop_map(|v| v.to_string())]) {
        let text = Some(JsonText(patch));
        let overrides = Overrides { apns: text.clone(), fcm: text.clone(), webpush: text };
        for platform in Platform::ALL {
            let n = with(Content { overrides: overrides.clone(), ..super::hello() });
            if let Ok(template) = render(&n, *platform, None, &facts()) {
                prop_assert!(serde_json::from_slice::<Value>(&template.render(&values())).is_ok());
                prop_assert!(template.splices().iter().any(|(_, s)| *s == Splice::Reference));
            }
        }
    }
}
