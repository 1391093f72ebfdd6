//! What a strict FCM says, and what we make of it.

use std::time::Duration;

use carillon_dispatch::conformance::Device;
use carillon_dispatch::{Provider as _, Quota, Scope, TokenFate, Verdict};
use carillon_domain::delivery_status::Reason;
use provider_sim::{FcmProject, FcmTokens, Provider, Reply};
use serde_json::json;

use crate::google::{Google, PROJECT, is_sent, open, send, stored};

fn refused(reason: Reason, token: TokenFate) -> Verdict {
    Verdict::Rejected { reason, token }
}

#[tokio::test]
async fn an_accepted_message_has_fcms_name_and_a_strict_fcm_finds_no_fault() {
    let mut google = Google::start().await;
    let (fcm, key, device) = (google.replica(), google.key().await, google.device());
    let Verdict::Sent { provider_id: Some(name) } = send(&fcm, &open(&fcm, &key), &device).await else {
        panic!("it was not sent")
    };
    assert!(name.starts_with("projects/shop-17/messages/0:"), "{name}");
    let records = google.records(&device);
    assert_eq!((records.len(), records[0].violations.as_slice()), (1, [].as_slice()));
    assert_eq!(records[0].headers["content-type"], "application/json");
}

#[tokio::test]
async fn a_token_that_fcm_does_not_know_is_retired() {
    let mut google = Google::start().await;
    google.sim.require_known_tokens(true);
    let (fcm, key, device) = (google.replica(), google.key().await, google.device());
    let expected = refused(Reason::TokenInvalid, TokenFate::Retire { since: None });
    assert_eq!(send(&fcm, &open(&fcm, &key), &device).await, expected);
}

#[tokio::test]
async fn a_page_of_html_retires_nothing_whatever_its_status() {
    let mut google = Google::start().await;
    let (fcm, key, device) = (google.replica(), google.key().await, google.device());
    let page = Reply { body: Some("<!DOCTYPE html><p>Not found".to_owned()), ..Reply::status(404) };
    google.sim.script(Provider::Fcm, &device.token, [page]).unwrap();
    let verdict = send(&fcm, &open(&fcm, &key), &device).await;
    assert_eq!(verdict, Verdict::Misconfigured { detail: "NOT_FOUND".into() });
}

#[tokio::test]
async fn a_token_of_another_project_is_retired_unless_many_are() {
    let mut google = Google::start().await;
    let (fcm, key, device) = (google.replica(), google.key().await, google.device());
    let tokens = FcmTokens { project_id: "another".into(), tokens: vec![device.token.clone()] };
    google.sim.declare_fcm_tokens(tokens).unwrap();
    let expected = refused(Reason::TokenInvalid, TokenFate::RetireUnlessMany);
    assert_eq!(send(&fcm, &open(&fcm, &key), &device).await, expected);
}

#[tokio::test]
async fn a_malformed_token_is_to_blame_only_if_the_answer_says_so() {
    let mut google = Google::start().await;
    let (fcm, key) = (google.replica(), google.key().await);
    let key = open(&fcm, &key);
    let malformed = Device { token: "not a token".into(), ..Device::default() };
    let expected = refused(Reason::TokenInvalid, TokenFate::RetireUnlessMany);
    assert_eq!(send(&fcm, &key, &malformed).await, expected);
    let device = google.device();
    google.sim.script(Provider::Fcm, &device.token, [Reply::refuse("INVALID_ARGUMENT")]).unwrap();
    assert_eq!(send(&fcm, &key, &device).await, refused(Reason::ProviderRejected, TokenFate::Keep));
}

#[tokio::test]
async fn an_exhausted_project_pauses_as_long_as_google_says_or_a_minute() {
    let mut google = Google::start().await;
    let slow = FcmProject { messages_per_second: Some(1), ..FcmProject::new(PROJECT) };
    let (fcm, account) = (google.replica(), google.account(slow).await);
    let key = open(&fcm, &stored(&account));
    let throttled = |seconds, scope| Verdict::Throttled { retry_after: Some(Duration::from_secs(seconds)), scope };
    let device = google.device();
    google.sim.script(Provider::Fcm, &device.token, [Reply::refuse("QUOTA_EXCEEDED")]).unwrap();
    assert!(is_sent(&send(&fcm, &key, &google.device()).await));
    assert_eq!(send(&fcm, &key, &google.device()).await, throttled(1, Scope::Credential));
    assert_eq!(send(&fcm, &open(&fcm, &google.key().await), &device).await, throttled(60, Scope::Credential));
}

#[tokio::test]
async fn one_device_that_gets_too_much_pauses_nobody_else() {
    let mut google = Google::start().await;
    let (fcm, key, device) = (google.replica(), google.key().await, google.device());
    let details = json!([
        {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "QUOTA_EXCEEDED"},
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"subject": "device:1", "description": "Device message rate exceeded"}]},
    ]);
    let body = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": details}}).to_string();
    let reply = Reply { body: Some(body), ..Reply::refuse("QUOTA_EXCEEDED").retry_after(90) };
    google.sim.script(Provider::Fcm, &device.token, [reply]).unwrap();
    let expected = Verdict::Throttled { retry_after: Some(Duration::from_secs(90)), scope: Scope::Device };
    assert_eq!(send(&fcm, &open(&fcm, &key), &device).await, expected);
}

#[tokio::test]
async fn what_firebase_shows_to_apple_fails_the_one_message_and_no_other() {
    let mut google = Google::start().await;
    let (fcm, key, device) = (google.replica(), google.key().await, google.device());
    google.sim.script(Provider::Fcm, &device.token, [Reply::refuse("THIRD_PARTY_AUTH_ERROR")]).unwrap();
    let verdict = send(&fcm, &open(&fcm, &key), &device).await;
    assert_eq!(verdict, refused(Reason::Credential, TokenFate::Keep));
    assert_eq!((google.records(&device).len(), google.token_requests()), (1, 1), "no bearer token was to blame");
}

#[tokio::test]
async fn an_account_that_may_not_send_for_the_project_holds_the_messages() {
    let mut google = Google::start().await;
    let fcm = google.replica();
    let mut account = google.account(FcmProject::new("another")).await;
    account["project_id"] = PROJECT.into();
    let verdict = send(&fcm, &open(&fcm, &stored(&account)), &google.device()).await;
    assert_eq!(verdict, Verdict::Misconfigured { detail: "IAM_PERMISSION_DENIED".into() });
}

#[tokio::test]
async fn googles_own_failures_are_tried_again_when_google_says() {
    let mut google = Google::start().await;
    let (fcm, key) = (google.replica(), google.key().await);
    let key = open(&fcm, &key);
    for (word, retry_after) in [("INTERNAL", None), ("UNAVAILABLE", Some(12)), ("UNSPECIFIED_ERROR", None)] {
        let device = google.device();
        let reply = Reply::refuse(word);
        let reply = retry_after.map_or(reply.clone(), |seconds| reply.retry_after(seconds));
        google.sim.script(Provider::Fcm, &device.token, [reply]).unwrap();
        let after = retry_after.map(Duration::from_secs);
        let expected = match after {
            Some(_) => Verdict::Unavailable { retry_after: after },
            None => Verdict::Failing { at_least: Duration::from_secs(10) },
        };
        assert_eq!(send(&fcm, &key, &device).await, expected, "{word}");
    }
}

#[tokio::test]
async fn everything_of_a_project_shares_googles_quota() {
    let google = Google::start().await;
    let (fcm, key) = (google.replica(), google.key().await);
    let quota = fcm.quota(&fcm.open(&key).unwrap());
    assert_eq!(quota, Some(Quota { key: PROJECT.into(), per_second: 10_000.0, burst: 10_000.0 }));
}
