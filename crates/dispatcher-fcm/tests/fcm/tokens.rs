//! Bearer tokens: fetched once, renewed in time, replaced when refused.

use std::time::Duration;

use carillon_dispatch::conformance::facts;
use carillon_dispatch::{Provider as _, Verdict};
use carillon_egress::TlsConfig;
use carillon_runtime::Clock;
use futures::future::join_all;
use jiff::Timestamp;
use provider_sim::{Conditions, Failure, FcmProject, Provider, Reply};

use crate::google::{Google, PATIENCE, PROJECT, is_sent, open, send, stored};

fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

fn hold(google: &Google, paused: bool) {
    google.sim.set_conditions(Provider::FcmToken, Conditions { paused, ..Conditions::default() }).unwrap();
}

fn fail(google: &Google, reply: Reply) {
    let fail = Some(Failure { reply, for_ms: None });
    google.sim.set_conditions(Provider::FcmToken, Conditions { fail, ..Conditions::default() }).unwrap();
}

#[tokio::test]
async fn fifty_who_need_a_token_at_once_fetch_one() {
    let mut google = Google::start().await;
    let (fcm, key) = (google.replica(), google.key().await);
    let key = open(&fcm, &key);
    let devices: Vec<_> = (0..50).map(|_| google.device()).collect();
    let verdicts = join_all(devices.iter().map(|device| send(&fcm, &key, device))).await;
    assert!(verdicts.iter().all(is_sent), "{verdicts:?}");
    assert!(is_sent(&send(&fcm, &key, &devices[0]).await));
    assert_eq!(google.token_requests(), 1);
}

#[tokio::test]
async fn fifty_who_wait_for_an_endpoint_that_fails_ask_it_once() {
    let google = Google::start().await;
    let (fcm, key) = (google.replica(), google.key().await);
    let key = open(&fcm, &key);
    fail(&google, Reply::status(503).retry_after(9));
    let facts = facts(Timestamp::now());
    let prepared = join_all((0..50).map(|_| fcm.prepare(&facts, &key))).await;
    let expected = Verdict::Unavailable { retry_after: Some(Duration::from_secs(9)) };
    assert!(prepared.iter().all(|one| one.as_ref().err() == Some(&expected)));
    assert_eq!(google.token_requests(), 1);
}

#[tokio::test]
async fn a_fetch_goes_on_when_nobody_waits_for_it_any_more() {
    let mut google = Google::start().await;
    let (fcm, key, device) = (google.replica(), google.key().await, google.device());
    let key = open(&fcm, &key);
    hold(&google, true);
    let facts = facts(Timestamp::now());
    tokio::select! {
        _ = fcm.prepare(&facts, &key) => panic!("there is no token yet"),
        () = google.until_token_requests(1) => {}
    }
    hold(&google, false);
    assert!(is_sent(&send(&fcm, &key, &device).await));
    assert_eq!(google.token_requests(), 1);
}

#[tokio::test]
async fn a_token_is_renewed_at_four_fifths_of_its_life_while_the_old_one_is_used() {
    let clock = Clock::manual(Timestamp::now());
    let mut google = Google::at(clock.clone()).await;
    let (fcm, key, device) = (google.replica(), google.key().await, google.device());
    let key = open(&fcm, &key);
    assert!(is_sent(&send(&fcm, &key, &device).await));
    clock.advance(minutes(47));
    assert!(is_sent(&send(&fcm, &key, &device).await));
    assert_eq!(google.token_requests(), 1, "too early");
    hold(&google, true);
    clock.advance(minutes(2));
    assert!(is_sent(&send(&fcm, &key, &device).await), "nobody waits for a renewal");
    google.until_token_requests(2).await;
    assert!(is_sent(&send(&fcm, &key, &device).await));
    hold(&google, false);
    clock.advance(minutes(10));
    assert!(is_sent(&send(&fcm, &key, &device).await), "the old token's life is over");
    assert_eq!(google.token_requests(), 2);
}

#[tokio::test]
async fn a_renewal_that_fails_is_not_repeated_by_every_message() {
    let clock = Clock::manual(Timestamp::now());
    let mut google = Google::at(clock.clone()).await;
    let (fcm, key, device) = (google.replica(), google.key().await, google.device());
    let key = open(&fcm, &key);
    assert!(is_sent(&send(&fcm, &key, &device).await));
    fail(&google, Reply::status(503));
    clock.advance(minutes(50));
    for _ in 0..20 {
        assert!(is_sent(&send(&fcm, &key, &device).await));
    }
    google.until_token_requests(2).await;
    assert_eq!(google.token_requests(), 2);
    // The failure may be on its way to us still, so the rest may begin later than the clock's first step.
    let repeated = async {
        while google.token_requests() < 3 {
            clock.advance(Duration::from_secs(1));
            assert!(is_sent(&send(&fcm, &key, &device).await));
        }
    };
    tokio::time::timeout(PATIENCE, repeated).await.unwrap();
}

#[tokio::test]
async fn a_token_that_google_refuses_is_replaced_once_for_all_who_use_it() {
    let mut google = Google::start().await;
    let (fcm, key) = (google.replica(), google.key().await);
    let key = open(&fcm, &key);
    assert!(is_sent(&send(&fcm, &key, &google.device()).await));
    google.sim.revoke_fcm_bearers();
    let devices: Vec<_> = (0..50).map(|_| google.device()).collect();
    let verdicts = join_all(devices.iter().map(|device| send(&fcm, &key, device))).await;
    assert!(verdicts.iter().all(is_sent), "{verdicts:?}");
    assert_eq!(google.token_requests(), 2);
    let statuses: Vec<_> = google.records(&devices[0]).iter().map(|record| record.status).collect();
    assert_eq!(statuses, [401, 200]);
}

#[tokio::test]
async fn a_token_that_is_refused_again_holds_the_messages_and_fetches_no_third() {
    let mut google = Google::start().await;
    let (fcm, key) = (google.replica(), google.key().await);
    let key = open(&fcm, &key);
    let refused = Verdict::Misconfigured { detail: "UNAUTHENTICATED".into() };
    let device = google.device();
    let unauthenticated = Reply { reason: Some("UNAUTHENTICATED".into()), ..Reply::status(401) };
    google.sim.script(Provider::Fcm, &device.token, [unauthenticated.always()]).unwrap();
    assert_eq!(send(&fcm, &key, &device).await, refused);
    assert_eq!((google.records(&device).len(), google.token_requests()), (2, 2));
    assert_eq!(send(&fcm, &key, &device).await, refused);
    assert_eq!((google.records(&device).len(), google.token_requests()), (3, 2), "once in half a minute is enough");
}

#[tokio::test]
async fn an_account_that_google_does_not_know_holds_the_messages() {
    let mut google = Google::start().await;
    let (fcm, account) = (google.replica(), google.account(FcmProject::new(PROJECT)).await);
    google.sim.remove_fcm_project(PROJECT);
    let verdict = send(&fcm, &open(&fcm, &stored(&account)), &google.device()).await;
    assert_eq!(verdict, Verdict::Misconfigured { detail: "invalid_grant".into() });
}

#[tokio::test]
async fn a_host_whose_certificate_nobody_vouches_for_is_told_nothing() {
    let mut google = Google::start().await;
    let (fcm, key, device) = (google.replica_trusting(TlsConfig::default()), google.key().await, google.device());
    let verdict = send(&fcm, &open(&fcm, &key), &device).await;
    assert_eq!(verdict, Verdict::Unavailable { retry_after: None });
    assert_eq!(google.token_requests(), 0);
}

#[tokio::test]
async fn an_account_whose_tokens_come_from_a_stranger_is_not_opened() {
    let google = Google::start().await;
    let (fcm, mut account) = (google.replica(), google.account(FcmProject::new(PROJECT)).await);
    account["token_uri"] = "https://evil.example/token".into();
    let error = fcm.open(&stored(&account)).err().unwrap();
    assert_eq!(error.to_string(), "the token_uri is neither at googleapis.com nor at an allowed host");
}

#[tokio::test]
async fn an_account_with_a_key_that_is_none_is_not_opened_and_not_quoted() {
    let google = Google::start().await;
    let (fcm, mut account) = (google.replica(), google.account(FcmProject::new(PROJECT)).await);
    account["private_key"] = "sesame".into();
    let error = fcm.open(&stored(&account)).err().unwrap();
    assert!(!error.to_string().contains("sesame"), "{error}");
}

#[tokio::test]
async fn a_strict_endpoint_takes_assertions_of_every_length() {
    let mut google = Google::start().await;
    let (fcm, device) = (google.replica(), google.device());
    for project in ["shop-1", "shop-12", "shop-123"] {
        let account = google.account(FcmProject::new(project)).await;
        assert!(is_sent(&send(&fcm, &open(&fcm, &stored(&account)), &device).await), "{project}");
    }
}
