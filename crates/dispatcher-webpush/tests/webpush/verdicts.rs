//! What a strict push service says, and what we make of it; whom we do not ask at all.

use bytes::Bytes;
use carillon_dispatch::conformance::{Device, facts, message};
use carillon_dispatch::{TokenFate, Verdict};
use carillon_domain::delivery_status::Reason;
use carillon_egress::{AllowHosts, TlsConfig};
use carillon_runtime::Clock;
use jiff::Timestamp;
use provider_sim::{Provider, Reply};

use crate::browser::{Browsers, is_sent, key, open, pair, provider, send, send_of, stored, stored_after};

fn refused(reason: Reason, token: TokenFate) -> Verdict {
    Verdict::Rejected { reason, token }
}

#[tokio::test]
async fn a_subscription_that_the_browser_ended_is_retired() {
    let browsers = Browsers::start().await;
    let webpush = browsers.replica();
    let key = open(&webpush, &key());
    let (ended, unknown) = (browsers.device().await, browsers.device().await);
    browsers.sim.end_subscription(&ended.token);
    browsers.sim.script(Provider::Webpush, &unknown.token, [Reply::status(404)]).unwrap();
    for device in [ended, unknown] {
        let expected = refused(Reason::TokenInvalid, TokenFate::Retire { since: None });
        assert_eq!(send(&webpush, &key, &device).await, expected);
    }
}

#[tokio::test]
async fn a_throttle_without_a_time_and_a_failure_retire_nothing() {
    let browsers = Browsers::start().await;
    let webpush = browsers.replica();
    let key = open(&webpush, &key());
    for status in [408, 429, 500, 502, 503] {
        let device = browsers.device().await;
        browsers.sim.script(Provider::Webpush, &device.token, [Reply::status(status)]).unwrap();
        let verdict = send(&webpush, &key, &device).await;
        let waits = matches!(verdict, Verdict::Throttled { .. } | Verdict::Unavailable { .. });
        assert!(waits, "{status}: {verdict:?}");
    }
}

#[tokio::test]
async fn a_subscription_of_another_pair_fails_alone_and_is_kept() {
    let browsers = Browsers::start().await;
    let webpush = browsers.replica();
    let key = open(&webpush, &key());
    let (older, device) = (browsers.device_for(&pair(2).0).await, browsers.device().await);
    for _ in 0..30 {
        assert_eq!(send(&webpush, &key, &older).await, refused(Reason::Credential, TokenFate::Keep));
        assert!(is_sent(&send(&webpush, &key, &device).await));
    }
}

#[tokio::test]
async fn a_subscription_of_an_older_pair_is_reached_with_it_and_asked_for_the_newer_one_only_once() {
    let browsers = Browsers::start().await;
    let webpush = browsers.replica();
    let key = open(&webpush, &stored_after("mailto:push@shop.example", 1, 2));
    let (older, device, stranger) =
        (browsers.device_for(&pair(2).0).await, browsers.device().await, browsers.device_for(&pair(3).0).await);
    for _ in 0..3 {
        assert!(is_sent(&send(&webpush, &key, &older).await));
        assert!(is_sent(&send(&webpush, &key, &device).await));
        assert_eq!(send(&webpush, &key, &stranger).await, refused(Reason::Credential, TokenFate::Keep));
    }
    assert_eq!(browsers.records(&older).len(), 4, "three taken, one refused");
    assert_eq!(browsers.records(&device).len(), 3);
}

#[tokio::test]
async fn a_pair_that_no_subscription_knows_holds_the_messages() {
    let browsers = Browsers::start().await;
    let webpush = browsers.replica();
    let (key, older) = (open(&webpush, &key()), browsers.device_for(&pair(2).0).await);
    for _ in 0..20 {
        assert_eq!(send(&webpush, &key, &older).await, refused(Reason::Credential, TokenFate::Keep));
    }
    let expected = Verdict::Misconfigured { detail: "VapidPkHashMismatch".into() };
    assert_eq!(send(&webpush, &key, &older).await, expected);
}

#[tokio::test]
async fn a_contact_that_the_service_does_not_take_holds_the_messages() {
    let browsers = Browsers::start().await;
    let (webpush, device) = (browsers.replica(), browsers.device().await);
    let key = open(&webpush, &stored("https://localhost/", 1));
    assert_eq!(send(&webpush, &key, &device).await, Verdict::Misconfigured { detail: "BadJwtToken".into() });
}

#[tokio::test]
async fn a_body_that_no_service_must_take_is_not_sent() {
    let browsers = Browsers::start().await;
    let (webpush, device) = (browsers.replica(), browsers.device().await);
    let key = open(&webpush, &key());
    let facts = facts(Timestamp::now());
    let of = |length| message(&device, Bytes::from(vec![b'x'; length]));
    let expected = refused(Reason::PayloadTooLarge, TokenFate::Keep);
    assert_eq!(send_of(&facts, &webpush, &key, of(3994)).await, expected);
    assert_eq!(browsers.records(&device).len(), 0);
    assert!(is_sent(&send_of(&facts, &webpush, &key, of(3993)).await), "the longest one is taken");
}

#[tokio::test]
async fn an_endpoint_that_points_inside_is_never_connected_to() {
    let browsers = Browsers::start().await;
    let device = browsers.device().await;
    let webpush = provider(AllowHosts::default(), TlsConfig::default(), Clock::system());
    let key = open(&webpush, &key());
    let inside = |endpoint: String| Device { token: endpoint, ..device.clone() };
    let (_, port) = browsers.sim.urls().webpush.rsplit_once(':').unwrap();
    for endpoint in [
        device.token.clone(),
        format!("https://127.0.0.1:{port}/push/x"),
        format!("https://[::1]:{port}/push/x"),
        format!("http://localhost:{port}/push/x"),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        "https://me@push.example/x".to_owned(),
        "not a url".to_owned(),
    ] {
        let expected = refused(Reason::TokenInvalid, TokenFate::RetireUnlessMany);
        assert_eq!(send(&webpush, &key, &inside(endpoint.clone())).await, expected, "{endpoint}");
    }
    assert_eq!(browsers.sim.connections(Provider::Webpush), (0, 0));
}

#[tokio::test]
async fn keys_that_nobody_can_encrypt_for_are_a_dead_subscription() {
    let browsers = Browsers::start().await;
    let (webpush, device) = (browsers.replica(), browsers.device().await);
    let key = open(&webpush, &key());
    let mut off_the_curve = vec![1; 65];
    off_the_curve[0] = 4;
    for broken in [
        Device { p256dh: off_the_curve, ..device.clone() },
        Device { p256dh: Vec::new(), ..device.clone() },
        Device { auth: vec![0; 15], ..device.clone() },
    ] {
        let expected = refused(Reason::TokenInvalid, TokenFate::RetireUnlessMany);
        assert_eq!(send(&webpush, &key, &broken).await, expected);
    }
    assert_eq!(browsers.records(&device).len(), 0);
}

#[tokio::test]
async fn a_service_whose_certificate_nobody_vouches_for_is_told_nothing() {
    let browsers = Browsers::start().await;
    let device = browsers.device().await;
    let host = browsers.sim.urls().webpush.strip_prefix("https://").unwrap().parse().unwrap();
    let webpush = provider(host, TlsConfig::default(), Clock::system());
    let verdict = send(&webpush, &open(&webpush, &key()), &device).await;
    assert_eq!(verdict, Verdict::Unavailable { retry_after: None });
    assert_eq!(browsers.records(&device).len(), 0);
}
