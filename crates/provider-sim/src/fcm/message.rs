//! What FCM refuses beyond the shape (references `fcm/rest/v1/projects.messages` and `fcm/rest/v1/ErrorCode`).

use serde_json::{Map, Value};

use super::error::Violation;
use super::schema::{self, duration};
use super::shape::REQUEST;

/// Most bytes of what a message carries; half of it for a topic.
const MOST_BYTES: usize = 4096;
const MOST_BYTES_TOPIC: usize = 2048;
/// Longest time to live in milliseconds: four weeks.
const LONGEST_TTL: u64 = 2_419_200_000;
/// Most characters of an analytics label.
const MOST_LABEL: usize = 50;

/// A request whose shape and contents are in order.
#[derive(Debug)]
pub(crate) struct Sound {
    pub(crate) validate_only: bool,
    /// Token or fid; nothing for a topic or condition.
    pub(crate) token: Option<String>,
}

/// The target as far as it can be read from any body, for the ledger.
pub(crate) fn target(body: &Value) -> &str {
    let message = body.get("message");
    ["token", "fid", "topic", "condition"].iter().find_map(|name| message?.get(*name)?.as_str()).unwrap_or_default()
}

/// Checks a whole body.
pub(crate) fn check(body: Value) -> Result<Sound, Vec<Violation>> {
    let mut found = Vec::new();
    let Value::Object(body) = body else {
        return Err(vec![Violation::new("", "Invalid JSON payload received. Root element must be a message.")]);
    };
    let body = schema::read(body, REQUEST, &mut found);
    if !found.is_empty() {
        return Err(found);
    }
    let Some(message) = body.get("message").and_then(Value::as_object) else {
        return Err(vec![Violation::new("message", "Message is not set.")]);
    };
    let token = check_target(message, &mut found);
    check_data(message, &mut found);
    check_android(message, &mut found);
    check_links(message, &mut found);
    check_size(message, &mut found);
    if !found.is_empty() {
        return Err(found);
    }
    let validate_only = body.get("validate_only").and_then(Value::as_bool).unwrap_or(false);
    Ok(Sound { validate_only, token })
}

fn check_target(message: &Map<String, Value>, found: &mut Vec<Violation>) -> Option<String> {
    let text = |name: &str| message.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let named: Vec<&str> =
        ["token", "fid", "topic", "condition"].into_iter().filter(|name| text(name).is_some()).collect();
    match named.as_slice() {
        [] => found.push(Violation::new("message", "Recipient of the message is not set.")),
        [one] => {
            if let ("topic", Some(topic)) = (*one, text("topic"))
                && !topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte))
            {
                found.push(Violation::new("message.topic", "Malformed topic name"));
            }
        }
        _ => found.push(Violation::new("message", "Invalid value (oneof), oneof field 'target' is already set.")),
    }
    let token = text("token").or_else(|| text("fid"))?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_:.~%+/=".contains(&byte);
    if token.len() > 4096 || !token.bytes().all(fits) {
        let text = "The registration token is not a valid FCM registration token";
        found.push(Violation::new("message.token", text));
    }
    Some(token.to_owned())
}

fn check_data(message: &Map<String, Value>, found: &mut Vec<Violation>) {
    for place in ["data", "android.data", "android_v2.data", "webpush.data"] {
        let mut path = place.split('.');
        let first = path.next().and_then(|name| message.get(name));
        let data = path.next().map_or(first, |name| first.and_then(|value| value.get(name)));
        for name in data.and_then(Value::as_object).into_iter().flat_map(Map::keys) {
            let reserved =
                name == "from" || name == "message_type" || name.starts_with("google") || name.starts_with("gcm");
            if reserved {
                found.push(Violation::new(format!("message.{place}"), format!("Invalid data payload key: {name}")));
            }
        }
    }
}

fn check_android(message: &Map<String, Value>, found: &mut Vec<Violation>) {
    if message.contains_key("android") && message.contains_key("android_v2") {
        let text = "android and android_v2 are mutually exclusive.";
        found.push(Violation::new("message.android_v2", text));
    }
    for name in ["android", "android_v2"] {
        let Some(android) = message.get(name) else { continue };
        let ttl = android.get("ttl").and_then(Value::as_str).and_then(duration);
        if ttl.is_some_and(|ttl| ttl > LONGEST_TTL) {
            let text = "TTL must be between 0 and 2419200 seconds.";
            found.push(Violation::new(format!("message.{name}.ttl"), text));
        }
        let notification = android.get("notification").or_else(|| android.pointer("/remote_notification/notification"));
        let color = notification.and_then(|notification| notification.get("color")).and_then(Value::as_str);
        if color.is_some_and(|color| !is_color(color)) {
            found.push(Violation::new(format!("message.{name}.notification.color"), "Invalid color: #rrggbb."));
        }
        if android.get("background_sync").is_some() && android.get("remote_notification").is_some() {
            found.push(Violation::new(
                "message.android_v2",
                "background_sync and remote_notification exclude each other.",
            ));
        }
    }
}

fn check_links(message: &Map<String, Value>, found: &mut Vec<Violation>) {
    let link = message.get("webpush").and_then(|webpush| webpush.pointer("/fcm_options/link")).and_then(Value::as_str);
    if link.is_some_and(|link| !link.starts_with("https://")) {
        found.push(Violation::new("message.webpush.fcm_options.link", "Only https links."));
    }
    let fits = |label: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte);
        label.len() <= MOST_LABEL && label.bytes().all(known)
    };
    let owners = ["android", "android_v2", "apns", "webpush"].into_iter().filter_map(|name| message.get(name));
    let options = owners.map(|owner| owner.get("fcm_options")).chain([message.get("fcm_options")]);
    for label in options.filter_map(|options| options?.get("analytics_label")?.as_str()) {
        if !fits(label) {
            found.push(Violation::new("message.fcm_options", "Invalid analytics label."));
        }
    }
}

/// What travels to one platform may not exceed the limit, keys and values counted.
fn check_size(message: &Map<String, Value>, found: &mut Vec<Violation>) {
    let topic = message.contains_key("topic") || message.contains_key("condition");
    let most = if topic { MOST_BYTES_TOPIC } else { MOST_BYTES };
    let at = |path: &str| {
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        let value = message.get(first);
        if rest.is_empty() { value } else { value.and_then(|value| value.pointer(&format!("/{rest}"))) }
    };
    let weigh = |paths: &[&str]| paths.iter().filter_map(|path| at(path)).map(weight).sum::<usize>();
    let data = |own: &str| if at(own).is_some() { weigh(&[own]) } else { weigh(&["data"]) };
    let android = data("android/data") + weigh(&["notification", "android/notification"]);
    let android_v2 = data("android_v2/data") + weigh(&["notification", "android_v2/remote_notification"]);
    let apns = weigh(&["data", "notification", "apns/payload"]);
    let webpush = data("webpush/data") + weigh(&["notification", "webpush/notification"]);
    if [android, android_v2, apns, webpush].into_iter().any(|bytes| bytes > most) {
        found.push(Violation::new("message", "Message is too big."));
    }
}

fn weight(value: &Value) -> usize {
    match value {
        Value::Object(object) => object.iter().map(|(name, value)| name.len() + weight(value)).sum(),
        Value::Array(list) => list.iter().map(weight).sum(),
        Value::String(text) => text.len(),
        other => other.to_string().len(),
    }
}

fn is_color(color: &str) -> bool {
    color.len() == 7
        && color.strip_prefix('#').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
