//! Overrides.

use super::{body, facts, hello, json, refusal, with};
use crate::{CheckError, Problem, Splice, check, render};
use carillon_domain::content::{Content, Overrides};
use carillon_domain::platform::Platform;
use serde_json::json as value;

fn overriding(platform: Platform, patch: &str) -> Content {
    let patch = Some(json(patch));
    let overrides = match platform {
        Platform::Apns => Overrides { apns: patch, ..Default::default() },
        Platform::Fcm => Overrides { fcm: patch, ..Default::default() },
        Platform::Webpush => Overrides { webpush: patch, ..Default::default() },
    };
    Content { overrides, badge: Some(2), data: vec![("o".into(), json(r#"{"a":1,"b":2}"#))], ..hello() }
}

#[test]
fn overrides_add_replace_and_remove_in_the_payload_of_apns() {
    let patch = r#"{"aps":{"badge":null,"alert":{"title":"Hi","loc-key":"K"},"relevance-score":0.10},"data":{"o":{"a":null,"c":3}},"x":[1]}"#;
    let n = with(overriding(Platform::Apns, patch));
    let body = body(&n, Platform::Apns, None);
    assert_eq!(
        body["aps"],
        value!({"alert": {"title": "Hi", "loc-key": "K"}, "mutable-content": 1, "relevance-score": 0.1})
    );
    assert_eq!((&body["data"], &body["x"]), (&value!({"o": {"b": 2, "c": 3}}), &value!([1])));
    let bytes = render(&n, Platform::Apns, None, &facts()).unwrap();
    assert!(std::str::from_utf8(bytes.bytes()).unwrap().contains(r#""relevance-score":0.10"#), "as it was written");
}

#[test]
fn overrides_of_fcm_meet_the_same_field_in_either_spelling() {
    let patch = r#"{"android":{"collapse_key":"k","restrictedPackageName":"p","notification":{"notification_count":9}},"data":{"snake_case":"s"},"fcm_options":{"analytics_label":"l"}}"#;
    let message = &body(&with(overriding(Platform::Fcm, patch)), Platform::Fcm, None)["message"];
    assert_eq!(message["android"]["collapseKey"], "k");
    assert_eq!(message["android"]["restrictedPackageName"], "p");
    assert_eq!(message["android"]["notification"]["notificationCount"], 9);
    assert_eq!(message["data"]["snake_case"], "s", "names of data are the caller's");
    assert_eq!(message["fcmOptions"]["analyticsLabel"], "l");
}

#[test]
fn overrides_of_webpush_merge_into_the_body() {
    let body = body(&with(overriding(Platform::Webpush, r#"{"icon":null,"dir":"rtl"}"#)), Platform::Webpush, None);
    assert_eq!((body.get("icon"), &body["dir"]), (None, &value!("rtl")));
}

#[test]
fn a_replaced_place_takes_its_splice_point_along() {
    let n = with(overriding(Platform::Fcm, r#"{"android":null}"#));
    let template = render(&n, Platform::Fcm, None, &facts()).unwrap();
    let kinds: Vec<_> = template.splices().iter().map(|(_, s)| *s).collect();
    assert_eq!(kinds, [Splice::Token, Splice::Reference, Splice::Device]);
}

#[test]
fn what_the_platform_writes_cannot_be_overridden() {
    let table = [
        (Platform::Apns, r#"{"carillon":{"v":2}}"#, "/carillon", Problem::Reserved),
        (Platform::Apns, r#"{"carillon":null}"#, "/carillon", Problem::Reserved),
        (Platform::Webpush, r#"{"carillon":1}"#, "/carillon", Problem::Reserved),
        (Platform::Fcm, r#"{"token":"t"}"#, "/token", Problem::Reserved),
        (Platform::Fcm, r#"{"fid":"t"}"#, "/fid", Problem::Reserved),
        (Platform::Fcm, r#"{"topic":"t"}"#, "/topic", Problem::Reserved),
        (Platform::Fcm, r#"{"condition":"t"}"#, "/condition", Problem::Reserved),
        (Platform::Fcm, r#"{"data":{"carillon":"{}"}}"#, "/data/carillon", Problem::Reserved),
        (Platform::Fcm, r#"{"data":null}"#, "/data", Problem::NotAnObject),
        (Platform::Fcm, r#"{"android":{"data":{}}}"#, "/android/data", Problem::Reserved),
        (Platform::Fcm, r#"{"android_v2":{"data":{}}}"#, "/androidV2/data", Problem::Reserved),
        (Platform::Fcm, r#"{"data":{"a/b":1}}"#, "/data/a~1b", Problem::NotAString),
        (Platform::Apns, "[]", "", Problem::NotAnObject),
        (Platform::Apns, "{", "", Problem::NotJson),
        (Platform::Apns, r#"{"a":1} x"#, "", Problem::NotJson),
    ];
    for (platform, patch, pointer, problem) in table {
        let error = refusal(overriding(platform, patch), platform);
        let pointer = format!("/content/overrides/{}{pointer}", platform.as_str());
        assert_eq!((error.pointer, error.problem), (pointer, problem), "{patch}");
    }
}

#[test]
fn overrides_nested_without_end_are_refused() {
    let patch = format!("{}1{}", r#"{"a":"#.repeat(5_000), "}".repeat(5_000));
    assert_eq!(refusal(overriding(Platform::Apns, &patch), Platform::Apns).problem, Problem::TooDeep);
}

#[test]
fn every_platforms_overrides_are_checked_at_accept_and_each_fault_is_told_once() {
    let overrides = Overrides { apns: Some(json("1")), fcm: Some(json(r#"{"fid":"x"}"#)), webpush: Some(json("nope")) };
    let content = Content { overrides, data: vec![("k".into(), json("{"))], ..hello() };
    let Err(CheckError::Content(errors)) = check(&with(content), &[Platform::Apns, Platform::Fcm], &facts()) else {
        panic!("accepted")
    };
    let at: Vec<_> = errors.iter().map(|e| e.pointer.as_str()).collect();
    assert_eq!(
        at,
        ["/content/overrides/apns", "/content/overrides/fcm/fid", "/content/overrides/webpush", "/content/data/k"]
    );
}
