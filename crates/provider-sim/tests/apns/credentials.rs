//! Who may send: provider tokens and certificates.

use crate::client::apns::{App, BUNDLE, Connection, KEY, Push, TEAM};
use crate::client::now;
use crate::{client, refusal, start};
use provider_sim::{ApnsCertificate, ApnsKey, Environment};
use serde_json::json;

#[tokio::test]
async fn a_provider_token_is_verified() {
    let (sim, app, _) = start().await;
    let header = json!({"alg": "ES256", "kid": KEY});
    let claims = json!({"iss": TEAM, "iat": now()});
    let forged = App::with(client::Signer::generate());
    let good = Push::alert(&app.token(0));
    for (authorization, status, reason) in [
        ("basic x".to_owned(), 403, "MissingProviderToken"),
        ("bearer x".to_owned(), 403, "InvalidProviderToken"),
        (forged.token(0), 403, "InvalidProviderToken"),
        (app.token_of(json!({"alg": "HS256", "kid": KEY}), claims.clone()), 403, "InvalidProviderToken"),
        (app.token_of(json!({"alg": "ES256"}), claims.clone()), 403, "InvalidProviderToken"),
        (app.token_of(json!({"alg": "ES256", "kid": "OTHER"}), claims), 403, "InvalidProviderToken"),
        (app.token_of(header.clone(), json!({"iss": "OTHER", "iat": now()})), 403, "InvalidProviderToken"),
        (app.token_of(header, json!({"iss": TEAM})), 403, "InvalidProviderToken"),
        (app.token(-120), 403, "InvalidProviderToken"),
        (app.token(3700), 403, "ExpiredProviderToken"),
    ] {
        let connection = Connection::open(&sim.urls().apns, sim.ca_pem()).await;
        let push = good.clone().header("authorization", &authorization);
        assert_eq!(refusal(&connection, push).await, (status, reason.to_owned()), "{authorization}");
    }
    let connection = Connection::open(&sim.urls().apns, sim.ca_pem()).await;
    assert_eq!(refusal(&connection, good.without("authorization")).await, (403, "MissingProviderToken".to_owned()));
}

#[tokio::test]
async fn a_token_expires_while_it_is_in_use() {
    let (sim, app, connection) = start().await;
    let push = Push::alert(&app.token(0));
    assert_eq!(refusal(&connection, push.clone()).await.0, 200);
    sim.advance_clock(std::time::Duration::from_secs(3601));
    assert_eq!(refusal(&connection, push).await, (403, "ExpiredProviderToken".to_owned()));
}

#[tokio::test]
async fn a_revoked_key_stops_being_good_on_open_connections() {
    let (sim, app, connection) = start().await;
    let push = Push::alert(&app.token(0));
    assert_eq!(refusal(&connection, push.clone()).await.0, 200);
    assert!(sim.revoke_apns_key(TEAM, KEY));
    assert_eq!(refusal(&connection, push).await, (403, "InvalidProviderToken".to_owned()));
}

#[tokio::test]
async fn two_tokens_of_a_key_within_twenty_minutes_are_too_many() {
    let (_sim, app, connection) = start().await;
    assert_eq!(refusal(&connection, Push::alert(&app.token(3000))).await.0, 200);
    assert_eq!(refusal(&connection, Push::alert(&app.token(0))).await.0, 200);
    let reply = refusal(&connection, Push::alert(&app.token(60))).await;
    assert_eq!(reply, (429, "TooManyProviderTokenUpdates".to_owned()));
}

#[tokio::test]
async fn a_second_key_on_a_connection_is_unrelated() {
    let (sim, app, connection) = start().await;
    let key = ApnsKey { key_id: "KEY0000002".to_owned(), ..app.key(None) };
    sim.register_apns_key(key).unwrap();
    assert_eq!(refusal(&connection, Push::alert(&app.token(0))).await.0, 200);
    let other = app.token_of(json!({"alg": "ES256", "kid": "KEY0000002"}), json!({"iss": TEAM, "iat": now()}));
    assert_eq!(refusal(&connection, Push::alert(&other)).await, (403, "UnrelatedKeyIdInToken".to_owned()));
    let connection = Connection::open(&sim.urls().apns, sim.ca_pem()).await;
    assert_eq!(refusal(&connection, Push::alert(&other)).await.0, 200);
}

#[tokio::test]
async fn a_key_can_be_bound_to_an_environment() {
    let (sim, app, connection) = start().await;
    sim.register_apns_key(app.key(Some(Environment::Sandbox))).unwrap();
    let push = Push::alert(&app.token(0));
    assert_eq!(refusal(&connection, push.clone()).await, (403, "BadEnvironmentKeyIdInToken".to_owned()));
    let sandbox = Connection::open(&sim.urls().apns_sandbox, sim.ca_pem()).await;
    assert_eq!(refusal(&sandbox, push).await.0, 200);
}

#[tokio::test]
async fn a_key_made_here_comes_with_its_p8() {
    let (sim, _, connection) = start().await;
    let key = ApnsKey {
        team_id: "T2".to_owned(),
        key_id: "K2".to_owned(),
        public_key: None,
        bundle_ids: vec![BUNDLE.to_owned()],
        environment: None,
    };
    let pem = sim.register_apns_key(key).unwrap().unwrap();
    assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----"));
    let app = App::with(client::Signer::from_p8(&pem));
    let token = app.token_of(json!({"alg": "ES256", "kid": "K2"}), json!({"iss": "T2", "iat": now()}));
    assert_eq!(refusal(&connection, Push::alert(&token)).await.0, 200);
}

#[tokio::test]
async fn a_certificate_of_one_app_needs_neither_token_nor_topic() {
    let (sim, ..) = start().await;
    let issue = |bundle_ids: &[&str], environment| {
        let bundle_ids = bundle_ids.iter().map(|bundle_id| (*bundle_id).to_owned()).collect();
        sim.issue_apns_certificate(ApnsCertificate { bundle_ids, environment }).unwrap()
    };
    let push = Push::alert("").without("authorization");
    let one = issue(&[BUNDLE], None);
    let connection = Connection::open_as(&sim.urls().apns, sim.ca_pem(), &one).await;
    assert_eq!(refusal(&connection, push.clone().without("apns-topic")).await.0, 200);
    assert_eq!(refusal(&connection, push.clone()).await.0, 200);
    let foreign = push.clone().header("apns-topic", "com.example.other");
    assert_eq!(refusal(&connection, foreign).await, (400, "TopicDisallowed".to_owned()));

    let two = issue(&[BUNDLE, "com.example.other"], Some(Environment::Production));
    let connection = Connection::open_as(&sim.urls().apns, sim.ca_pem(), &two).await;
    assert_eq!(refusal(&connection, push.clone()).await.0, 200);
    assert_eq!(refusal(&connection, push.clone().without("apns-topic")).await, (400, "MissingTopic".to_owned()));
    let sandbox = Connection::open_as(&sim.urls().apns_sandbox, sim.ca_pem(), &two).await;
    assert_eq!(refusal(&sandbox, push.clone()).await, (403, "BadCertificateEnvironment".to_owned()));

    sim.revoke_apns_certificates();
    assert_eq!(refusal(&connection, push.clone()).await, (403, "BadCertificate".to_owned()));
    let again = Connection::open_as(&sim.urls().apns, sim.ca_pem(), &one).await;
    assert_eq!(refusal(&again, push).await, (403, "BadCertificate".to_owned()));
}
