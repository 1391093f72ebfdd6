//! A request as protobuf has it, and as the domain has it. gRPC, the AMQP intake and the notification's own row use this one
//! conversion.

use crate::public as pb;
use carillon_domain::audience::{Audience, Deliver};
use carillon_domain::cascade::{CascadeLink, Sms, Unless};
use carillon_domain::condition::Condition;
use carillon_domain::content::{Button, Content, InterruptionLevel, JsonText, Localized, Open, OpenAs, Overrides};
use carillon_domain::fault::Faults;
use carillon_domain::notification::{Draft, Notification, Options, Priority};
use carillon_domain::phone::Phone;
use carillon_domain::platform::{Kind, Os, Platform};
use carillon_domain::span::Seconds;
use jiff::Timestamp;
use prost_types::value::Kind as Value;
use serde_json::{Map, Number, Value as Json};
use std::collections::BTreeMap;

/// Reads a request. What is checked here is only what the domain's types cannot hold; [`Draft::validate`] does the rest.
///
/// # Errors
/// All faults at once, with the pointers that the REST body would have.
pub fn draft_from_request(request: pb::SendRequest) -> Result<Draft, Faults> {
    let mut faults = Faults::new();
    let f = &mut faults;
    let draft = Draft {
        app: request.app,
        reference: some(request.reference),
        metadata: pairs(request.metadata),
        to: audience(f, request.to.unwrap_or_default()),
        deliver: one_of(f, "/deliver", some(request.deliver), Deliver::from_text, Deliver::texts),
        kind: one_of(f, "/kind", some(request.kind), Kind::from_text, Kind::texts),
        content: content(f, request.content.unwrap_or_default()),
        options: options(f, request.options.unwrap_or_default()),
        send_at: request.schedule.and_then(|schedule| send_at(f, schedule)),
        cascade: request.cascade.into_iter().enumerate().filter_map(|(i, link)| cascade_link(f, i, link)).collect(),
    };
    faults.into_result(draft)
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// A map's entries, in the order of the keys.
fn pairs(map: BTreeMap<String, String>) -> Vec<(String, String)> {
    map.into_iter().collect()
}

fn one_of<T>(
    faults: &mut Faults,
    at: &str,
    text: Option<String>,
    read: fn(&str) -> Option<T>,
    texts: fn() -> String,
) -> Option<T> {
    let text = text?;
    let value = read(&text);
    if value.is_none() {
        faults.add(at, format!("must be one of {}", texts()));
    }
    value
}

fn seconds(faults: &mut Faults, at: &str, text: Option<String>) -> Option<Seconds> {
    let text = text?;
    let value = Seconds::parse(&text);
    if value.is_none() {
        faults.add(at, "must be a duration such as 90s, 30m, 2h, 7d, 4w, or whole seconds");
    }
    value
}

fn send_at(faults: &mut Faults, schedule: pb::Schedule) -> Option<Timestamp> {
    if schedule.at.is_none() {
        faults.add("/schedule/at", "is required");
    }
    timestamp(faults, "/schedule/at", schedule.at?)
}

fn timestamp(faults: &mut Faults, at: &str, time: prost_types::Timestamp) -> Option<Timestamp> {
    let value = Timestamp::new(time.seconds, time.nanos).ok();
    if value.is_none() {
        faults.add(at, "is not a time between the years -9999 and 9999");
    }
    value
}

fn audience(faults: &mut Faults, to: pb::Audience) -> Audience {
    let mut phones = Vec::with_capacity(to.phones.len());
    for (i, text) in to.phones.iter().enumerate() {
        match Phone::parse(text) {
            Some(phone) => phones.push(phone),
            None => faults.add(format!("/to/phones/{i}"), "must be a phone number in E.164, such as +48501502503"),
        }
    }
    let list = |name: &str, texts: Vec<String>| {
        texts.into_iter().enumerate().map(move |(i, t)| (format!("/to/{name}/{i}"), t)).collect::<Vec<_>>()
    };
    let platforms = list("platforms", to.platforms);
    let os = list("os", to.os);
    Audience {
        devices: to.devices.into_iter().collect(),
        users: to.users.into_iter().collect(),
        phones,
        all: to.all,
        platforms: platforms
            .into_iter()
            .filter_map(|(at, t)| one_of(faults, &at, Some(t), Platform::from_text, Platform::texts))
            .collect(),
        os: os.into_iter().filter_map(|(at, t)| one_of(faults, &at, Some(t), Os::from_text, Os::texts)).collect(),
        condition: to.r#where.and_then(|text| Condition::read(&text, faults, "/to/where")),
    }
}

fn content(faults: &mut Faults, c: pb::Content) -> Content {
    check_finite(faults, "/content/data", c.data.as_ref());
    if let Some(overrides) = &c.overrides {
        check_finite(faults, "/content/overrides/apns", overrides.apns.as_ref());
        check_finite(faults, "/content/overrides/fcm", overrides.fcm.as_ref());
        check_finite(faults, "/content/overrides/webpush", overrides.webpush.as_ref());
    }
    let level = InterruptionLevel::from_text;
    Content {
        title: c.title,
        subtitle: c.subtitle,
        body: c.body,
        image: c.image,
        sound: c.sound,
        badge: c.badge,
        thread: c.thread,
        android_channel: c.android_channel,
        interruption_level: one_of(
            faults,
            "/content/interruption_level",
            c.interruption_level,
            level,
            InterruptionLevel::texts,
        ),
        open: c.open.and_then(|o| open(faults, "/content/open", o)),
        buttons: c.buttons.into_iter().enumerate().map(|(i, b)| button(faults, i, b)).collect(),
        data: data(c.data),
        silent: c.silent,
        localized: localized(c.localized),
        overrides: c.overrides.map(overrides).unwrap_or_default(),
    }
}

fn button(faults: &mut Faults, i: usize, b: pb::Button) -> Button {
    Button {
        id: b.id,
        title: b.title,
        open: b.open.and_then(|o| open(faults, &format!("/content/buttons/{i}/open"), o)),
    }
}

fn open(faults: &mut Faults, at: &str, o: pb::Open) -> Option<Open> {
    match (o.url, o.screen) {
        (Some(url), None) => {
            let target = one_of(faults, &format!("{at}/as"), o.r#as, OpenAs::from_text, OpenAs::texts);
            Some(Open::Url { url, target })
        }
        (None, Some(screen)) if o.r#as.is_none() => Some(Open::Screen(screen)),
        (None, Some(_)) => {
            faults.add(format!("{at}/as"), "belongs to a url, not to a screen");
            None
        }
        _ => {
            faults.add(at, "needs exactly one of url and screen");
            None
        }
    }
}

fn localized(map: BTreeMap<String, pb::Localized>) -> Vec<Localized> {
    let localized = map.into_iter().map(|(locale, l)| Localized {
        locale,
        title: l.title,
        subtitle: l.subtitle,
        body: l.body,
        image: l.image,
        buttons: pairs(l.buttons),
    });
    localized.collect()
}

fn overrides(o: pb::Overrides) -> Overrides {
    let text = |s: Option<prost_types::Struct>| s.map(|s| JsonText(Json::Object(json_object(s)).to_string()));
    Overrides { apns: text(o.apns), fcm: text(o.fcm), webpush: text(o.webpush) }
}

fn data(s: Option<prost_types::Struct>) -> Vec<(String, JsonText)> {
    let entries = s.map(json_object).unwrap_or_default();
    entries.into_iter().map(|(key, value)| (key, JsonText(value.to_string()))).collect()
}

fn options(faults: &mut Faults, o: pb::Options) -> Options {
    Options {
        ttl: seconds(faults, "/options/ttl", o.ttl),
        priority: one_of(faults, "/options/priority", o.priority, Priority::from_text, Priority::texts),
        collapse_key: o.collapse_key,
    }
}

fn cascade_link(faults: &mut Faults, i: usize, link: pb::CascadeLink) -> Option<CascadeLink> {
    let at = format!("/cascade/{i}");
    let unless = one_of(faults, &format!("{at}/unless"), Some(link.unless), Unless::from_text, Unless::texts);
    let within = seconds(faults, &format!("{at}/within"), Some(link.within));
    let Some(sms) = link.then.and_then(|t| t.sms) else {
        faults.add(format!("{at}/then"), "needs an `sms`");
        return None;
    };
    let sms = Sms {
        from: sms.from,
        text: sms.text,
        localized: pairs(sms.localized),
        ttl: seconds(faults, &format!("{at}/then/sms/ttl"), sms.ttl),
    };
    Some(CascadeLink { unless: unless?, within: within?, sms })
}

/// A validated notification as protobuf.
pub fn request_from_notification(notification: &Notification) -> pb::SendRequest {
    let mut draft = notification.draft().clone();
    let (data, overrides) = (std::mem::take(&mut draft.content.data), std::mem::take(&mut draft.content.overrides));
    let mut request = request_without_json(draft);
    if let Some(content) = &mut request.content {
        let data: Map<String, Json> = data.iter().map(|(key, json)| (key.clone(), parse(&json.0))).collect();
        content.data = (!data.is_empty()).then(|| wire_object(data));
        content.overrides = Some(pb::Overrides {
            apns: overrides.apns.as_ref().and_then(object_of),
            fcm: overrides.fcm.as_ref().and_then(object_of),
            webpush: overrides.webpush.as_ref().and_then(object_of),
        });
    }
    request
}

/// A draft as protobuf, but for what is JSON in it.
pub(crate) fn request_without_json(d: Draft) -> pb::SendRequest {
    pb::SendRequest {
        app: d.app,
        reference: d.reference.unwrap_or_default(),
        metadata: d.metadata.into_iter().collect(),
        to: Some(pb::Audience {
            devices: d.to.devices.iter().map(str::to_owned).collect(),
            users: d.to.users.iter().map(str::to_owned).collect(),
            phones: d.to.phones.iter().map(|p| p.as_str().to_owned()).collect(),
            all: d.to.all,
            platforms: d.to.platforms.iter().map(|p| p.as_str().to_owned()).collect(),
            os: d.to.os.iter().map(|o| o.as_str().to_owned()).collect(),
            r#where: d.to.condition.map(|condition| condition.as_str().to_owned()),
        }),
        deliver: d.deliver.map(|v| v.as_str().to_owned()).unwrap_or_default(),
        kind: d.kind.map(|v| v.as_str().to_owned()).unwrap_or_default(),
        content: Some(content_without_json(d.content)),
        options: Some(pb::Options {
            ttl: d.options.ttl.map(|t| t.to_string()),
            priority: d.options.priority.map(|p| p.as_str().to_owned()),
            collapse_key: d.options.collapse_key,
        }),
        schedule: d.send_at.map(|at| pb::Schedule {
            at: Some(prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }),
        }),
        cascade: d.cascade.into_iter().map(cascade_to_wire).collect(),
    }
}

fn content_without_json(c: Content) -> pb::Content {
    let button = |b: Button| pb::Button { id: b.id, title: b.title, open: b.open.map(open_to_wire) };
    pb::Content {
        title: c.title,
        subtitle: c.subtitle,
        body: c.body,
        image: c.image,
        sound: c.sound,
        badge: c.badge,
        thread: c.thread,
        android_channel: c.android_channel,
        interruption_level: c.interruption_level.map(|l| l.as_str().to_owned()),
        open: c.open.map(open_to_wire),
        buttons: c.buttons.into_iter().map(button).collect(),
        data: None,
        silent: c.silent,
        localized: c.localized.into_iter().map(localized_to_wire).collect(),
        overrides: None,
    }
}

fn localized_to_wire(l: Localized) -> (String, pb::Localized) {
    let texts = pb::Localized {
        title: l.title,
        subtitle: l.subtitle,
        body: l.body,
        image: l.image,
        buttons: l.buttons.into_iter().collect(),
    };
    (l.locale, texts)
}

fn open_to_wire(o: Open) -> pb::Open {
    match o {
        Open::Url { url, target } => {
            pb::Open { url: Some(url), r#as: target.map(|t| t.as_str().to_owned()), screen: None }
        }
        Open::Screen(screen) => pb::Open { url: None, r#as: None, screen: Some(screen) },
    }
}

fn cascade_to_wire(link: CascadeLink) -> pb::CascadeLink {
    pb::CascadeLink {
        unless: link.unless.as_str().to_owned(),
        within: link.within.to_string(),
        then: Some(pb::CascadeStep {
            sms: Some(pb::Sms {
                from: link.sms.from,
                text: link.sms.text,
                localized: link.sms.localized.into_iter().collect(),
                ttl: link.sms.ttl.map(|t| t.to_string()),
            }),
        }),
    }
}

/// Protobuf's doubles can be what JSON has no number for.
fn check_finite(faults: &mut Faults, at: &str, object: Option<&prost_types::Struct>) {
    fn is_finite(value: &prost_types::Value) -> bool {
        match &value.kind {
            Some(Value::NumberValue(n)) => n.is_finite(),
            Some(Value::StructValue(inner)) => inner.fields.values().all(is_finite),
            Some(Value::ListValue(list)) => list.values.iter().all(is_finite),
            _ => true,
        }
    }
    if object.is_some_and(|object| !object.fields.values().all(is_finite)) {
        faults.add(at, "holds a number that is not finite, which JSON cannot carry");
    }
}

fn parse(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or(Json::Null)
}

fn object_of(text: &JsonText) -> Option<prost_types::Struct> {
    match parse(&text.0) {
        Json::Object(map) => Some(wire_object(map)),
        _ => None,
    }
}

fn json_object(s: prost_types::Struct) -> Map<String, Json> {
    s.fields.into_iter().map(|(key, value)| (key, json_value(value))).collect()
}

/// Protobuf's Struct knows only doubles: a whole one is written as an integer, as the caller meant it.
fn json_value(value: prost_types::Value) -> Json {
    match value.kind {
        None | Some(Value::NullValue(_)) => Json::Null,
        Some(Value::BoolValue(b)) => Json::Bool(b),
        Some(Value::NumberValue(n)) if n.fract() == 0.0 && n.abs() < 9_007_199_254_740_992.0 => Json::from(n as i64),
        Some(Value::NumberValue(n)) => Number::from_f64(n).map_or(Json::Null, Json::Number),
        Some(Value::StringValue(s)) => Json::String(s),
        Some(Value::StructValue(s)) => Json::Object(json_object(s)),
        Some(Value::ListValue(l)) => Json::Array(l.values.into_iter().map(json_value).collect()),
    }
}

fn wire_object(map: Map<String, Json>) -> prost_types::Struct {
    prost_types::Struct { fields: map.into_iter().map(|(key, value)| (key, wire_value(value))).collect() }
}

fn wire_value(value: Json) -> prost_types::Value {
    let kind = match value {
        Json::Null => Value::NullValue(0),
        Json::Bool(b) => Value::BoolValue(b),
        Json::Number(n) => Value::NumberValue(n.as_f64().unwrap_or_default()),
        Json::String(s) => Value::StringValue(s),
        Json::Object(map) => Value::StructValue(wire_object(map)),
        Json::Array(items) => {
            Value::ListValue(prost_types::ListValue { values: items.into_iter().map(wire_value).collect() })
        }
    };
    prost_types::Value { kind: Some(kind) }
}
