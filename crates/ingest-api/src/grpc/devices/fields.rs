//! A device's fields as protobuf has them. A change is read by the one reader of devices, from the JSON that REST would carry.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use carillon_domain::device::DeviceState;
use carillon_domain::fault::Faults;
use carillon_domain::push_token::PushToken;
use carillon_store::Device;
use carillon_wire::public as pb;
use prost_types::value::Kind;
use serde_json::{Map, Value, json};

use super::super::time::to_wire;
use crate::bodies::device::DeviceBody;
use crate::json::{Findings, FromJson as _, Json, Object, Unknown};
use crate::refusal::Refusal;

/// What can be cleared by its name: what REST takes as null and protobuf cannot say otherwise.
const CLEARABLE: [&str; 8] =
    ["user_id", "phone", "name", "locale", "timezone", "attributes", "app_version", "os_version"];

/// Reads a change.
///
/// # Errors
/// All faults at once, with the pointers that the REST body would have.
pub(super) fn change(fields: pb::DeviceFields, clear: &[String]) -> Result<DeviceBody, Refusal> {
    let mut faults = Faults::new();
    let mut body = json(fields);
    for (i, name) in clear.iter().enumerate() {
        if !CLEARABLE.contains(&name.as_str()) {
            faults.add(format!("/clear/{i}"), format!("must be one of {}", CLEARABLE.join(", ")));
        } else if body.insert(name.clone(), Value::Null).is_some() {
            faults.add(format!("/clear/{i}"), "is given as well");
        }
    }
    let body = Json::from(Value::Object(body));
    let findings = Findings::new(Unknown::Refuse);
    let read = Object::root(&body, &findings).and_then(|mut object| DeviceBody::from_json(&mut object));
    faults.extend(findings.into_parts().0);
    match read {
        Some(body) if faults.is_empty() => Ok(body),
        _ => Err(faults.into()),
    }
}

fn json(f: pb::DeviceFields) -> Map<String, Value> {
    let texts = [
        ("platform", f.platform),
        ("os", f.os),
        ("token", f.token),
        ("fid", f.fid),
        ("environment", f.environment),
        ("user_id", f.user_id),
        ("phone", f.phone),
        ("name", f.name),
        ("locale", f.locale),
        ("timezone", f.timezone),
        ("permission", f.permission),
        ("app_version", f.app_version),
        ("os_version", f.os_version),
    ];
    let mut body: Map<String, Value> =
        texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), Value::from(text?)))).collect();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    set("primary", f.primary.map(Value::from));
    set("active", f.active.map(Value::from));
    set("tags", f.tags.map(|tags| Value::from(tags.items)));
    set("attributes", f.attributes.map(attributes));
    let keys = |s: pb::Subscription| json!({"endpoint": s.endpoint, "keys": {"p256dh": s.p256dh, "auth": s.auth}});
    set("subscription", f.subscription.map(keys));
    body
}

/// Protobuf knows only doubles: a whole one is meant as an integer.
fn attributes(given: prost_types::Struct) -> Value {
    let scalar = |kind| match kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::from(value),
        Some(Kind::StringValue(value)) => Value::from(value),
        Some(Kind::NumberValue(n)) if n.fract() == 0.0 && n.abs() < 9_007_199_254_740_992.0 => Value::from(n as i64),
        // JSON has no infinity, and null would clear.
        Some(Kind::NumberValue(n)) => serde_json::Number::from_f64(n).map_or_else(|| json!([]), Value::Number),
        // No attribute is one; the reader says so.
        Some(Kind::ListValue(_)) => json!([]),
        Some(Kind::StructValue(_)) => json!({}),
    };
    Value::Object(given.fields.into_iter().map(|(name, value)| (name, scalar(value.kind))).collect())
}

pub(super) fn device(device: Device, app: String) -> pb::Device {
    let (mut token, mut fid, mut subscription) = (None, None, None);
    match device.token {
        Some(PushToken::Apns(text) | PushToken::Fcm(text)) => token = Some(text),
        Some(PushToken::FcmInstallation(text)) => fid = Some(text),
        Some(PushToken::Webpush { endpoint, p256dh, auth }) => {
            let key = |bytes: Vec<u8>| BASE64_URL_SAFE_NO_PAD.encode(bytes);
            subscription = Some(pb::Subscription { endpoint, p256dh: key(p256dh), auth: key(auth) });
        }
        None => {}
    }
    let text = |text: &str| Some(text.to_owned());
    let fields = pb::DeviceFields {
        platform: text(device.platform.as_str()),
        os: text(device.os.as_str()),
        token,
        fid,
        subscription,
        environment: text(device.environment.as_str()),
        user_id: device.user_id,
        phone: device.phone.map(|phone| phone.as_str().to_owned()),
        name: device.name,
        locale: device.locale,
        timezone: device.timezone,
        primary: Some(device.primary),
        active: Some(device.state == DeviceState::Active),
        permission: text(device.permission.as_str()),
        tags: Some(pb::Tags { items: device.tags }),
        attributes: Some(structure(&device.attributes)),
        app_version: device.app_version,
        os_version: device.os_version,
    };
    pb::Device {
        app,
        device: device.device,
        fields: Some(fields),
        state: device.state.as_str().to_owned(),
        reason: device.reason.map(|reason| reason.as_str().to_owned()).unwrap_or_default(),
        registered_at: Some(to_wire(device.registered_at)),
        last_seen_at: Some(to_wire(device.last_seen_at)),
        last_sent_at: device.last_sent_at.map(to_wire),
    }
}

fn structure(attributes: &str) -> prost_types::Struct {
    let map: Map<String, Value> = serde_json::from_str(attributes).unwrap_or_default();
    let kind = |value: Value| match value {
        Value::Bool(value) => Kind::BoolValue(value),
        Value::Number(n) => Kind::NumberValue(n.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text),
        _ => Kind::NullValue(0),
    };
    let value = |value| prost_types::Value { kind: Some(kind(value)) };
    prost_types::Struct { fields: map.into_iter().map(|(name, v)| (name, value(v))).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_domain::fault::ErrorCode;

    fn fields() -> pb::DeviceFields {
        let number = |n| prost_types::Value { kind: Some(Kind::NumberValue(n)) };
        let gone = prost_types::Value { kind: Some(Kind::NullValue(0)) };
        let attributes = prost_types::Struct {
            fields: [("age".to_owned(), number(31.0)), ("ratio".to_owned(), number(0.5)), ("old".to_owned(), gone)]
                .into(),
        };
        pb::DeviceFields {
            platform: Some("apns".into()),
            token: Some("ab".repeat(32)),
            primary: Some(true),
            tags: Some(pb::Tags { items: vec!["vip".into()] }),
            attributes: Some(attributes),
            ..Default::default()
        }
    }

    #[test]
    fn fields_are_read_as_rest_reads_them_and_named_ones_are_cleared() {
        let mut read = change(fields(), &["phone".to_owned()]).unwrap().change;
        read.attributes.sort();
        let set = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
        assert_eq!(read.attributes, [set("age", Some("31")), set("old", None), set("ratio", Some("0.5"))]);
        assert_eq!((read.phone, read.user_id, read.primary), (Some(None), None, Some(true)));
    }

    #[test]
    fn all_attributes_are_cleared_by_their_name() {
        let cleared = change(pb::DeviceFields::default(), &["attributes".to_owned()]).unwrap().change;
        assert!(cleared.clear_attributes && cleared.attributes.is_empty());
        let refusal = change(fields(), &["attributes".to_owned()]).unwrap_err();
        assert_eq!(refusal.faults.iter().map(|fault| fault.pointer.as_str()).collect::<Vec<_>>(), ["/clear/0"]);
    }

    #[test]
    fn every_fault_has_the_pointer_of_rest() {
        let bad = pb::DeviceFields { token: Some("zz".into()), locale: Some("x_y".into()), ..fields() };
        let refusal = change(bad, &["token".to_owned()]).unwrap_err();
        let pointers: Vec<&str> = refusal.faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(pointers, ["/clear/0", "/token", "/locale"]);
        assert_eq!(refusal.code, Some(ErrorCode::InvalidRequest));
    }
}
