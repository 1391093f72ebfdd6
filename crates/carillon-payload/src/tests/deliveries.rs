//! What goes into headers.

use super::{ID, facts, full, hello, with};
use crate::{Delivery, Facts, delivery};
use carillon_domain::content::{Content, InterruptionLevel};
use carillon_domain::notification::{Draft, Notification, Options, Priority};
use carillon_domain::platform::Platform;

fn silent(badge: Option<u32>, priority: Option<Priority>) -> Notification {
    let content = Content { silent: true, badge, ..Default::default() };
    Notification::accepted(Draft { content, options: Options { priority, ..Default::default() }, ..Default::default() })
}

fn of(n: &Notification, platform: Platform) -> Delivery {
    delivery(n, platform, &facts())
}

#[test]
fn what_is_shown_is_urgent_and_carries_the_callers_key() {
    let expected = Delivery {
        shown: true,
        priority: Priority::High,
        collapse_id: "order-17".into(),
        collapse_chosen: true,
        interruption_level: Some(InterruptionLevel::TimeSensitive),
    };
    assert_eq!(of(&full(), Platform::Apns), expected);
    assert_eq!(of(&full(), Platform::Fcm), expected);
    assert!(of(&full(), Platform::Webpush).collapse_chosen);
}

#[test]
fn an_apns_background_push_is_never_urgent() {
    let urgent = silent(None, Some(Priority::High));
    assert_eq!(of(&urgent, Platform::Apns).priority, Priority::Normal);
    assert_eq!(of(&urgent, Platform::Fcm).priority, Priority::High);
    assert_eq!(of(&silent(None, None), Platform::Fcm).priority, Priority::Normal);
}

#[test]
fn silent_content_with_a_badge_is_an_alert_for_apns_alone() {
    let n = silent(Some(4), None);
    assert!(of(&n, Platform::Apns).shown && !of(&n, Platform::Fcm).shown);
    assert!(!of(&silent(None, None), Platform::Apns).shown);
    let aps = &super::body(&n, Platform::Apns, None)["aps"];
    assert_eq!(*aps, serde_json::json!({"content-available": 1, "badge": 4}));
}

#[test]
fn without_a_key_the_notification_names_itself() {
    let n = with(hello());
    assert_eq!(of(&n, Platform::Apns).collapse_id, ID.0.to_string());
    assert!(!of(&n, Platform::Apns).collapse_chosen);
    let second = delivery(&n, Platform::Apns, &Facts { link: u16::MAX, ..facts() }).collapse_id;
    assert!(second != ID.0.to_string() && second.len() <= 64);
}

#[test]
fn a_topic_is_short_base64url_and_differs_by_key_and_by_link() {
    let keyed = |key: &str| {
        let options = Options { collapse_key: Some(key.into()), ..Default::default() };
        Notification::accepted(Draft { content: hello(), options, ..Default::default() })
    };
    let facts = facts();
    let all = [
        delivery(&with(hello()), Platform::Webpush, &facts).collapse_id,
        delivery(&with(hello()), Platform::Webpush, &Facts { link: 1, ..facts }).collapse_id,
        delivery(&keyed("a"), Platform::Webpush, &facts).collapse_id,
        delivery(&keyed(&"~".repeat(64)), Platform::Webpush, &facts).collapse_id,
    ];
    for (i, topic) in all.iter().enumerate() {
        assert!(topic.len() <= 32 && topic.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert!(!all[..i].contains(topic));
    }
    assert_eq!(all[2], delivery(&keyed("a"), Platform::Webpush, &Facts { link: 1, ..facts }).collapse_id);
}
