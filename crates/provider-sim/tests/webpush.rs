//! Web Push, by an application server of the test's own.
#![allow(clippy::unwrap_used, reason = "what does not work ends the test")]

mod client;

use client::webpush::{claims, encrypt, encrypt_padded, origin, push, vapid};
use client::{NOTIFICATION, Signer, base64, carillon, now};
use provider_sim::{Config, Fate, NewSubscriptions, Provider, Query, Reply, Sim, Subscription};
use serde_json::{Value, json};

async fn start() -> (Sim, Subscription, Signer) {
    let sim = Sim::start(Config::default()).await.unwrap();
    let signer = Signer::generate();
    let wanted = NewSubscriptions { count: 1, application_server_key: Some(base64(signer.point())) };
    let subscription = sim.create_subscriptions(wanted).await.unwrap().remove(0);
    (sim, subscription, signer)
}

fn body() -> Value {
    json!({"title": "Hi", "body": "There", "tag": "t", "data": {"order": "17"}, "carillon": carillon()})
}

#[tokio::test]
async fn a_good_push_is_accepted_decrypted_and_written_down() {
    let (sim, subscription, signer) = start().await;
    for (count, reply) in [
        push(&subscription, &signer, &body()).send(sim.ca_pem()).await.unwrap(),
        push(&subscription, &signer, &body()).send_h2(sim.ca_pem()).await.unwrap(),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!((reply.status, reply.header("ttl")), (201, Some("60")), "{}", reply.text());
        assert!(reply.header("location").unwrap().starts_with(&origin(&subscription.endpoint)));
        let record = &sim.ledger().records(&Query::token(Provider::Webpush, &subscription.endpoint))[count];
        assert_eq!(record.body, body());
        assert_eq!(record.notification_id.as_deref(), Some(NOTIFICATION));
        assert_eq!(record.duplicate, count == 1);
        assert_eq!(record.violations, Vec::<String>::new());
        assert!(record.headers["authorization"].starts_with("sha256:"));
    }
}

#[tokio::test]
async fn subscriptions_are_made_in_bulk_and_differ() {
    let (sim, ..) = start().await;
    let made = sim.create_subscriptions(NewSubscriptions { count: 20, application_server_key: None }).await.unwrap();
    let mut endpoints: Vec<_> = made.iter().map(|one| &one.endpoint).collect();
    endpoints.sort();
    endpoints.dedup();
    assert_eq!(endpoints.len(), 20);
    assert!(made[0].endpoint.starts_with("https://localhost:"));
    let wrong = NewSubscriptions { count: 1, application_server_key: Some("AAAA".to_owned()) };
    assert!(sim.create_subscriptions(wrong).await.is_err());
}

#[tokio::test]
async fn every_header_is_judged() {
    let (sim, subscription, signer) = start().await;
    let good = push(&subscription, &signer, &body());
    for (ask, status, reason) in [
        (good.clone().without("ttl"), 400, "MissingTtl"),
        (good.clone().header("ttl", "soon"), 400, "BadTtl"),
        (good.clone().header("ttl", "-1"), 400, "BadTtl"),
        (good.clone().header("ttl", "2592001"), 400, "BadTtl"),
        (good.clone().header("urgency", "urgent"), 400, "BadUrgency"),
        (good.clone().header("topic", &"x".repeat(33)), 400, "BadTopic"),
        (good.clone().header("topic", "a b"), 400, "BadTopic"),
        (good.clone().header("content-encoding", "aesgcm"), 400, "BadContentEncoding"),
        (good.clone().without("content-encoding"), 400, "BadContentEncoding"),
        (good.clone().bytes(vec![0; 100]), 400, "BadEncryption"),
        (good.clone().bytes(vec![0; 4097]), 413, "PayloadTooLarge"),
    ] {
        let reply = ask.send(sim.ca_pem()).await.unwrap();
        assert_eq!((reply.status, reply.reason().as_str()), (status, reason));
    }
    for (name, value) in [("ttl", "2592000"), ("ttl", "0"), ("topic", "a_B-9"), ("urgency", "very-low")] {
        assert_eq!(good.clone().header(name, value).send(sim.ca_pem()).await.unwrap().status, 201, "{name} {value}");
    }
}

#[tokio::test]
async fn the_largest_body_is_4096_bytes() {
    let (sim, subscription, signer) = start().await;
    // 86 bytes of header, 16 of tag, one delimiter.
    let largest = push(&subscription, &signer, &body()).bytes(encrypt(&subscription, b"{}", 4096 - 86 - 16 - 3));
    assert_eq!(largest.body.len(), 4096);
    assert_eq!(largest.send(sim.ca_pem()).await.unwrap().status, 201);
}

#[tokio::test]
async fn the_application_server_identifies_itself() {
    let (sim, subscription, signer) = start().await;
    let good = push(&subscription, &signer, &body());
    let with = |name: &str, value: Value| {
        let mut claims = claims(&subscription.endpoint);
        claims[name] = value;
        good.clone().header("authorization", &vapid(&signer, &claims))
    };
    let stranger = Signer::generate();
    let own = vapid(&signer, &claims(&subscription.endpoint));
    let forged = format!("{}, k={}", own.split_once(',').unwrap().0, base64(stranger.point()));
    for (ask, status, reason) in [
        (good.clone().without("authorization"), 401, "Unauthorized"),
        (good.clone().header("authorization", "WebPush x"), 401, "Unauthorized"),
        (good.clone().header("authorization", "vapid t=x"), 401, "Unauthorized"),
        (with("aud", json!("https://push.example.org")), 403, "BadJwtToken"),
        (with("aud", json!("https://localhost")), 403, "BadJwtToken"),
        (with("exp", json!(now() - 1)), 403, "BadJwtToken"),
        (with("exp", json!(now() + 86_400 + 60)), 403, "BadJwtToken"),
        (with("exp", Value::Null), 403, "BadJwtToken"),
        (with("sub", Value::Null), 403, "BadJwtToken"),
        (with("sub", json!("mailto:push@localhost")), 403, "BadJwtToken"),
        (with("sub", json!("push@example.org")), 403, "BadJwtToken"),
        (good.clone().header("authorization", &forged), 403, "BadJwtToken"),
        (push(&subscription, &stranger, &body()), 403, "VapidPkHashMismatch"),
    ] {
        let reply = ask.send(sim.ca_pem()).await.unwrap();
        assert_eq!((reply.status, reply.reason().as_str()), (status, reason));
    }
    assert_eq!(with("sub", json!("https://example.org/contact")).send(sim.ca_pem()).await.unwrap().status, 201);
    let free = sim.create_subscriptions(NewSubscriptions { count: 1, application_server_key: None }).await.unwrap();
    assert_eq!(push(&free[0], &stranger, &body()).send(sim.ca_pem()).await.unwrap().status, 201);
}

#[tokio::test]
async fn what_the_browser_cannot_read_is_written_down_but_accepted() {
    let (sim, subscription, signer) = start().await;
    let other = sim.create_subscriptions(NewSubscriptions { count: 1, application_server_key: None }).await.unwrap();
    let good = push(&subscription, &signer, &body());
    let text = body().to_string();
    for (bytes, violation) in [
        (encrypt(&other[0], text.as_bytes(), 0), "the record does not decrypt with the subscription's keys"),
        (encrypt_padded(&subscription, &[text.as_bytes(), &[1]].concat()), "the record has no padding delimiter 2"),
        (encrypt(&subscription, b"hello", 0), "the body is not JSON"),
        (encrypt(&subscription, b"[]", 0), "the body is not a JSON object"),
        (Vec::new(), "there is nothing to decrypt"),
    ] {
        sim.ledger().clear();
        let reply = good.clone().bytes(bytes).send(sim.ca_pem()).await.unwrap();
        assert_eq!(reply.status, 201, "{violation}: {}", reply.text());
        assert_eq!(sim.ledger().records(&Query::default())[0].violations, [violation]);
    }
    sim.ledger().clear();
    let padded = good.bytes(encrypt(&subscription, text.as_bytes(), 100));
    assert_eq!(padded.send(sim.ca_pem()).await.unwrap().status, 201);
    assert_eq!(sim.ledger().summary().violations, 0);
}

#[tokio::test]
async fn subscriptions_end_and_scripts_speak_web_push() {
    let (sim, subscription, signer) = start().await;
    let good = push(&subscription, &signer, &body());
    for (reply, status) in [
        (Reply::status(404), 404),
        (Reply::unregistered(Provider::Webpush), 410),
        (Reply::status(429).retry_after(5), 429),
        (Reply::status(413), 413),
        (Reply::status(500), 500),
    ] {
        let retry_after = reply.retry_after.map(|seconds| seconds.to_string());
        sim.script(Provider::Webpush, &subscription.endpoint, [reply]).unwrap();
        let answer = good.clone().send(sim.ca_pem()).await.unwrap();
        assert_eq!((answer.status, answer.header("retry-after")), (status, retry_after.as_deref()));
    }
    sim.script(Provider::Webpush, &subscription.endpoint, [Reply::accept().fate(Fate::Reset)]).unwrap();
    assert!(good.clone().send_h2(sim.ca_pem()).await.is_err());
    assert!(sim.end_subscription(&subscription.endpoint));
    assert_eq!(good.clone().send(sim.ca_pem()).await.unwrap().status, 410);
    let mut nowhere = good.clone();
    nowhere.url = format!("{}/elsewhere", origin(&subscription.endpoint));
    assert_eq!(nowhere.send(sim.ca_pem()).await.unwrap().status, 404);
    let mut get = good;
    get.method = http::Method::GET;
    assert_eq!(get.send(sim.ca_pem()).await.unwrap().status, 405);
}
