//! FCM HTTP v1: the body of `messages:send` (providers page, section 2).
//!
//! Names are those of Google's discovery document for the API, `lowerCamelCase`; overrides may use the `snake_case` of the
//! reference pages and meet the same fields. The system shows the notification, so what only the SDK can show (buttons)
//! travels in the reserved key alone.

use crate::delivery::{collapse_key, own_id};
use crate::error::{PayloadError, Problem};
use crate::json::{Json, Object, Writer};
use crate::locale::Texts;
use crate::overrides::{self, Rules, lower_camel, pointer_to};
use crate::render::Facts;
use crate::reserved;
use crate::template::Splice;
use carillon_domain::content::{Content, InterruptionLevel, escape_pointer};
use carillon_domain::notification::{Notification, Priority};

pub(crate) const RULES: Rules = Rules {
    pointer: "/content/overrides/fcm",
    reserved: &[
        &["token"],
        &["fid"],
        &["topic"],
        &["condition"],
        &["data", reserved::KEY],
        // Data of one platform replace the message's, and the reserved key with them.
        &["android", "data"],
        &["androidV2", "data"],
    ],
    name: field_name,
};

/// Objects whose names are the caller's and not fields of the API.
const OPEN_MAPS: [&[&str]; 5] =
    [&["data"], &["apns", "headers"], &["apns", "payload"], &["webpush", "headers"], &["webpush", "notification"]];

fn field_name(path: &[String], key: &str) -> String {
    let within = |map: &&[&str]| path.len() >= map.len() && map.iter().zip(path).all(|(a, b)| a == b);
    let open = OPEN_MAPS.iter().any(within) || matches!(path, [_, data] if data == "data");
    if open { key.to_owned() } else { lower_camel(key).into_owned() }
}

/// `{"message":{<target>,...}}`: the target stands first, as a splice point with its name.
pub(crate) fn write(message: &Object, writer: &mut Writer) {
    writer.bytes(br#"{"message":{"#);
    writer.splice(Splice::Token);
    if !message.0.is_empty() {
        writer.bytes(b",");
    }
    writer.members(message);
    writer.bytes(b"}}");
}

/// The members of `message` without its target, with the overrides merged in.
pub(crate) fn message(n: &Notification, texts: &Texts<'_>, facts: &Facts<'_>) -> Result<Object, PayloadError> {
    let content = &n.draft().content;
    let mut message = Object::default();
    if content.is_shown() {
        let mut notification = Object::default();
        notification.put_text("title", texts.title);
        notification.put_text("body", texts.body_after_subtitle().as_deref());
        notification.put_text("image", texts.image);
        message.put("notification", Json::Object(notification));
    }
    message.put("android", Json::Object(android(n, facts)));
    let mut data = data(content)?;
    data.put(reserved::KEY, Json::Embedded(Box::new(reserved::object(n, texts, facts))));
    message.put("data", Json::Object(data));
    overrides::merge(&mut message, patch(content)?);
    Ok(message)
}

fn android(n: &Notification, facts: &Facts<'_>) -> Object {
    let content = &n.draft().content;
    let mut android = Object::default();
    let priority = if n.priority() == Priority::High { "HIGH" } else { "NORMAL" };
    android.put_text("priority", Some(priority));
    android.put("ttl", Json::Spliced(Splice::TtlSeconds, "s"));
    // Never one of ours: a phone keeps four collapse keys, and they belong to the caller.
    android.put_text("collapseKey", collapse_key(n));
    if content.is_shown() {
        android.put("notification", Json::Object(android_notification(n, facts)));
    }
    android
}

fn android_notification(n: &Notification, facts: &Facts<'_>) -> Object {
    let content = &n.draft().content;
    let mut shown = Object::default();
    // A repeated copy replaces the first on the screen.
    shown.put_text("tag", Some(collapse_key(n).unwrap_or(&own_id(facts))));
    shown.put_text("channelId", content.android_channel.as_deref());
    shown.put_text("sound", content.sound.as_deref());
    if let Some(badge) = content.badge {
        shown.put("notificationCount", Json::Number(badge.into()));
    }
    shown.put_text("notificationPriority", content.interruption_level.map(notification_priority));
    shown
}

/// Android's nearest, for versions without channels; since Android 8 the channel decides.
fn notification_priority(level: InterruptionLevel) -> &'static str {
    match level {
        InterruptionLevel::Passive => "PRIORITY_LOW",
        InterruptionLevel::Active => "PRIORITY_DEFAULT",
        InterruptionLevel::TimeSensitive => "PRIORITY_HIGH",
        InterruptionLevel::Critical => "PRIORITY_MAX",
    }
}

/// All values of FCM's data are strings: a string as itself, anything else as the text of its JSON.
fn data(content: &Content) -> Result<Object, PayloadError> {
    let mut data = Object::default();
    for (key, value) in &content.data {
        let text = if value.0.trim_start().starts_with('"') {
            serde_json::from_str::<String>(&value.0).ok()
        } else {
            serde_json::from_str::<&serde_json::value::RawValue>(&value.0).ok().map(|raw| raw.get().to_owned())
        };
        let at = || PayloadError::new(format!("/content/data/{}", escape_pointer(key)), Problem::NotJson);
        data.put(key, Json::Text(text.ok_or_else(at)?));
    }
    Ok(data)
}

/// The overrides, whose `data` FCM would refuse unless all of it is strings.
pub(crate) fn patch(content: &Content) -> Result<Object, PayloadError> {
    let patch = overrides::read(content.overrides.fcm.as_ref(), &RULES)?;
    match patch.get("data") {
        None => {}
        Some(Json::Object(data)) => {
            for (key, value) in &data.0 {
                if !matches!(value, Json::Raw(raw) if raw.starts_with('"') || raw == "null") {
                    let pointer = pointer_to(&RULES, &["data".to_owned(), key.clone()]);
                    return Err(PayloadError::new(pointer, Problem::NotAString));
                }
            }
        }
        // Null would take the reserved key away with the rest.
        Some(_) => return Err(PayloadError::new(format!("{}/data", RULES.pointer), Problem::NotAnObject)),
    }
    Ok(patch)
}
