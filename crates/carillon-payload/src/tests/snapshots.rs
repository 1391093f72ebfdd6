//! The bytes of each platform.

use super::{facts, full, hello, json, picture, with};
use crate::{Facts, render};
use carillon_domain::content::{Content, InterruptionLevel};
use carillon_domain::notification::{Draft, Notification, Options, Priority};
use carillon_domain::platform::Platform;
use expect_test::{Expect, expect};

fn check(n: &Notification, platform: Platform, facts: &Facts<'_>, expected: Expect) {
    expected.assert_eq(&picture(&render(n, platform, None, facts).unwrap()));
}

fn wake_up() -> Notification {
    with(Content { silent: true, data: vec![("sync".into(), json("true"))], ..Default::default() })
}

#[test]
fn apns_shows_everything_a_notification_can_say() {
    check(
        &full(),
        Platform::Apns,
        &facts(),
        expect![[
            r#"{"aps":{"alert":{"title":"Your \"order\"","subtitle":"Nr 17","body":"Has left\nus"},"badge":3,"sound":"bell.caf","thread-id":"orders","category":"carillon.d230dda29d46","mutable-content":1,"interruption-level":"time-sensitive"},"image":"https://shop.example/17.png","data":{"order":"17","sum":{"net":12.50,"vat":[1,null]}},"carillon":{"v":1,"n":"01938a7b-0000-7000-8000-000000000001","r":"‹reference›","d":"‹device›","l":0,"open":{"url":"https://shop.example/17","as":"webview"},"buttons":[{"id":"track","title":"Track","open":{"screen":"map"}},{"id":"later","title":"Later"}],"kind":"transactional","exp":1796000000}}"#
        ]],
    );
}

#[test]
fn fcm_shows_everything_a_notification_can_say() {
    check(
        &full(),
        Platform::Fcm,
        &facts(),
        expect![[
            r#"{"message":{‹token›,"notification":{"title":"Your \"order\"","body":"Nr 17\nHas left\nus","image":"https://shop.example/17.png"},"android":{"priority":"HIGH","ttl":"‹ttl›s","collapseKey":"order-17","notification":{"tag":"order-17","channelId":"orders-v2","sound":"bell.caf","notificationCount":3,"notificationPriority":"PRIORITY_HIGH"}},"data":{"order":"17","sum":"{\"net\":12.50,\"vat\":[1,null]}","carillon":"{\"v\":1,\"n\":\"01938a7b-0000-7000-8000-000000000001\",\"r\":\"‹reference›\",\"d\":\"‹device›\",\"l\":0,\"open\":{\"url\":\"https://shop.example/17\",\"as\":\"webview\"},\"buttons\":[{\"id\":\"track\",\"title\":\"Track\",\"open\":{\"screen\":\"map\"}},{\"id\":\"later\",\"title\":\"Later\"}],\"kind\":\"transactional\",\"exp\":1796000000}"}}}"#
        ]],
    );
}

#[test]
fn webpush_shows_everything_a_notification_can_say() {
    check(
        &full(),
        Platform::Webpush,
        &facts(),
        expect![[
            r#"{"title":"Your \"order\"","body":"Nr 17\nHas left\nus","icon":"https://shop.example/icon.png","image":"https://shop.example/17.png","badge":3,"tag":"order-17","actions":[{"action":"track","title":"Track"},{"action":"later","title":"Later"}],"data":{"order":"17","sum":{"net":12.50,"vat":[1,null]}},"carillon":{"v":1,"n":"01938a7b-0000-7000-8000-000000000001","r":"‹reference›","d":"‹device›","l":0,"open":{"url":"https://shop.example/17","as":"webview"},"buttons":[{"id":"track","title":"Track","open":{"screen":"map"}},{"id":"later","title":"Later"}],"kind":"transactional","exp":1796000000}}"#
        ]],
    );
}

#[test]
fn the_least_that_apns_gets() {
    check(
        &with(hello()),
        Platform::Apns,
        &facts(),
        expect![[
            r#"{"aps":{"alert":{"title":"Hello"},"mutable-content":1},"carillon":{"v":1,"n":"01938a7b-0000-7000-8000-000000000001","r":"‹reference›","d":"‹device›","l":0,"kind":"transactional","exp":1796000000}}"#
        ]],
    );
}

#[test]
fn the_least_that_fcm_gets() {
    check(
        &with(hello()),
        Platform::Fcm,
        &facts(),
        expect![[
            r#"{"message":{‹token›,"notification":{"title":"Hello"},"android":{"priority":"HIGH","ttl":"‹ttl›s","notification":{"tag":"01938a7b-0000-7000-8000-000000000001"}},"data":{"carillon":"{\"v\":1,\"n\":\"01938a7b-0000-7000-8000-000000000001\",\"r\":\"‹reference›\",\"d\":\"‹device›\",\"l\":0,\"kind\":\"transactional\",\"exp\":1796000000}"}}}"#
        ]],
    );
}

#[test]
fn the_least_that_webpush_gets() {
    let facts = Facts { icon_url: None, ..facts() };
    check(
        &with(hello()),
        Platform::Webpush,
        &facts,
        expect![[
            r#"{"title":"Hello","tag":"01938a7b-0000-7000-8000-000000000001","carillon":{"v":1,"n":"01938a7b-0000-7000-8000-000000000001","r":"‹reference›","d":"‹device›","l":0,"kind":"transactional","exp":1796000000}}"#
        ]],
    );
}

#[test]
fn silent_apns_wakes_the_app_and_shows_nothing() {
    check(
        &wake_up(),
        Platform::Apns,
        &facts(),
        expect![[
            r#"{"aps":{"content-available":1},"data":{"sync":true},"carillon":{"v":1,"n":"01938a7b-0000-7000-8000-000000000001","r":"‹reference›","d":"‹device›","l":0,"kind":"transactional","exp":1796000000}}"#
        ]],
    );
}

#[test]
fn silent_fcm_has_no_notification_and_normal_priority() {
    check(
        &wake_up(),
        Platform::Fcm,
        &facts(),
        expect![[
            r#"{"message":{‹token›,"android":{"priority":"NORMAL","ttl":"‹ttl›s"},"data":{"sync":"true","carillon":"{\"v\":1,\"n\":\"01938a7b-0000-7000-8000-000000000001\",\"r\":\"‹reference›\",\"d\":\"‹device›\",\"l\":0,\"kind\":\"transactional\",\"exp\":1796000000}"}}}"#
        ]],
    );
}

#[test]
fn silent_webpush_has_data_only() {
    check(
        &wake_up(),
        Platform::Webpush,
        &facts(),
        expect![[
            r#"{"data":{"sync":true},"carillon":{"v":1,"n":"01938a7b-0000-7000-8000-000000000001","r":"‹reference›","d":"‹device›","l":0,"kind":"transactional","exp":1796000000}}"#
        ]],
    );
}

#[test]
fn silent_fcm_is_urgent_where_the_caller_asked() {
    let draft = wake_up().draft().clone();
    let options = Options { priority: Some(Priority::High), ..Default::default() };
    let body = super::body(&Notification::accepted(Draft { options, ..draft }), Platform::Fcm, None);
    assert_eq!(body["message"]["android"]["priority"], "HIGH");
}

#[test]
fn a_critical_sound_plays_through_the_mute_switch() {
    let content =
        Content { sound: Some("siren".into()), interruption_level: Some(InterruptionLevel::Critical), ..hello() };
    let body = super::body(&with(content), Platform::Apns, None);
    assert_eq!(body["aps"]["sound"], serde_json::json!({"critical": 1, "name": "siren", "volume": 1}));
    assert_eq!(body["aps"]["interruption-level"], "critical");
}

#[test]
fn a_later_link_of_the_cascade_does_not_replace_the_first() {
    let n = with(hello());
    let facts = Facts { link: 2, ..facts() };
    let fcm = picture(&render(&n, Platform::Fcm, None, &facts).unwrap());
    assert!(fcm.contains(r#""tag":"01938a7b-0000-7000-8000-000000000001.2""#), "{fcm}");
    assert!(fcm.contains(r#"\"l\":2"#), "{fcm}");
}

#[test]
fn a_category_names_a_set_of_buttons() {
    let category = |n: &Notification, locale| super::body(n, Platform::Apns, locale)["aps"]["category"].clone();
    let n = full();
    assert_eq!(category(&n, None), category(&n, Some("de")));
    assert_ne!(category(&n, None), category(&n, Some("pl")), "other captions are another set");
    let mut draft = n.draft().clone();
    draft.content.buttons.reverse();
    assert_ne!(category(&Notification::accepted(draft), None), category(&n, None));
}
