//! Web Push: the plaintext that the service worker reads (contract, section 6, "On the device").

use crate::delivery::{collapse_key, own_id};
use crate::error::PayloadError;
use crate::json::{Json, Object};
use crate::locale::Texts;
use crate::overrides::{self, Rules};
use crate::render::{Facts, object_of_data};
use crate::reserved;
use carillon_domain::notification::Notification;

pub(crate) const RULES: Rules =
    Rules { pointer: "/content/overrides/webpush", reserved: &[&[reserved::KEY]], name: overrides::as_written };

/// `{title, body, icon, image, badge, tag, actions, data, carillon}` with the overrides merged in. `badge` is the number on
/// the app's icon, as in the request.
pub(crate) fn body(n: &Notification, texts: &Texts<'_>, facts: &Facts<'_>) -> Result<Object, PayloadError> {
    let content = &n.draft().content;
    let mut body = Object::default();
    if content.is_shown() {
        body.put_text("title", texts.title);
        body.put_text("body", texts.body_after_subtitle().as_deref());
        body.put_text("icon", facts.icon_url);
        body.put_text("image", texts.image);
    }
    if let Some(badge) = content.badge {
        body.put("badge", Json::Number(badge.into()));
    }
    if content.is_shown() {
        body.put_text("tag", Some(collapse_key(n).unwrap_or(&own_id(facts))));
    }
    if !content.buttons.is_empty() {
        let actions = content.buttons.iter().zip(&texts.captions).map(|(button, caption)| {
            let mut action = Object::default();
            action.put_text("action", Some(&button.id));
            action.put_text("title", Some(caption));
            Json::Object(action)
        });
        body.put("actions", Json::List(actions.collect()));
    }
    if !content.data.is_empty() {
        body.put("data", object_of_data(content)?);
    }
    body.put(reserved::KEY, reserved::object(n, texts, facts));
    overrides::merge(&mut body, overrides::read(content.overrides.webpush.as_ref(), &RULES)?);
    Ok(body)
}
