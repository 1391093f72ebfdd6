//! What a device would make of a push: the shape of the reserved key `carillon` and of what stands beside it. No provider
//! looks at these, so a breach never changes an answer; it is written down.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use crate::ledger::Identity;

/// The reserved key.
pub(crate) const KEY: &str = "carillon";
/// Most characters of the opaque reference.
const MOST_REFERENCE: usize = 48;

/// Reads what makes the message this message, whatever else is wrong with it.
pub(crate) fn identity(carillon: Option<&Value>) -> Identity<'static> {
    let Some(carillon) = carillon else { return Identity::default() };
    Identity {
        notification: carillon.get("n").and_then(Value::as_str).map(|text| Cow::Owned(text.to_owned())),
        link: carillon.get("l").and_then(Value::as_i64).unwrap_or(0),
        index: None,
    }
}

/// The reserved key of an FCM message: JSON text in `data.carillon`, which `android.data` replaces as a whole.
pub(crate) fn of_fcm(message: &Value) -> Option<Value> {
    let text =
        ["/android/data", "/androidV2/data", "/data"].iter().find_map(|place| message.pointer(place))?.get(KEY)?;
    text.as_str().and_then(|text| serde_json::from_str(text).ok())
}

/// An APNs payload.
pub(crate) fn check_apns(payload: &Value, silent: bool) -> Vec<String> {
    let mut found = Vec::new();
    let Some(payload) = payload.as_object() else { return found };
    let Some(carillon) = payload.get(KEY) else { return found };
    check_key(carillon, &mut found);
    let aps = payload.get("aps").and_then(Value::as_object);
    let of_aps = |name: &str| aps.and_then(|aps| aps.get(name));
    if silent {
        if ["alert", "sound", "badge"].iter().any(|name| of_aps(name).is_some()) {
            found.push("a silent push shows something".to_owned());
        }
    } else if of_aps("mutable-content").and_then(Value::as_i64) != Some(1) {
        found.push("aps.mutable-content is not 1".to_owned());
    }
    if carillon.get("buttons").is_some() && !of_aps("category").is_some_and(Value::is_string) {
        found.push("buttons without aps.category".to_owned());
    }
    if payload.get("data").is_some_and(|data| !data.is_object()) {
        found.push("data is not an object".to_owned());
    }
    check_image(payload.get("image"), &mut found);
    found
}

/// An FCM message.
pub(crate) fn check_fcm(message: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let places = ["/android/data", "/androidV2/data", "/data"];
    let Some(text) = places.iter().find_map(|place| message.pointer(place)).and_then(|data| data.get(KEY)) else {
        return found;
    };
    match text.as_str().map(serde_json::from_str::<Value>) {
        Some(Ok(carillon)) => check_key(&carillon, &mut found),
        _ => found.push("data.carillon is not JSON text".to_owned()),
    }
    for place in ["/notification/image", "/android/notification/image", "/data/image"] {
        check_image(message.pointer(place), &mut found);
    }
    found
}

/// A decrypted Web Push body.
pub(crate) fn check_webpush(body: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let Some(body) = body.as_object() else {
        return vec!["the body is not a JSON object".to_owned()];
    };
    let known = ["title", "body", "icon", "image", "badge", "tag", "actions", "data", KEY];
    for name in body.keys().filter(|name| !known.contains(&name.as_str())) {
        found.push(format!("unknown field {}", clip(name)));
    }
    // The Notifications API has a picture there, the contract also the number on the app's icon.
    if body.get("badge").is_some_and(|badge| !badge.is_string() && !badge.is_u64()) {
        found.push("badge is neither a string nor a number".to_owned());
    }
    for name in ["title", "body", "icon", "tag"] {
        if body.get(name).is_some_and(|value| !value.is_string()) {
            found.push(format!("{name} is not a string"));
        }
    }
    if body.get("data").is_some_and(|data| !data.is_object()) {
        found.push("data is not an object".to_owned());
    }
    check_image(body.get("image"), &mut found);
    if let Some(actions) = body.get("actions") {
        check_actions(actions, body.get(KEY), &mut found);
    }
    match body.get(KEY) {
        Some(carillon) => check_key(carillon, &mut found),
        None => found.push("no carillon key".to_owned()),
    }
    found
}

fn check_actions(actions: &Value, carillon: Option<&Value>, found: &mut Vec<String>) {
    let Some(actions) = actions.as_array() else {
        found.push("actions is not a list".to_owned());
        return;
    };
    let buttons = carillon.and_then(|carillon| carillon.get("buttons")).and_then(Value::as_array);
    for action in actions {
        let name = action.get("action").and_then(Value::as_str);
        let whole = action.as_object().is_some_and(|action| {
            action.get("title").is_some_and(Value::is_string)
                && action.keys().all(|name| ["action", "title", "icon"].contains(&name.as_str()))
        });
        if name.is_none() || !whole {
            found.push("an action is not {action, title, icon}".to_owned());
        } else if !buttons
            .is_some_and(|buttons| buttons.iter().any(|button| button.get("id").and_then(Value::as_str) == name))
        {
            found.push("an action is no button".to_owned());
        }
    }
}

fn check_key(carillon: &Value, found: &mut Vec<String>) {
    let Some(key) = carillon.as_object() else {
        found.push("carillon is not an object".to_owned());
        return;
    };
    let known = ["v", "n", "r", "d", "l", "open", "buttons", "kind", "topic", "exp"];
    for name in key.keys().filter(|name| !known.contains(&name.as_str())) {
        found.push(format!("unknown field carillon.{}", clip(name)));
    }
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let mut demand = |holds: bool, what: &str| {
        if !holds {
            found.push(format!("carillon.{what}"));
        }
    };
    demand(key.get("v").and_then(Value::as_i64) == Some(1), "v is not 1");
    demand(text("n").is_some_and(|id| Uuid::try_parse(id).is_ok()), "n is not a UUID");
    let reference = text("r").map_or(0, |reference| reference.chars().count());
    demand((1..=MOST_REFERENCE).contains(&reference), "r is not text of at most 48 characters");
    demand(text("d").is_some_and(is_device), "d is not a device id");
    demand(key.get("l").and_then(Value::as_i64).is_some_and(|link| link >= 0), "l is not a link number");
    let kinds = ["transactional", "marketing", "service"];
    demand(!key.contains_key("kind") || text("kind").is_some_and(|kind| kinds.contains(&kind)), "kind is not a kind");
    demand(!key.contains_key("topic") || text("topic").is_some_and(is_name), "topic is not a topic id");
    demand(key.get("exp").is_none_or(is_time), "exp is not a time");
    demand(key.get("open").is_none_or(is_target), "open is not {url, as} or {screen}");
    demand(key.get("buttons").is_none_or(are_buttons), "buttons is not a list of {id, title, open}");
}

fn is_device(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:@+-".contains(&byte))
}

fn is_name(id: &str) -> bool {
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=63).contains(&id.len())
        && id.bytes().next().is_some_and(lower)
        && id.bytes().all(|byte| lower(byte) || byte == b'_' || byte == b'-')
}

fn is_time(exp: &Value) -> bool {
    exp.as_i64().is_some_and(|seconds| seconds > 0)
        || exp.as_str().is_some_and(|text| text.parse::<Timestamp>().is_ok())
}

fn is_target(open: &Value) -> bool {
    let Some(open) = open.as_object() else { return false };
    let known = open.keys().all(|name| ["url", "as", "screen"].contains(&name.as_str()));
    let how = open.get("as").map(|how| how.as_str().is_some_and(|how| how == "browser" || how == "webview"));
    let filled = |name: &str| open.get(name).map(|value| value.as_str().is_some_and(|text| !text.is_empty()));
    known
        && match (filled("url"), filled("screen")) {
            (Some(url), None) => url && how != Some(false),
            (None, Some(screen)) => screen && how.is_none(),
            _ => false,
        }
}

fn are_buttons(buttons: &Value) -> bool {
    let Some(buttons) = buttons.as_array().filter(|buttons| !buttons.is_empty()) else { return false };
    let mut ids = Vec::new();
    buttons.iter().all(|button| {
        let Some(button) = button.as_object() else { return false };
        let filled = |name: &str| button.get(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        let fresh = !ids.contains(&button.get("id"));
        ids.push(button.get("id"));
        fresh
            && filled("id")
            && filled("title")
            && button.get("open").is_none_or(is_target)
            && button.keys().all(|name| ["id", "title", "open"].contains(&name.as_str()))
    })
}

fn check_image(image: Option<&Value>, found: &mut Vec<String>) {
    if let Some(image) = image
        && !image.as_str().is_some_and(|url| url.starts_with("https://"))
    {
        found.push("image is not an https URL".to_owned());
    }
}

fn clip(name: &str) -> String {
    name.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key() -> Value {
        json!({"v": 1, "n": "0190b0a8-0000-7000-8000-000000000001", "r": "ref", "d": "d1", "l": 0})
    }

    fn with(name: &str, value: Value) -> Vec<String> {
        let mut key = key();
        key[name] = value;
        check_apns(&json!({"aps": {"alert": "x", "mutable-content": 1, "category": "c"}, "carillon": key}), false)
    }

    #[test]
    fn the_contract_shape_has_no_violation() {
        assert_eq!(with("v", json!(1)), Vec::<String>::new());
        assert_eq!(with("open", json!({"url": "https://a.example/", "as": "webview"})), Vec::<String>::new());
        assert_eq!(with("open", json!({"screen": "cart"})), Vec::<String>::new());
        let buttons =
            json!([{"id": "buy", "title": "Buy", "open": {"screen": "cart"}}, {"id": "later", "title": "Later"}]);
        assert_eq!(with("buttons", buttons), Vec::<String>::new());
        assert_eq!(with("kind", json!("marketing")), Vec::<String>::new());
        assert_eq!(with("exp", json!(1_800_000_000)), Vec::<String>::new());
    }

    #[test]
    fn every_breach_of_the_reserved_key_is_named() {
        for (name, value) in [
            ("v", json!(2)),
            ("n", json!("no-uuid")),
            ("r", json!("x".repeat(49))),
            ("d", json!(7)),
            ("l", json!("0")),
            ("kind", json!("urgent")),
            ("topic", json!("News")),
            ("exp", json!(false)),
            ("open", json!({"url": "https://a.example/", "screen": "cart"})),
            ("open", json!({"screen": "cart", "as": "browser"})),
            ("buttons", json!([])),
            ("buttons", json!([{"id": "a", "title": "A"}, {"id": "a", "title": "B"}])),
            ("extra", json!(1)),
        ] {
            assert_eq!(with(name, value.clone()).len(), 1, "{name} {value}");
        }
    }

    #[test]
    fn a_silent_push_must_show_nothing() {
        let payload = json!({"aps": {"content-available": 1, "badge": 1}, "carillon": key()});
        assert_eq!(check_apns(&payload, true).len(), 1);
        let payload = json!({"aps": {"content-available": 1}, "carillon": key()});
        assert!(check_apns(&payload, true).is_empty());
    }

    #[test]
    fn a_web_push_body_holds_nothing_else() {
        let body = json!({"title": "x", "body": "y", "vibrate": [1], "carillon": key()});
        assert_eq!(check_webpush(&body), ["unknown field vibrate"]);
        assert_eq!(check_webpush(&json!({"title": "x"})), ["no carillon key"]);
    }

    #[test]
    fn the_fcm_key_is_json_text() {
        let good = json!({"data": {"carillon": key().to_string(), "order": "17"}});
        assert!(check_fcm(&good).is_empty());
        assert!(of_fcm(&good).is_some());
        assert_eq!(check_fcm(&json!({"data": {"carillon": "{"}})).len(), 1);
    }
}
