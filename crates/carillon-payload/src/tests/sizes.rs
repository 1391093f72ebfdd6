//! Limits.

use super::{facts, hello, with};
use crate::{Address, CheckError, TooLarge, Values, check, largest, limit, render};
use carillon_domain::content::{Content, Localized};
use carillon_domain::notification::Notification;
use carillon_domain::platform::Platform;
use carillon_domain::reference::TEXT_LEN;

/// A notification whose largest body on this platform has exactly `bytes`.
fn of_size(platform: Platform, bytes: usize) -> Notification {
    let with_body = |len: usize| with(Content { body: Some("x".repeat(len)), ..hello() });
    let rest = largest(&with_body(0), platform, &facts()).unwrap();
    with_body(bytes - rest)
}

#[test]
fn a_body_of_exactly_the_limit_fits_and_one_byte_more_does_not() {
    for platform in Platform::ALL {
        let (platform, limit) = (*platform, limit(*platform));
        assert_eq!(check(&of_size(platform, limit), &[platform], &facts()), Ok(()));
        let expected = TooLarge { platform, bytes: limit + 1, limit };
        let over = of_size(platform, limit + 1);
        assert_eq!(check(&over, &[platform], &facts()), Err(CheckError::TooLarge(vec![expected])));
    }
}

#[test]
fn no_message_is_larger_than_what_was_checked() {
    let device = "d".repeat(128);
    let values = Values::new(Address::Token(""), &device, super::reference(), 28 * 24 * 3600);
    for platform in Platform::ALL {
        let n = of_size(*platform, limit(*platform));
        let sent = render(&n, *platform, None, &facts()).unwrap().rendered_len(&values);
        let target = if *platform == Platform::Fcm { r#""token":"""#.len() } else { 0 };
        assert_eq!(sent - target, limit(*platform));
    }
    const { assert!(TEXT_LEN <= 48, "the contract's bound") };
}

#[test]
fn the_largest_locale_decides() {
    let long = Localized { locale: "de".into(), title: Some("ü".repeat(2_000)), ..Default::default() };
    let n = with(Content { localized: vec![long], ..hello() });
    let Err(CheckError::TooLarge(all)) = check(&n, Platform::ALL, &facts()) else { panic!("accepted") };
    assert_eq!(all.iter().map(|t| t.platform).collect::<Vec<_>>(), Platform::ALL);
    assert!(all.iter().all(|t| t.bytes > 4_000 && t.limit == limit(t.platform)));
}

#[test]
fn a_platform_that_is_not_asked_for_does_not_refuse() {
    let n = of_size(Platform::Webpush, limit(Platform::Webpush) + 1);
    assert_eq!(check(&n, &[Platform::Apns], &facts()), Ok(()));
}
