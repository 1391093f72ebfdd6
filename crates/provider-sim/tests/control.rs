//! The control interface and the ledger over HTTP, by what README.md says of them.
#![allow(clippy::unwrap_used, reason = "what does not work ends the test")]

mod client;

use client::apns::{App, BUNDLE, Connection, Push, TOKEN};
use client::plain::Ask;
use client::webpush::push;
use client::{NOTIFICATION, Signer, base64, carillon};
use http::Method;
use provider_sim::{Config, Provider, Sim};
use serde_json::{Value, json};

async fn start() -> Sim {
    Sim::start(Config::default()).await.unwrap()
}

async fn call(sim: &Sim, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let ask = Ask::new(method, format!("{}{path}", sim.urls().control));
    let ask = match body {
        Some(body) => ask.json(&body),
        None => ask,
    };
    let reply = ask.send("").await.unwrap();
    (reply.status, reply.json())
}

async fn lines(sim: &Sim, query: &str) -> Vec<Value> {
    let reply = Ask::get(format!("{}/requests{query}", sim.urls().ledger)).send("").await.unwrap();
    assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
    reply.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn an_apns_key_made_over_http_sends_and_the_ledger_is_ndjson() {
    let sim = start().await;
    let key = json!({"team_id": client::apns::TEAM, "key_id": client::apns::KEY, "bundle_ids": [BUNDLE]});
    let (status, made) = call(&sim, Method::POST, "/apns/keys", Some(key)).await;
    assert_eq!(status, 200);
    let app = App::with(Signer::from_p8(made["private_key"].as_str().unwrap()));
    let connection = Connection::open(&sim.urls().apns, sim.ca_pem()).await;
    for token in [TOKEN, "ab", TOKEN] {
        assert_eq!(connection.push(Push::alert(&app.token(0)).to(token)).await.unwrap().status, 200);
    }

    let all = lines(&sim, "").await;
    assert_eq!(all.len(), 3);
    for name in ["provider", "token", "notification_id", "at", "status", "headers", "body"] {
        assert!(!all[0][name].is_null(), "{name}");
    }
    assert_eq!(all[0]["notification_id"], NOTIFICATION);
    assert_eq!(lines(&sim, &format!("?provider=apns&token={TOKEN}")).await.len(), 2);
    assert_eq!(lines(&sim, "?provider=fcm").await.len(), 0);
    assert_eq!(lines(&sim, "?after=1&limit=1").await[0]["seq"], 2);
    assert_eq!(lines(&sim, "?duplicate=true").await[0]["seq"], 3);

    let (_, summary) = call(&sim, Method::GET, "/summary", None).await;
    let apns = &summary["providers"]["apns"];
    assert_eq!((&apns["requests"], &apns["accepted"], &apns["accepted_tokens"]), (&json!(3), &json!(3), &json!(2)));
    assert_eq!((&apns["by_status"]["200"], &summary["duplicates"]), (&json!(3), &json!(1)));

    assert_eq!(call(&sim, Method::DELETE, "/requests", None).await.0, 200);
    assert!(lines(&sim, "").await.is_empty());
    connection.push(Push::alert(&app.token(0))).await.unwrap();
    assert_eq!(lines(&sim, "").await[0]["seq"], 4);

    let path = format!("/apns/keys/{}/{}", client::apns::TEAM, client::apns::KEY);
    assert_eq!(call(&sim, Method::DELETE, &path, None).await.0, 200);
    assert_eq!(call(&sim, Method::DELETE, &path, None).await.0, 404);
}

#[tokio::test]
async fn a_long_ledger_is_streamed_whole_and_in_order() {
    let sim = start().await;
    let app = App::register(&sim);
    let connection = Connection::open(&sim.urls().apns, sim.ca_pem()).await;
    for _ in 0..1201 {
        connection.push(Push::alert(&app.token(0))).await.unwrap();
    }
    for query in ["", "?token=00aa11bb22cc33dd44ee55ff66778899"] {
        let all = lines(&sim, query).await;
        let seqs: Vec<_> = all.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
        assert_eq!(seqs, (1..=1201).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn old_bodies_go_when_there_is_no_room_but_counts_stay() {
    let sim = Sim::start(Config { keep_bytes: 2000, ..Config::default() }).await.unwrap();
    let app = App::register(&sim);
    let connection = Connection::open(&sim.urls().apns, sim.ca_pem()).await;
    for _ in 0..20 {
        connection.push(Push::alert(&app.token(0))).await.unwrap();
    }
    let all = lines(&sim, "").await;
    assert_eq!((all.len(), &all[0]["body"], &all[0]["notification_id"]), (20, &Value::Null, &json!(NOTIFICATION)));
    assert_eq!(all[19]["body"]["carillon"], carillon());
    let summary = sim.ledger().summary();
    assert!(summary.details_dropped > 0);
    assert_eq!(summary.of(Provider::Apns).accepted, 20);
}

#[tokio::test]
async fn scripts_and_conditions_are_set_over_http_and_unknown_fields_refused() {
    let sim = start().await;
    let app = App::register(&sim);
    let connection = Connection::open(&sim.urls().apns, sim.ca_pem()).await;
    let status = async || connection.push(Push::alert(&app.token(0))).await.unwrap().status;

    let script = json!({"provider": "apns", "token": TOKEN, "replies": [{"reason": "Unregistered", "times": 2}]});
    assert_eq!(call(&sim, Method::POST, "/scripts", Some(json!([script]))).await.0, 200);
    assert_eq!((status().await, status().await, status().await), (410, 410, 200));
    assert_eq!(call(&sim, Method::POST, "/scripts", Some(script)).await.0, 200);
    assert_eq!(call(&sim, Method::DELETE, "/scripts?provider=apns", None).await.0, 200);
    assert_eq!(status().await, 200);

    let fail = json!({"fail": {"reply": {"status": 503}}});
    assert_eq!(call(&sim, Method::PUT, "/conditions/apns", Some(fail.clone())).await.0, 200);
    assert_eq!(call(&sim, Method::GET, "/conditions/apns", None).await.1["fail"]["reply"]["status"], 503);
    assert_eq!(status().await, 503);
    assert_eq!(call(&sim, Method::PUT, "/conditions/apns", Some(json!({}))).await.0, 200);
    assert_eq!(status().await, 200);

    for (path, body) in [
        ("/scripts", json!({"provider": "apns", "token": "ab", "replies": [], "colour": 1})),
        ("/scripts", json!({"provider": "apns", "token": "ab", "replies": [{"colour": 1}]})),
        ("/scripts", json!({"provider": "apns", "token": "ab", "replies": [{"reason": "Nonsense"}]})),
        ("/scripts", json!({"provider": "pigeon", "token": "ab", "replies": []})),
        ("/scripts", json!({"provider": "apns", "token": "", "replies": []})),
        ("/apns/keys", json!({"team_id": "", "key_id": "k", "bundle_ids": ["b"]})),
        ("/apns/keys", json!({"team_id": "t", "key_id": "k", "bundle_ids": ["b"], "public_key": "x"})),
        ("/apns/tokens", json!({"tokens": [{"token": "ab", "colour": 1}]})),
        ("/fcm/projects", json!({"project_id": ""})),
        ("/webpush/subscriptions", json!({"count": 100_001})),
        ("/sms/accounts", json!({"token": ""})),
        ("/connections/apns", json!({"action": "shout"})),
        ("/clock", json!({"advance_ms": -1})),
    ] {
        let (status, answer) = call(&sim, Method::POST, path, Some(body.clone())).await;
        assert_eq!(status, 422, "{path} {body}");
        assert!(answer["error"].is_string());
    }
    assert_eq!(call(&sim, Method::PUT, "/conditions/apns", Some(json!({"colour": 1}))).await.0, 422);
    assert_eq!(call(&sim, Method::PUT, "/conditions/pigeon", Some(json!({}))).await.0, 404);
}

#[tokio::test]
async fn everything_else_can_be_told_over_http_too() {
    let sim = start().await;
    let urls = call(&sim, Method::GET, "/", None).await.1;
    assert_eq!(urls["urls"]["apns"], sim.urls().apns);
    assert_eq!(urls["ca_pem"], sim.ca_pem());

    let account =
        call(&sim, Method::POST, "/fcm/projects", Some(json!({"project_id": "p1", "token_lifetime": 60}))).await.1;
    assert_eq!((&account["project_id"], &account["token_uri"]), (&json!("p1"), &json!(sim.urls().fcm_token)));
    let tokens = json!({"project_id": "p1", "tokens": ["a", "b"]});
    assert_eq!(call(&sim, Method::POST, "/fcm/tokens", Some(tokens)).await.0, 200);
    assert_eq!(call(&sim, Method::DELETE, "/fcm/bearers", None).await.0, 200);
    assert_eq!(call(&sim, Method::DELETE, "/fcm/projects/p1", None).await.0, 200);
    assert_eq!(call(&sim, Method::DELETE, "/fcm/projects/p1", None).await.0, 404);

    let signer = Signer::generate();
    let wanted = json!({"count": 3, "application_server_key": base64(signer.point())});
    let made = call(&sim, Method::POST, "/webpush/subscriptions", Some(wanted)).await.1;
    let first = serde_json::from_value(made["subscriptions"][0].clone()).unwrap();
    assert_eq!(made["subscriptions"].as_array().unwrap().len(), 3);
    let body = json!({"title": "x", "carillon": carillon()});
    assert_eq!(push(&first, &signer, &body).send(sim.ca_pem()).await.unwrap().status, 201);
    let endpoint: String = form_urlencoded::byte_serialize(first.endpoint.as_bytes()).collect();
    assert_eq!(lines(&sim, &format!("?token={endpoint}")).await.len(), 1);
    let path = format!("/webpush/subscriptions?endpoint={endpoint}");
    assert_eq!(call(&sim, Method::DELETE, &path, None).await.0, 200);
    assert_eq!(push(&first, &signer, &body).send(sim.ca_pem()).await.unwrap().status, 410);

    assert_eq!(call(&sim, Method::POST, "/sms/accounts", Some(json!({"token": "t"}))).await.0, 200);
    assert_eq!(call(&sim, Method::GET, "/sms/reports", None).await.1, json!({"reports": []}));
    let declared = json!({"tokens": [{"token": "ab", "bundle_id": BUNDLE, "environment": "sandbox"}]});
    assert_eq!(call(&sim, Method::POST, "/apns/tokens", Some(declared)).await.0, 200);
    assert_eq!(call(&sim, Method::PUT, "/known_tokens_only", Some(json!({"only": true}))).await.0, 200);
    assert_eq!(call(&sim, Method::POST, "/clock", Some(json!({"advance_ms": 1000}))).await.0, 200);

    let _connection = Connection::open(&sim.urls().apns, sim.ca_pem()).await;
    let goaway = json!({"action": "goaway"});
    assert_eq!(call(&sim, Method::POST, "/connections/apns", Some(goaway)).await.0, 200);
    assert!(call(&sim, Method::GET, "/connections/apns", None).await.1["open"].is_u64());
}

#[tokio::test]
async fn a_stopped_simulator_listens_no_more() {
    let sim = start().await;
    let apns = client::authority(&sim.urls().apns);
    let connection = Connection::open(&sim.urls().apns, sim.ca_pem()).await;
    sim.stop().await;
    assert!(tokio::net::TcpStream::connect(apns).await.is_err());
    assert!(tokio::time::timeout(client::DEADLINE, &mut *connection.closed.lock().await).await.is_ok());
}
