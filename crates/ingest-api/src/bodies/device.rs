//! A device as JSON has it.

use super::draft::one_of;
use crate::json::{FromJson, Json, Object, escape};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use carillon_domain::device::{Change, DeviceChange, Environment, Permission};
use carillon_domain::fault::Faults;
use carillon_domain::limits;
use carillon_domain::phone::Phone;
use carillon_domain::platform::{Os, Platform};
use carillon_domain::push_token::PushToken;

/// The checks of the domain know the bounds, and say them once.
const ANY: usize = usize::MAX;
/// Browsers leave the padding out, some libraries put it in.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const KEY: &str = "must be base64url, as the browser gives it";

/// What a caller says about a device; its id stands in the path and is checked there.
#[derive(Debug)]
pub(crate) struct DeviceBody {
    /// All that can be read without asking whose device it is.
    pub(crate) change: DeviceChange,
    /// A token that came without its platform: it is of the one that the device has.
    pub(crate) bare_token: Option<String>,
}

/// A token as its platform writes it; none for platforms that register something else.
pub(crate) fn token_of(platform: Platform, text: String) -> Option<PushToken> {
    match platform {
        Platform::Apns => Some(PushToken::Apns(text.to_ascii_lowercase())),
        Platform::Fcm => Some(PushToken::Fcm(text)),
        Platform::Webpush => None,
    }
}

impl FromJson for DeviceBody {
    fn from_json(object: &mut Object<'_>) -> Option<Self> {
        let platform = object.parsed("platform", || one_of(&Platform::texts()), Platform::from_text);
        let mut bare_token = None;
        let change = DeviceChange {
            platform,
            os: object.parsed("os", || one_of(&Os::texts()), Os::from_text),
            token: token(object, platform, &mut bare_token),
            environment: cleared(object, "environment", Environment::Unknown, |object, name| {
                object.parsed(name, || one_of(&Environment::texts()), Environment::from_text)
            }),
            user_id: text(object, "user_id"),
            phone: object.merge("phone", |object, name| {
                object.parsed(name, "must be a phone number in E.164, such as +48501502503", Phone::parse)
            }),
            name: text(object, "name"),
            locale: text(object, "locale"),
            timezone: text(object, "timezone"),
            primary: cleared(object, "primary", false, Object::boolean),
            active: cleared(object, "active", true, Object::boolean),
            permission: cleared(object, "permission", Permission::Unknown, |object, name| {
                object.parsed(name, || one_of(&Permission::texts()), Permission::from_text)
            }),
            tags: cleared(object, "tags", Vec::new(), |object, name| object.texts(name, limits::TAGS, ANY)),
            clear_attributes: object.is_null("attributes"),
            attributes: attributes(object),
            app_version: text(object, "app_version"),
            os_version: text(object, "os_version"),
        };
        let mut faults = Faults::new();
        // The id of the path is the handler's to check.
        change.check("-", &mut faults);
        object.faults(faults);
        Some(Self { change, bare_token })
    }
}

fn text(object: &mut Object<'_>, name: &'static str) -> Change<String> {
    object.merge(name, |object, name| object.opt_text(name, ANY))
}

/// A field that always has a value: null gives it the one it has when nobody says.
fn cleared<'a, T>(
    object: &mut Object<'a>,
    name: &'static str,
    rest: T,
    read: impl FnOnce(&mut Object<'a>, &'static str) -> Option<T>,
) -> Option<T> {
    object.merge(name, read).map(|given| given.unwrap_or(rest))
}

/// Exactly one of `token`, `fid` and `subscription`, or none of them.
fn token(object: &mut Object<'_>, platform: Option<Platform>, bare: &mut Option<String>) -> Option<PushToken> {
    let token = object.opt_text("token", ANY);
    let fid = object.opt_text("fid", ANY);
    let subscription = object.object("subscription").map(subscription);
    let given = [token.is_some(), fid.is_some(), subscription.is_some()].into_iter().filter(|given| *given).count();
    if given > 1 {
        object.fault("token", "only one of token, fid and subscription can be registered");
        return None;
    }
    if let Some(text) = token {
        return plain_token(object, platform, text, bare);
    }
    if given == 0
        && let Some(name) = ["token", "fid", "subscription"].into_iter().find(|name| object.is_null(name))
    {
        object.fault(name, "cannot be cleared; DELETE forgets the device");
    }
    fid.map(PushToken::FcmInstallation).or(subscription.flatten())
}

fn plain_token(
    object: &mut Object<'_>,
    platform: Option<Platform>,
    text: String,
    bare: &mut Option<String>,
) -> Option<PushToken> {
    let Some(platform) = platform else {
        *bare = object.value("platform").is_none().then_some(text);
        return None;
    };
    let token = token_of(platform, text);
    if token.is_none() {
        object.fault("subscription", "is what webpush registers, not a token");
    }
    token
}

fn subscription(mut subscription: Object<'_>) -> Option<PushToken> {
    let endpoint = subscription.text("endpoint", ANY);
    let keys = subscription.need("keys", Object::object).map(|mut keys| {
        let mut key = |name| keys.need(name, |keys, name| keys.parsed(name, KEY, |text| BASE64URL.decode(text).ok()));
        (key("p256dh"), key("auth"))
    });
    // Browsers write it beside the two; it says nothing to a sender.
    let _ = subscription.value("expirationTime");
    let (p256dh, auth) = keys?;
    Some(PushToken::Webpush { endpoint: endpoint?, p256dh: p256dh?, auth: auth? })
}

fn attributes(object: &mut Object<'_>) -> Vec<(String, Option<String>)> {
    let Some(map) = object.map("attributes") else { return Vec::new() };
    let mut changes = Vec::with_capacity(map.len());
    for (name, value) in map.iter() {
        match value {
            Json::Null => changes.push((name.to_owned(), None)),
            Json::List(_) | Json::Object(_) => {
                let mut faults = Faults::new();
                let at = format!("{}/{}", object.at("attributes"), escape(name));
                faults.add(at, "must be a text, a number, true or false");
                object.faults(faults);
            }
            // Escaped it would pass for any other text, until the database reads the JSON.
            Json::Text(text) if text.contains('\0') => {
                let mut faults = Faults::new();
                let at = format!("{}/{}", object.at("attributes"), escape(name));
                faults.add(at, "contains U+0000, which cannot be kept");
                object.faults(faults);
            }
            scalar => changes.push((name.to_owned(), Some(scalar.to_text()))),
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Unknown, read};
    use serde_json::{Value, json};

    fn of(body: &Value) -> Result<DeviceChange, Vec<String>> {
        read::<DeviceBody>(&Json::from(body.clone()), Unknown::Refuse)
            .map(|read| read.value.change)
            .map_err(|refusal| refusal.faults.into_iter().map(|fault| fault.pointer).collect())
    }

    fn p256dh() -> String {
        let mut point = vec![4u8];
        point.extend([7; 64]);
        BASE64URL.encode(point)
    }

    #[test]
    fn every_field_of_the_contract_is_read() {
        let change = of(&json!({
            "platform": "apns", "os": "ios", "token": "0AF9".repeat(16), "environment": "sandbox", "user_id": "u-17",
            "phone": "+48 501 502 503", "name": "Ola's phone", "locale": "pl-PL", "timezone": "Europe/Warsaw",
            "primary": true, "active": false, "permission": "denied", "tags": ["vip"],
            "attributes": {"city": "Lodz", "age": 31, "old": null}, "app_version": "4.2.0", "os_version": null
        }))
        .unwrap();
        assert_eq!(change.token, Some(PushToken::Apns("0af9".repeat(16))), "kept in lower case");
        assert_eq!(change.attributes.len(), 3);
        assert!(change.attributes.contains(&("city".into(), Some("\"Lodz\"".into()))));
        assert!(change.attributes.contains(&("age".into(), Some("31".into()))));
        assert!(change.attributes.contains(&("old".into(), None)));
        assert_eq!((change.os_version, change.primary, change.active), (Some(None), Some(true), Some(false)));
        assert_eq!(change.phone.unwrap().unwrap().as_str(), "+48501502503");
    }

    #[test]
    fn absent_is_unchanged_and_null_is_cleared() {
        assert_eq!(of(&json!({})), Ok(DeviceChange::default()));
        let names = ["user_id", "phone", "name", "tags", "primary", "active", "permission", "environment"];
        let change = of(&names.iter().map(|name| ((*name).to_owned(), Value::Null)).collect()).unwrap();
        assert_eq!((change.user_id, change.phone, change.name), (Some(None), Some(None), Some(None)));
        assert_eq!((change.tags, change.primary, change.active), (Some(vec![]), Some(false), Some(true)));
        let cleared = of(&json!({"attributes": null})).unwrap();
        assert!(cleared.clear_attributes && cleared.attributes.is_empty());
        assert!(!of(&json!({"attributes": {}})).unwrap().clear_attributes);
        assert_eq!((change.permission, change.environment), (Some(Permission::Unknown), Some(Environment::Unknown)));
    }

    #[test]
    fn subscription_keys_are_read_with_and_without_padding() {
        let auth = BASE64URL.encode([9; 16]);
        for (p256dh, auth) in [(p256dh(), auth.clone()), (p256dh().replace('=', ""), auth.replace('=', ""))] {
            let subscription = json!({"endpoint": "https://push.example/x", "expirationTime": null,
                                      "keys": {"p256dh": p256dh, "auth": auth}});
            let token = of(&json!({"subscription": subscription})).unwrap().token.unwrap();
            assert!(matches!(token, PushToken::Webpush { p256dh, auth, .. } if p256dh.len() == 65 && auth == [9; 16]));
        }
    }

    #[test]
    fn a_bad_field_is_named_by_its_pointer() {
        let keys = json!({"p256dh": p256dh(), "auth": "AAAA"});
        for (body, pointer) in [
            (json!({"platform": "hms"}), "/platform"),
            (json!({"token": null}), "/token"),
            (json!({"subscription": null}), "/subscription"),
            (json!({"platform": "apns", "token": "zz"}), "/token"),
            (json!({"platform": "apns", "token": "../../x?y"}), "/token"),
            (json!({"platform": "fcm", "token": "\"}, \"x"}), "/token"),
            (json!({"platform": "webpush", "token": "x"}), "/subscription"),
            (json!({"platform": "apns", "fid": "abcdefgh12"}), "/platform"),
            (json!({"platform": "fcm", "token": "a".repeat(20), "fid": "abcdefgh12"}), "/token"),
            (json!({"fid": "!"}), "/fid"),
            (json!({"subscription": {"endpoint": "http://x", "keys": keys}}), "/subscription/endpoint"),
            (json!({"subscription": {"endpoint": "https://x", "keys": keys}}), "/subscription/keys/auth"),
            (
                json!({"subscription": {"endpoint": "https://x", "keys": {"p256dh": "+/", "auth": "x"}}}),
                "/subscription/keys/p256dh",
            ),
            (json!({"subscription": {"endpoint": "https://x"}}), "/subscription/keys"),
            (json!({"attributes": {"a": "x\0y"}}), "/attributes/a"),
            (json!({"user_id": ""}), "/user_id"),
            (json!({"user_id": "a\u{7}"}), "/user_id"),
            (json!({"phone": "501502503"}), "/phone"),
            (json!({"name": "x".repeat(200)}), "/name"),
            (json!({"name": "a\0"}), "/name"),
            (json!({"locale": "pl_PL"}), "/locale"),
            (json!({"timezone": "Mars/Base"}), "/timezone"),
            (json!({"primary": "yes"}), "/primary"),
            (json!({"permission": "maybe"}), "/permission"),
            (json!({"tags": ["a", 1]}), "/tags/1"),
            (json!({"tags": [""]}), "/tags/0"),
            (json!({"attributes": {"a": {}}}), "/attributes/a"),
            (json!({"attributes": {"a": "x".repeat(600)}}), "/attributes/a"),
            (json!({"topics": ["news"]}), "/topics"),
        ] {
            let found = of(&body).unwrap_err();
            assert!(found.contains(&pointer.to_owned()), "{body}: {found:?}");
        }
    }
}
