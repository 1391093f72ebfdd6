//! The reserved key `carillon`: what the SDK needs, and nothing else of ours (contract, section 6, "On the device").

use crate::json::{Json, Object};
use crate::locale::Texts;
use crate::render::Facts;
use crate::template::Splice;
use carillon_domain::content::Open;
use carillon_domain::notification::Notification;

/// The reserved key, on every platform.
pub(crate) const KEY: &str = "carillon";
/// The format's version.
const VERSION: i64 = 1;

/// `{v, n, r, d, l, open?, buttons?, kind, exp}`; `exp` is in seconds since the epoch.
pub(crate) fn object(n: &Notification, texts: &Texts<'_>, facts: &Facts<'_>) -> Json {
    let content = &n.draft().content;
    let mut object = Object::default();
    object.put("v", Json::Number(VERSION));
    object.put("n", Json::text(facts.notification_id.0.to_string()));
    object.put("r", Json::Spliced(Splice::Reference, ""));
    object.put("d", Json::Spliced(Splice::Device, ""));
    object.put("l", Json::Number(facts.link.into()));
    if let Some(opened) = &content.open {
        object.put("open", open(opened));
    }
    if !content.buttons.is_empty() {
        let buttons = content.buttons.iter().zip(&texts.captions).map(|(button, caption)| {
            let mut one = Object::default();
            one.put_text("id", Some(&button.id));
            one.put_text("title", Some(caption));
            if let Some(opened) = &button.open {
                one.put("open", open(opened));
            }
            Json::Object(one)
        });
        object.put("buttons", Json::List(buttons.collect()));
    }
    object.put_text("kind", Some(n.kind().as_str()));
    object.put("exp", Json::Number(facts.expires_at.as_second()));
    Json::Object(object)
}

fn open(open: &Open) -> Json {
    let mut object = Object::default();
    match open {
        Open::Url { url, target } => {
            object.put_text("url", Some(url));
            object.put_text("as", target.map(|t| t.as_str()));
        }
        Open::Screen(screen) => object.put_text("screen", Some(screen)),
    }
    Json::Object(object)
}
