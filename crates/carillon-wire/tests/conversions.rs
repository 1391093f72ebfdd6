//! What is said in the domain's words comes back in the same words, whatever was said.

#![allow(clippy::unwrap_used, reason = "a conversion that fails fails its test")]

use carillon_domain::audience::{Audience, Deliver};
use carillon_domain::cascade::{CascadeLink, Sms, Unless};
use carillon_domain::condition::Condition;
use carillon_domain::content::{Button, Content, InterruptionLevel, JsonText, Localized, Open, OpenAs, Overrides};
use carillon_domain::notification::{Draft, Notification, Options, Priority};
use carillon_domain::phone::Phone;
use carillon_domain::platform::{Kind, Os, Platform};
use carillon_domain::span::Seconds;
use carillon_wire::{decode_body, draft_from_request, encode_body, request_from_notification};
use jiff::Timestamp;
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message as _;

fn text() -> impl Strategy<Value = String> {
    // Never empty: protobuf's plain strings cannot tell that from absent.
    "[a-zäß 0-9]{1,12}"
}

fn json() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        (-(1i64 << 53) + 1..1i64 << 53).prop_map(|n| n.to_string()),
        text().prop_map(|t| format!("\"{t}\"")),
        text().prop_map(|t| format!("[1,{{\"k\":\"{t}\"}}]")),
    ]
}

fn entries<S: Strategy<Value = String>>(value: S) -> impl Strategy<Value = Vec<(String, String)>> {
    btree_map("[a-z]{1,6}", value, 0..4).prop_map(|map| map.into_iter().collect())
}

fn open() -> impl Strategy<Value = Open> {
    prop_oneof![
        (text(), of(select(OpenAs::ALL))).prop_map(|(url, target)| Open::Url { url, target }),
        text().prop_map(Open::Screen)
    ]
}

fn audience() -> impl Strategy<Value = Audience> {
    let phones =
        vec("4850[1-9][0-9]{6}", 0..3).prop_map(|all| all.iter().map(|d| Phone::from_e164(format!("+{d}"))).collect());
    let names = || vec(text(), 0..3).prop_map(|names| names.into_iter().collect());
    let lists = (names(), names(), phones);
    let condition = of(text().prop_map(|tag| {
        let text = format!("tags has '{}'", tag.replace('\'', "''"));
        Condition::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }));
    (lists, any::<bool>(), vec(select(Platform::ALL), 0..3), vec(select(Os::ALL), 0..3), condition).prop_map(
        |((devices, users, phones), all, platforms, os, condition)| Audience {
            devices,
            users,
            phones,
            all,
            platforms,
            os,
            condition,
        },
    )
}

fn localized() -> impl Strategy<Value = Vec<Localized>> {
    let one = (of(text()), of(text()), of(text()), of(text()), entries(text()));
    btree_map("[a-z]{2}(-[A-Z]{2})?", one, 0..4).prop_map(|map| {
        let entry = |(locale, (title, subtitle, body, image, buttons))| Localized {
            locale,
            title,
            subtitle,
            body,
            image,
            buttons,
        };
        map.into_iter().map(entry).collect()
    })
}

fn content() -> impl Strategy<Value = Content> {
    let button = (text(), text(), of(open())).prop_map(|(id, title, open)| Button { id, title, open });
    let texts = (of(text()), of(text()), of(text()), of(text()), of(text()), of(any::<u32>()), of(text()), of(text()));
    let object = || of(text().prop_map(|t| JsonText(format!("{{\"k\":\"{t}\"}}"))));
    let overrides = (object(), object(), object()).prop_map(|(apns, fcm, webpush)| Overrides { apns, fcm, webpush });
    let data = entries(json()).prop_map(|all| all.into_iter().map(|(k, v)| (k, JsonText(v))).collect());
    let rest = (
        of(select(InterruptionLevel::ALL)),
        of(open()),
        vec(button, 0..3),
        data,
        any::<bool>(),
        localized(),
        overrides,
    );
    (texts, rest).prop_map(|(t, r)| Content {
        title: t.0,
        subtitle: t.1,
        body: t.2,
        image: t.3,
        sound: t.4,
        badge: t.5,
        thread: t.6,
        android_channel: t.7,
        interruption_level: r.0,
        open: r.1,
        buttons: r.2,
        data: r.3,
        silent: r.4,
        localized: r.5,
        overrides: r.6,
    })
}

fn cascade() -> impl Strategy<Value = CascadeLink> {
    let sms = (of(text()), of(text()), entries(text()), of(any::<u32>().prop_map(Seconds)))
        .prop_map(|(from, text, localized, ttl)| Sms { from, text, localized, ttl });
    (select(Unless::ALL), any::<u32>(), sms).prop_map(|(unless, within, sms)| CascadeLink {
        unless,
        within: Seconds(within),
        sms,
    })
}

fn notification() -> impl Strategy<Value = Notification> {
    let options = (of(any::<u32>().prop_map(Seconds)), of(select(Priority::ALL)), of(text()))
        .prop_map(|(ttl, priority, collapse_key)| Options { ttl, priority, collapse_key });
    let at = (0i64..4_000_000_000, 0i32..1_000_000_000).prop_map(|(s, n)| Timestamp::new(s, n).unwrap());
    let head = (text(), of(text()), entries(text()), of(select(Deliver::ALL)), of(select(Kind::ALL)));
    (head, audience(), content(), options, of(at), vec(cascade(), 0..2)).prop_map(
        |(h, to, content, options, send_at, cascade)| {
            Notification::accepted(Draft {
                app: h.0,
                reference: h.1,
                metadata: h.2,
                to,
                deliver: h.3,
                kind: h.4,
                content,
                options,
                send_at,
                cascade,
            })
        },
    )
}

proptest! {
    #[test]
    fn a_notification_comes_back_from_its_row_and_over_the_wire_as_it_was(n in notification()) {
        prop_assert_eq!(&decode_body(&encode_body(&n)).unwrap(), &n);
        let bytes = request_from_notification(&n).encode_to_vec();
        let request = carillon_wire::public::SendRequest::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(&draft_from_request(request).unwrap(), n.draft());
    }

    #[test]
    fn bytes_of_a_stranger_are_refused_or_read_but_never_break_anything(bytes in vec(any::<u8>(), 0..200)) {
        let _ = decode_body(&bytes);
    }
}
