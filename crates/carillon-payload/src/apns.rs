//! APNs: the payload of a request (providers page, section 1).

use crate::error::PayloadError;
use crate::json::{Json, Object};
use crate::locale::Texts;
use crate::overrides::{self, Rules};
use crate::render::{Facts, object_of_data};
use crate::reserved;
use carillon_domain::content::{Content, InterruptionLevel};
use carillon_domain::notification::Notification;
use uuid::Uuid;

pub(crate) const RULES: Rules =
    Rules { pointer: "/content/overrides/apns", reserved: &[&[reserved::KEY]], name: overrides::as_written };

/// `{aps, image?, data?, carillon}` with the overrides merged into the root.
pub(crate) fn root(n: &Notification, texts: &Texts<'_>, facts: &Facts<'_>) -> Result<Object, PayloadError> {
    let content = &n.draft().content;
    let mut root = Object::default();
    root.put("aps", Json::Object(if content.silent { silent(content) } else { shown(content, texts) }));
    // For the service extension, which fetches it.
    root.put_text("image", texts.image);
    if !content.data.is_empty() {
        root.put("data", object_of_data(content)?);
    }
    root.put(reserved::KEY, reserved::object(n, texts, facts));
    overrides::merge(&mut root, overrides::read(content.overrides.apns.as_ref(), &RULES)?);
    Ok(root)
}

/// A background notification holds nothing that the person would notice; one with a badge is sent as an alert (see
/// [`crate::delivery`]) and may.
fn silent(content: &Content) -> Object {
    let mut aps = Object::default();
    aps.put("content-available", Json::Number(1));
    if let Some(badge) = content.badge {
        aps.put("badge", Json::Number(badge.into()));
    }
    aps
}

fn shown(content: &Content, texts: &Texts<'_>) -> Object {
    let mut alert = Object::default();
    alert.put_text("title", texts.title);
    alert.put_text("subtitle", texts.subtitle);
    alert.put_text("body", texts.body);
    let mut aps = Object::default();
    aps.put("alert", Json::Object(alert));
    if let Some(badge) = content.badge {
        aps.put("badge", Json::Number(badge.into()));
    }
    if let Some(name) = &content.sound {
        aps.put("sound", sound(name, content.interruption_level));
    }
    aps.put_text("thread-id", content.thread.as_deref());
    if !content.buttons.is_empty() {
        aps.put("category", Json::Text(category(content, texts)));
    }
    // The service extension reports `delivered`, fetches the image and registers the buttons.
    aps.put("mutable-content", Json::Number(1));
    aps.put_text("interruption-level", content.interruption_level.map(|level| level.as_str()));
    aps
}

/// Only a sound that is marked as critical plays through the mute switch.
fn sound(name: &str, level: Option<InterruptionLevel>) -> Json {
    if level != Some(InterruptionLevel::Critical) {
        return Json::text(name);
    }
    let mut sound = Object::default();
    sound.put("critical", Json::Number(1));
    sound.put_text("name", Some(name));
    sound.put("volume", Json::Number(1));
    Json::Object(sound)
}

/// The name of a set of buttons: equal for equal ids and captions in the same order, on every day and every replica, so that
/// the app registers each set once.
fn category(content: &Content, texts: &Texts<'_>) -> String {
    let set: String =
        content.buttons.iter().zip(&texts.captions).map(|(b, caption)| format!("{}\0{caption}\0", b.id)).collect();
    let hash = Uuid::new_v5(&Uuid::nil(), set.as_bytes()).simple().to_string();
    format!("{}.{}", reserved::KEY, &hash[..12])
}
