//! The payload ("Generating a remote notification"), in most cases read in one pass without a copy.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::reason::Reason;
use super::request::{Ask, PushType};
use crate::device;
use crate::ledger::Identity;

/// Most bytes of a payload.
const MOST_BYTES: usize = 4096;
/// Most bytes of a VoIP payload.
const MOST_BYTES_VOIP: usize = 5120;

/// What a payload is about, whether APNs takes it or not.
#[derive(Debug, Default)]
pub(crate) struct Payload<'a> {
    /// It is a JSON object.
    object: bool,
    mdm: bool,
    aps: Option<Aps>,
    pub(crate) identity: Identity<'a>,
}

#[derive(Debug, Clone, Copy)]
struct Aps {
    shows: bool,
    wakes: bool,
}

/// The form that nearly every payload has.
#[derive(Deserialize)]
struct Usual<'a> {
    aps: UsualAps,
    #[serde(borrow)]
    carillon: Option<UsualKey<'a>>,
}

#[derive(Deserialize)]
struct UsualAps {
    alert: Option<IgnoredAny>,
    badge: Option<IgnoredAny>,
    sound: Option<IgnoredAny>,
    #[serde(rename = "content-available")]
    content_available: Option<u8>,
}

#[derive(Deserialize)]
struct UsualKey<'a> {
    #[serde(borrow)]
    n: Option<&'a str>,
    l: Option<i64>,
}

impl<'a> Payload<'a> {
    pub(crate) fn read(body: &'a [u8]) -> Self {
        match serde_json::from_slice::<Usual<'a>>(body) {
            Ok(usual) => Self::of_usual(&usual),
            Err(_) => serde_json::from_slice::<Value>(body).map(|value| Self::of_value(&value)).unwrap_or_default(),
        }
    }

    fn of_usual(usual: &Usual<'a>) -> Self {
        let aps = &usual.aps;
        let shows = aps.alert.is_some() || aps.badge.is_some() || aps.sound.is_some();
        let key = usual.carillon.as_ref();
        Self {
            object: true,
            mdm: false,
            aps: Some(Aps { shows, wakes: aps.content_available == Some(1) }),
            identity: Identity {
                notification: key.and_then(|key| key.n).map(Cow::Borrowed),
                link: key.and_then(|key| key.l).unwrap_or(0),
                index: None,
            },
        }
    }

    fn of_value(value: &Value) -> Self {
        let aps = value.get("aps").and_then(Value::as_object).map(|aps| Aps {
            shows: ["alert", "badge", "sound"].iter().any(|name| aps.get(*name).is_some_and(|value| !value.is_null())),
            wakes: aps.get("content-available").and_then(Value::as_f64) == Some(1.0),
        });
        let mdm = value.get("mdm").is_some();
        Self { object: value.is_object(), mdm, aps, identity: device::identity(value.get(device::KEY)) }
    }

    /// Whether APNs takes it for what the headers ask.
    pub(crate) fn check(&self, ask: Ask, bytes: usize) -> Result<(), Reason> {
        let most = if ask.push_type == PushType::Voip { MOST_BYTES_VOIP } else { MOST_BYTES };
        if bytes == 0 {
            return Err(Reason::PayloadEmpty);
        }
        if bytes > most {
            return Err(Reason::PayloadTooLarge);
        }
        let excused = ask.pass || (ask.push_type == PushType::Mdm && self.mdm);
        match (self.aps, ask.push_type) {
            _ if !self.object => Err(Reason::PayloadEmpty),
            (None, _) if excused => Ok(()),
            (None, _) => Err(Reason::PayloadEmpty),
            (Some(aps), PushType::Alert) if !aps.shows && !ask.pass => Err(Reason::InvalidPushType),
            (Some(aps), PushType::Background) if aps.shows || !aps.wakes => Err(Reason::InvalidPushType),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ALERT: Ask = Ask { push_type: PushType::Alert, pass: false };
    proptest! {
        #[test]
        fn both_ways_of_reading_find_the_same(
            alert in any::<bool>(),
            wakes in proptest::option::of(0u8..3),
            n in proptest::option::of("[a-z]{0,8}"),
            l in proptest::option::of(-3i64..3),
            keyed in any::<bool>(),
        ) {
            let mut value = json!({"aps": {}, "more": [1, {"aps": 2}]});
            if alert {
                value["aps"]["alert"] = json!("x");
            }
            if let Some(wakes) = wakes {
                value["aps"]["content-available"] = json!(wakes);
            }
            if keyed {
                value["carillon"] = json!({"n": n, "l": l});
            }
            let text = value.to_string();
            let (fast, slow) = (Payload::read(text.as_bytes()), Payload::of_value(&value));
            prop_assert_eq!(fast.identity, slow.identity);
            prop_assert_eq!(fast.aps.map(|aps| (aps.shows, aps.wakes)), slow.aps.map(|aps| (aps.shows, aps.wakes)));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Payload::read(&bytes).check(ALERT, bytes.len());
        }
    }

    const BACKGROUND: Ask = Ask { push_type: PushType::Background, pass: false };

    fn check(text: &str, ask: Ask) -> Result<(), Reason> {
        Payload::read(text.as_bytes()).check(ask, text.len())
    }

    #[test]
    fn the_payload_fits_the_push_type() {
        assert_eq!(check(r#"{"aps":{"alert":"x"}}"#, ALERT), Ok(()));
        assert_eq!(check(r#"{"aps":{"content-available":1}}"#, BACKGROUND), Ok(()));
        assert_eq!(check(r#"{"aps":{"content-available":1}}"#, ALERT), Err(Reason::InvalidPushType));
        assert_eq!(check(r#"{"aps":{"alert":"x","content-available":1}}"#, BACKGROUND), Err(Reason::InvalidPushType));
        assert_eq!(check(r#"{"aps":{}}"#, BACKGROUND), Err(Reason::InvalidPushType));
    }

    #[test]
    fn a_payload_is_an_object_with_aps() {
        for text in ["", "[]", "{}", "{\"aps\":", r#"{"alert":"x"}"#, r#"{"aps":"x"}"#] {
            assert_eq!(check(text, ALERT), Err(Reason::PayloadEmpty), "{text}");
        }
        assert_eq!(check("{}", Ask { push_type: PushType::Alert, pass: true }), Ok(()));
        assert_eq!(check(r#"{"mdm":"x"}"#, Ask { push_type: PushType::Mdm, pass: false }), Ok(()));
    }

    #[test]
    fn the_identity_is_read_in_both_ways() {
        let usual = Payload::read(br#"{"aps":{"alert":"x"},"carillon":{"n":"abc","l":2}}"#);
        let unusual = Payload::read(br#"{"aps":{"alert":"x"},"carillon":{"n":"\u0061bc","l":2}}"#);
        assert_eq!(usual.identity, unusual.identity);
        assert_eq!(Payload::read(br#"{"aps":{"alert":"x"},"carillon":7}"#).check(ALERT, 30), Ok(()));
    }

    #[test]
    fn four_kibibytes_are_the_limit_and_five_for_voip() {
        let payload = Payload::read(br#"{"aps":{"alert":"x"}}"#);
        assert_eq!(payload.check(ALERT, 4096), Ok(()));
        assert_eq!(payload.check(ALERT, 4097), Err(Reason::PayloadTooLarge));
        let voip = Ask { push_type: PushType::Voip, pass: false };
        assert_eq!(payload.check(voip, 5120), Ok(()));
        assert_eq!(payload.check(voip, 5121), Err(Reason::PayloadTooLarge));
    }
}
