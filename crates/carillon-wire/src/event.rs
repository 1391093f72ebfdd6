//! The events of the broker, and the body that a notification's row keeps.

use crate::draft::{draft_from_request, request_without_json};
use crate::events::splice::What;
use crate::events::{
    DataEntry, DispatchChunk, DispatchChunks, NotificationBody, NotificationsAccepted, Splice, Target,
};
use crate::names::{pack, unpack};
use bytes::Bytes;
use carillon_broker::{DecodeError, Event};
use carillon_domain::content::JsonText;
use carillon_domain::names::Names;
use carillon_domain::notification::Notification;
use prost::Message;

macro_rules! event {
    ($type:ty, $name:literal, $whole:expr) => {
        impl Event for $type {
            const NAME: &'static str = $name;

            fn encode(&self) -> Bytes {
                Bytes::from(self.encode_to_vec())
            }

            fn decode(body: &[u8]) -> Result<Self, DecodeError> {
                let event: Self = Message::decode(body).map_err(DecodeError::new)?;
                let whole: fn(&Self) -> bool = $whole;
                if whole(&event) {
                    Ok(event)
                } else {
                    Err(DecodeError::new("it names nothing, an id in it is none, or a part is missing"))
                }
            }
        }
    };
}

// Bytes of something else often read as protobuf, with nonsense in them, and no bytes at all as an event without anything in it: what names
// nothing is parked, not passed over.
event!(NotificationsAccepted, "carillon.events.v1.NotificationsAccepted", |event| {
    !event.notifications.is_empty() && event.notifications.iter().all(|one| is_id(&one.id))
});
event!(DispatchChunks, "carillon.events.v1.DispatchChunks", |event| {
    !event.chunks.is_empty() && event.chunks.iter().all(is_whole)
});

/// What every chunk of ours has. What only a newer segmenter means by it (a kind of splice that is not known here) is not for
/// this process, and parked likewise.
fn is_whole(chunk: &DispatchChunk) -> bool {
    let known = |splice: &Splice| What::try_from(splice.what).is_ok_and(|what| what != What::Unspecified);
    is_id(&chunk.run_id)
        && is_id(&chunk.notification_id)
        && chunk.delivery.is_some()
        && chunk.targets.iter().all(|target| target.position <= u32::from(u16::MAX))
        && chunk.variants.iter().all(|variant| {
            variant.splices.iter().all(|splice| known(splice) && splice.offset as usize <= variant.body.len())
        })
}

/// A UUID.
fn is_id(bytes: &[u8]) -> bool {
    bytes.len() == 16
}

/// How many bytes a chunk takes in a message.
pub fn chunk_len(chunk: &DispatchChunk) -> usize {
    chunk.encoded_len()
}

/// How many bytes a target takes in its chunk.
pub fn target_len(target: &Target) -> usize {
    let len = target.encoded_len();
    // Field number and length before each.
    len + 1 + prost::length_delimiter_len(len)
}

/// The bytes that a notification's row keeps; the same for equal notifications.
pub fn encode_body(notification: &Notification) -> Vec<u8> {
    into_body(notification.clone())
}

/// As [`encode_body`], of a notification that nobody needs any more.
pub fn into_body(notification: Notification) -> Vec<u8> {
    let mut draft = notification.into_draft();
    let (data, overrides) = (std::mem::take(&mut draft.content.data), std::mem::take(&mut draft.content.overrides));
    let (devices, users) = (pack(&draft.to.devices), pack(&draft.to.users));
    (draft.to.devices, draft.to.users) = (Names::default(), Names::default());
    let text = |json: Option<JsonText>| json.map(|json| json.0).unwrap_or_default();
    let conditional = draft.to.condition.is_some();
    let request = Some(request_without_json(draft));
    let (request, conditional_request) = if conditional { (None, request) } else { (request, None) };
    NotificationBody {
        request,
        data: data.into_iter().map(|(key, json)| DataEntry { key, json: json.0 }).collect(),
        override_apns: text(overrides.apns),
        override_fcm: text(overrides.fcm),
        override_webpush: text(overrides.webpush),
        devices: devices.into(),
        users: users.into(),
        conditional_request,
    }
    .encode_to_vec()
}

/// Back from [`encode_body`].
///
/// # Errors
/// When the bytes are not a body of ours; the row is then left alone and reported.
pub fn decode_body(bytes: &[u8]) -> Result<Notification, DecodeError> {
    let body = NotificationBody::decode(bytes).map_err(DecodeError::new)?;
    let request = body.request.or(body.conditional_request);
    let request = request.ok_or_else(|| DecodeError::new("the body holds no request"))?;
    let mut draft = draft_from_request(request).map_err(DecodeError::new)?;
    let names = |packed| unpack(packed).ok_or_else(|| DecodeError::new("the body's names cannot be read"));
    draft.to.devices.extend(&names(&body.devices)?);
    draft.to.users.extend(&names(&body.users)?);
    let text = |json: String| (!json.is_empty()).then_some(JsonText(json));
    draft.content.data = body.data.into_iter().map(|entry| (entry.key, JsonText(entry.json))).collect();
    draft.content.overrides.apns = text(body.override_apns);
    draft.content.overrides.fcm = text(body.override_fcm);
    draft.content.overrides.webpush = text(body.override_webpush);
    Ok(Notification::accepted(draft))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::AcceptedNotification;
    use carillon_domain::audience::{Audience, Deliver};
    use carillon_domain::cascade::{CascadeLink, Sms, Unless};
    use carillon_domain::condition::Condition;
    use carillon_domain::content::{Button, Content, InterruptionLevel, Localized, Open, OpenAs, Overrides};
    use carillon_domain::notification::{Draft, Options, Priority};
    use carillon_domain::phone::Phone;
    use carillon_domain::platform::{Kind, Os, Platform};
    use carillon_domain::span::Seconds;

    fn full() -> Draft {
        let text = |t: &str| Some(t.to_owned());
        Draft {
            app: "shop".into(),
            reference: text("order-17"),
            metadata: vec![("team".into(), "orders".into())],
            to: Audience {
                devices: ["d1"].into(),
                users: ["u1"].into(),
                phones: vec![Phone::from_e164("+48501502503")],
                all: true,
                platforms: vec![Platform::Apns],
                os: vec![Os::Ios],
                condition: Condition::parse("tags has 'vip'").ok(),
            },
            deliver: Some(Deliver::PrimaryDevice),
            kind: Some(Kind::Marketing),
            content: Content {
                title: text("T"),
                subtitle: text("S"),
                body: text("B"),
                image: text("https://example.com/i.png"),
                sound: text("default"),
                badge: Some(3),
                thread: text("t"),
                android_channel: text("c"),
                interruption_level: Some(InterruptionLevel::TimeSensitive),
                open: Some(Open::Url { url: "https://example.com".into(), target: Some(OpenAs::Webview) }),
                buttons: vec![Button { id: "b".into(), title: "B".into(), open: Some(Open::Screen("cart".into())) }],
                data: vec![
                    ("n".into(), JsonText("12345678901234567890".into())),
                    ("s".into(), JsonText("\"x\"".into())),
                ],
                silent: false,
                localized: vec![Localized {
                    locale: "pl".into(),
                    title: text("Tytuł"),
                    buttons: vec![("b".into(), "P".into())],
                    ..Default::default()
                }],
                overrides: Overrides {
                    apns: Some(JsonText("{\"aps\":{\"badge\":null}}".into())),
                    ..Default::default()
                },
            },
            options: Options { ttl: Some(Seconds(60)), priority: Some(Priority::Normal), collapse_key: text("k") },
            send_at: Some("2026-12-01T09:00:00.5Z".parse().unwrap()),
            cascade: vec![CascadeLink {
                unless: Unless::Read,
                within: Seconds(1800),
                sms: Sms {
                    from: text("SHOP"),
                    text: text("Hi"),
                    localized: vec![("pl".into(), "C".into())],
                    ttl: Some(Seconds(60)),
                },
            }],
        }
    }

    #[test]
    fn a_row_keeps_every_field_as_it_was_accepted() {
        let now = "2026-11-21T00:00:00Z".parse().unwrap();
        let notification = full().validate(now).unwrap();
        assert_eq!(decode_body(&encode_body(&notification)).unwrap(), notification);
    }

    #[test]
    fn who_knows_no_conditions_finds_no_request_where_one_narrows() {
        let now = "2026-11-21T00:00:00Z".parse().unwrap();
        let body = |draft: Draft| NotificationBody::decode(&*encode_body(&draft.validate(now).unwrap())).unwrap();
        assert!(body(full()).request.is_none());
        let to = Audience { condition: None, ..full().to };
        assert!(body(Draft { to, ..full() }).request.is_some());
    }

    #[test]
    fn bytes_that_are_no_body_are_an_error() {
        assert!(decode_body(&[0xff, 0xff]).is_err());
        assert!(decode_body(&[]).is_err());
    }

    #[test]
    fn an_event_whose_ids_are_none_does_not_decode() {
        let accepted = |id: &[u8]| {
            let one = AcceptedNotification { id: id.to_vec(), ..Default::default() };
            Event::encode(&NotificationsAccepted { notifications: vec![one] })
        };
        assert!(<NotificationsAccepted as Event>::decode(&accepted(&[7; 16])).is_ok());
        assert!(<NotificationsAccepted as Event>::decode(&accepted(&[7; 5])).is_err());
        let chunk = |run_id: &[u8]| {
            let one = DispatchChunk { run_id: run_id.to_vec(), ..whole() };
            Event::encode(&DispatchChunks { chunks: vec![one], published_at_ms: 0 })
        };
        assert!(<DispatchChunks as Event>::decode(&chunk(&[7; 16])).is_ok());
        assert!(<DispatchChunks as Event>::decode(&chunk(&[])).is_err());
    }

    #[test]
    fn an_event_that_names_nothing_does_not_decode() {
        assert!(<NotificationsAccepted as Event>::decode(&[]).is_err());
        assert!(<DispatchChunks as Event>::decode(&[]).is_err());
        let empty = DispatchChunks { chunks: Vec::new(), published_at_ms: 7 };
        assert!(<DispatchChunks as Event>::decode(&Event::encode(&empty)).is_err());
    }

    fn whole() -> DispatchChunk {
        let delivery = Some(crate::events::Delivery { collapse_id: "c".into(), ..Default::default() });
        DispatchChunk { run_id: vec![7; 16], notification_id: vec![7; 16], delivery, ..Default::default() }
    }

    #[test]
    fn a_chunk_with_a_part_that_is_missing_or_impossible_does_not_decode() {
        let splice = |what, offset| Splice { offset, what };
        let with = |splice| crate::events::Variant { body: b"{}".as_slice().into(), splices: vec![splice] };
        let decodes = |chunk: DispatchChunk| {
            let event = DispatchChunks { chunks: vec![whole(), chunk], published_at_ms: 0 };
            <DispatchChunks as Event>::decode(&Event::encode(&event)).is_ok()
        };
        let token = What::Token as i32;
        assert!(decodes(DispatchChunk { variants: vec![with(splice(token, 2))], ..whole() }));
        for broken in [
            DispatchChunk { delivery: None, ..whole() },
            DispatchChunk { variants: vec![with(splice(token, 3))], ..whole() },
            DispatchChunk { variants: vec![with(splice(0, 0))], ..whole() },
            DispatchChunk { variants: vec![with(splice(99, 0))], ..whole() },
            DispatchChunk { targets: vec![Target { position: 70_000, ..Default::default() }], ..whole() },
        ] {
            assert!(!decodes(broken));
        }
    }
}
