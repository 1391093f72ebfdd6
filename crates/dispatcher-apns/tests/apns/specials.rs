use std::time::Duration;

use carillon_dispatch::conformance::facts;
use carillon_dispatch::{ChunkFacts, Scope, TokenFate, Verdict};
use carillon_domain::delivery_status::Reason;
use carillon_domain::device::Environment;
use carillon_runtime::Clock;
use jiff::Timestamp;
use provider_sim::{ApnsCertificate, ApnsToken, Config, Environment as World, Fate, Provider, Reply};
use serde_json::json;

use crate::apple::{Apple, BUNDLE, KEY, TEAM, send, send_of};

fn declare(apple: &Apple, token: &str, environment: World) {
    let token = ApnsToken { token: token.into(), bundle_id: None, environment: Some(environment) };
    apple.sim.declare_apns_tokens(vec![token]).unwrap();
}

fn retired() -> Verdict {
    Verdict::Rejected { reason: Reason::TokenInvalid, token: TokenFate::RetireUnlessMany }
}

fn is_sent(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Sent { .. })
}

#[tokio::test]
async fn a_device_of_an_unknown_environment_is_found_in_the_other_one() {
    let mut apple = Apple::start().await;
    let (apns, key, device) = (apple.replica(), apple.key(TEAM, KEY), apple.device());
    declare(&apple, &device.token, World::Sandbox);
    assert!(is_sent(&send(&apns, &key, &device, Environment::Unknown).await));
    let statuses: Vec<_> = apple.records(&device).iter().map(|r| r.status).collect();
    assert_eq!(statuses, [400, 200], "production first, then the other once");
    assert_eq!(
        send(&apns, &key, &device, Environment::Production).await,
        retired(),
        "a known environment is not doubted"
    );
}

#[tokio::test]
async fn a_device_that_neither_environment_knows_is_retired() {
    let mut apple = Apple::start().await;
    apple.sim.require_known_tokens(true);
    let (apns, key, device) = (apple.replica(), apple.key(TEAM, KEY), apple.device());
    assert_eq!(send(&apns, &key, &device, Environment::Unknown).await, retired());
    assert_eq!(apple.records(&device).len(), 2);
}

#[tokio::test]
async fn a_key_for_one_environment_serves_devices_of_an_unknown_one() {
    let mut apple = Apple::start().await;
    let key = apple.key_for(TEAM, KEY, Some(World::Sandbox));
    let (apns, device) = (apple.replica(), apple.device());
    assert!(is_sent(&send(&apns, &key, &device, Environment::Unknown).await));
    let refused = send(&apns, &key, &device, Environment::Production).await;
    assert_eq!(refused, Verdict::Misconfigured { detail: "BadEnvironmentKeyIdInToken".into() });
}

#[tokio::test]
async fn a_dead_token_is_dead_since_apple_says_also_under_a_word_that_a2_lacks() {
    let mut apple = Apple::start().await;
    let (apns, key) = (apple.replica(), apple.key(TEAM, KEY));
    for word in ["Unregistered", "ExpiredToken"] {
        let device = apple.device();
        let reply = Reply::refuse(word).since(1_508_249_865_488);
        apple.sim.script(Provider::Apns, &device.token, [reply]).unwrap();
        let since = Timestamp::from_millisecond(1_508_249_865_488).ok();
        let expected = Verdict::Rejected { reason: Reason::TokenInvalid, token: TokenFate::Retire { since } };
        assert_eq!(send(&apns, &key, &device, Environment::Production).await, expected);
    }
}

#[tokio::test]
async fn every_copy_of_a_message_looks_the_same_to_apple_whichever_replica_sends_it() {
    let mut apple = Apple::start().await;
    let (key, device) = (apple.key(TEAM, KEY), apple.device());
    let facts = facts(Timestamp::now());
    for _ in 0..2 {
        assert!(is_sent(&send_of(&facts, &apple.replica(), &key, &device, Environment::Production).await));
    }
    let records = apple.records(&device);
    assert_eq!(records[0].headers, records[1].headers, "apns-id, provider token and all");
    let header = |name: &str| records[0].headers.get(name).cloned().unwrap_or_default();
    assert_eq!([header("apns-topic"), header("apns-push-type"), header("apns-priority")], [BUNDLE, "alert", "10"]);
    assert_eq!(header("apns-expiration"), facts.expires_at.as_second().to_string());
    assert_eq!(header("apns-collapse-id"), facts.collapse_id);
}

#[tokio::test]
async fn a_background_push_is_taken_by_a_strict_apple() {
    let mut apple = Apple::start().await;
    let (apns, key, device) = (apple.replica(), apple.key(TEAM, KEY), apple.device());
    let silent = ChunkFacts { shown: false, ..facts(Timestamp::now()) };
    assert!(is_sent(&send_of(&silent, &apns, &key, &device, Environment::Production).await));
}

#[tokio::test]
async fn a_new_provider_token_follows_the_old_one_without_complaint() {
    let mut apple = Apple::start().await;
    let (key, device) = (apple.key(TEAM, KEY), apple.device());
    let clock = Clock::manual(Timestamp::now());
    let apns = apple.replica_at(clock.clone());
    for _ in 0..6 {
        assert!(is_sent(&send(&apns, &key, &device, Environment::Production).await));
        clock.advance(Duration::from_secs(20 * 60));
        apple.sim.advance_clock(Duration::from_secs(20 * 60));
    }
    let mut tokens: Vec<_> = apple.records(&device).iter().map(|r| r.headers["authorization"].clone()).collect();
    tokens.dedup();
    assert!((2..=4).contains(&tokens.len()), "{} tokens in 100 minutes", tokens.len());
}

#[tokio::test]
async fn teams_share_no_connection() {
    let mut apple = Apple::start().await;
    let (apns, device) = (apple.replica(), apple.device());
    let keys = [apple.key(TEAM, KEY), apple.key("TEAM654321", "KEY7654321")];
    for key in keys.iter().chain(&keys) {
        assert!(is_sent(&send(&apns, key, &device, Environment::Production).await));
    }
    assert_eq!(apple.sim.connections(Provider::Apns).1, 2);
}

#[tokio::test]
async fn a_revoked_key_is_the_apps_fault_and_no_devices() {
    let mut apple = Apple::start().await;
    let (apns, key, device) = (apple.replica(), apple.key(TEAM, KEY), apple.device());
    assert!(is_sent(&send(&apns, &key, &device, Environment::Production).await));
    apple.sim.revoke_apns_key(TEAM, KEY);
    let refused = send(&apns, &key, &device, Environment::Production).await;
    assert_eq!(refused, Verdict::Misconfigured { detail: "InvalidProviderToken".into() });
}

#[tokio::test]
async fn too_many_token_updates_pause_the_key_and_fail_nothing() {
    let mut apple = Apple::start().await;
    let (apns, key, device) = (apple.replica(), apple.key(TEAM, KEY), apple.device());
    apple.sim.script(Provider::Apns, &device.token, [Reply::refuse("TooManyProviderTokenUpdates")]).unwrap();
    let throttled = send(&apns, &key, &device, Environment::Production).await;
    assert!(
        matches!(throttled, Verdict::Throttled { scope: Scope::Credential, retry_after: Some(_) }),
        "{throttled:?}"
    );
}

#[tokio::test]
async fn a_connection_on_which_apple_confuses_keys_or_shuts_down_is_replaced() {
    for word in ["UnrelatedKeyIdInToken", "Shutdown"] {
        let mut apple = Apple::start().await;
        let (apns, key, device) = (apple.replica(), apple.key(TEAM, KEY), apple.device());
        apple.sim.script(Provider::Apns, &device.token, [Reply::refuse(word)]).unwrap();
        let away = send(&apns, &key, &device, Environment::Production).await;
        assert!(matches!(away, Verdict::Unavailable { .. }), "{word}: {away:?}");
        assert!(is_sent(&send(&apns, &key, &device, Environment::Production).await));
        assert_eq!(apple.sim.connections(Provider::Apns).1, 2, "{word}");
    }
}

#[tokio::test]
async fn only_repeated_internal_errors_cost_a_connection() {
    let mut apple = Apple::start().await;
    let (apns, key, device) = (apple.replica(), apple.key(TEAM, KEY), apple.device());
    let ill = Reply::refuse("InternalServerError");
    let replies = [ill.clone(), ill.clone(), Reply::accept(), ill.clone(), ill.clone(), ill];
    apple.sim.script(Provider::Apns, &device.token, replies).unwrap();
    for _ in 0..5 {
        send(&apns, &key, &device, Environment::Production).await;
    }
    assert_eq!(apple.sim.connections(Provider::Apns).1, 1);
    send(&apns, &key, &device, Environment::Production).await;
    assert!(is_sent(&send(&apns, &key, &device, Environment::Production).await));
    assert_eq!(apple.sim.connections(Provider::Apns).1, 2);
}

#[tokio::test]
async fn a_goaway_loses_nothing() {
    let mut apple = Apple::start().await;
    let (apns, key, device) = (apple.replica(), apple.key(TEAM, KEY), apple.device());
    apple.sim.script(Provider::Apns, &device.token, [Reply::accept().fate(Fate::Goaway)]).unwrap();
    for _ in 0..5 {
        assert!(is_sent(&send(&apns, &key, &device, Environment::Production).await));
    }
    assert_eq!(apple.records(&device).len(), 5);
}

#[tokio::test]
async fn many_messages_go_over_a_connection_that_begins_with_one_stream() {
    let mut apple = Apple::with(Config { apns_one_stream_until_valid: true, ..Config::default() }).await;
    let (apns, key) = (apple.replica(), apple.key(TEAM, KEY));
    let devices: Vec<_> = (0..200).map(|_| apple.device()).collect();
    let sends = devices.iter().map(|device| send(&apns, &key, device, Environment::Production));
    assert!(futures::future::join_all(sends).await.iter().all(is_sent));
    assert!(apple.sim.connections(Provider::Apns).1 <= 2);
}

#[tokio::test]
async fn a_certificate_does_instead_of_a_key() {
    let mut apple = Apple::start().await;
    let (apns, device) = (apple.replica(), apple.device());
    let wanted = ApnsCertificate { bundle_ids: vec![BUNDLE.into()], environment: None };
    let issued = apple.sim.issue_apns_certificate(wanted).unwrap();
    let credential = json!({
        "auth": "certificate", "bundle_id": BUNDLE, "certificate": issued.certificate, "private_key": issued.private_key,
    });
    let credential = credential.to_string().into_bytes();
    assert!(is_sent(&send(&apns, &credential, &device, Environment::Production).await));
    apple.sim.revoke_apns_certificates();
    let refused = send(&apns, &credential, &device, Environment::Production).await;
    assert!(matches!(refused, Verdict::Misconfigured { .. }), "{refused:?}");
}
