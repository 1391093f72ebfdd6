//! FCM HTTP v1 and its OAuth endpoint, by a client of the test's own.
#![allow(clippy::unwrap_used, reason = "what does not work ends the test")]

mod client;

use client::fcm::{Account, GRANT, error_code, send};
use client::plain::Ask;
use client::{NOTIFICATION, carillon, now};
use provider_sim::{Config, Fate, FcmProject, FcmTokens, Provider, Query, Reply, Sim};
use serde_json::{Value, json};

const PROJECT: &str = "shop-1";
const TOKEN: &str = "dEvIcE:APA91b-token_1";

struct Fixture {
    sim: Sim,
    account: Account,
    bearer: String,
}

impl Fixture {
    async fn start() -> Self {
        let sim = Sim::start(Config::default()).await.unwrap();
        let account = Account::create(&sim, FcmProject::new(PROJECT)).await;
        let bearer = account.bearer(&sim).await;
        Self { sim, account, bearer }
    }

    fn ask(&self, body: &Value) -> Ask {
        send(&self.sim, PROJECT, &self.bearer, body)
    }

    async fn send(&self, message: Value) -> client::Reply {
        self.ask(&json!({"message": message})).send(self.sim.ca_pem()).await.unwrap()
    }
}

fn message() -> Value {
    json!({
        "token": TOKEN,
        "data": {"carillon": carillon().to_string(), "order": "17"},
        "android": {"priority": "HIGH", "ttl": "3600s", "notification": {"title": "Hi", "tag": "t", "color": "#00ff00"}},
    })
}

#[tokio::test]
async fn a_good_message_gets_its_name_and_is_written_down() {
    let fixture = Fixture::start().await;
    let reply = fixture.ask(&json!({"message": message()})).send_h2(fixture.sim.ca_pem()).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let name = reply.json()["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("projects/shop-1/messages/0:"), "{name}");

    let record = &fixture.sim.ledger().records(&Query::token(Provider::Fcm, TOKEN))[0];
    assert_eq!((record.status, record.accepted), (200, true));
    assert_eq!(record.notification_id.as_deref(), Some(NOTIFICATION));
    assert_eq!(record.body["message"]["token"], TOKEN);
    assert!(record.headers["authorization"].starts_with("sha256:"));
    assert_eq!(record.violations, Vec::<String>::new());
}

#[tokio::test]
async fn camel_case_and_protobuf_names_are_the_same_fields() {
    let fixture = Fixture::start().await;
    for message in [
        json!({"fid": "f1", "android": {"collapseKey": "k", "directBootOk": true, "notification": {"channelId": "c"}}}),
        json!({"token": "t1", "android": {"collapse_key": "k", "notification": {"notification_count": 3}}}),
        json!({"fid": "f1", "androidV2": {"remoteNotification": {"mutableContent": true, "notification": {"id": 7}}}}),
        json!({"fid": "f1", "androidV2": {"backgroundSync": {}}}),
        json!({"topic": "news", "apns": {"headers": {"apns-priority": "10"}, "payload": {"aps": {"badge": 1}}}}),
        json!({"condition": "'a' in topics", "webpush": {"headers": {"TTL": "15"}, "fcm_options": {"link": "https://a.example"}}}),
        json!({"token": "t1", "android": {"notification": {"vibrate_timings": ["0.5s"], "event_time": "2026-01-01T00:00:00Z", "visibility": "PUBLIC", "light_settings": {"color": {"red": 1}, "light_on_duration": "1s", "light_off_duration": "1s"}}}}),
    ] {
        let reply = fixture.send(message.clone()).await;
        assert_eq!(reply.status, 200, "{message}: {}", reply.text());
    }
}

#[tokio::test]
async fn every_fault_of_a_body_is_an_invalid_argument() {
    let fixture = Fixture::start().await;
    let long = "x".repeat(4097);
    for (message, field) in [
        (json!({"token": TOKEN, "colour": "red"}), "message"),
        (json!({"token": TOKEN, "android": {"colour": "red"}}), "message.android"),
        (json!({"data": {"a": "b"}}), "message"),
        (json!({"token": TOKEN, "fid": "f"}), "message"),
        (json!({"token": TOKEN, "topic": "news"}), "message"),
        (json!({"topic": "/topics/news"}), "message.topic"),
        (json!({"token": "a token"}), "message.token"),
        (json!({"token": 7}), "message.token"),
        (json!({"token": TOKEN, "data": {"order": 17}}), "message.data[0].value"),
        (json!({"token": TOKEN, "data": {"from": "x"}}), "message.data"),
        (json!({"token": TOKEN, "data": {"message_type": "x"}}), "message.data"),
        (json!({"token": TOKEN, "data": {"google.x": "x"}}), "message.data"),
        (json!({"token": TOKEN, "data": {"gcm.n.e": "x"}}), "message.data"),
        (json!({"token": TOKEN, "data": {"x": long}}), "message"),
        (json!({"token": TOKEN, "notification": {"body": long}}), "message"),
        (json!({"topic": "news", "data": {"x": &long[..2048]}}), "message"),
        (json!({"token": TOKEN, "apns": {"payload": {"aps": {"alert": long}}}}), "message"),
        (json!({"token": TOKEN, "android": {"ttl": "3600"}}), "message.android.ttl"),
        (json!({"token": TOKEN, "android": {"ttl": 3600}}), "message.android.ttl"),
        (json!({"token": TOKEN, "android": {"ttl": "2419200.1s"}}), "message.android.ttl"),
        (json!({"token": TOKEN, "android": {"priority": "URGENT"}}), "message.android.priority"),
        (
            json!({"token": TOKEN, "android": {"notification": {"color": "green"}}}),
            "message.android.notification.color",
        ),
        (json!({"token": TOKEN, "android": {}, "androidV2": {}}), "message.android_v2"),
        (
            json!({"token": TOKEN, "webpush": {"fcm_options": {"link": "http://a.example"}}}),
            "message.webpush.fcm_options.link",
        ),
        (json!({"token": TOKEN, "fcm_options": {"analytics_label": "a b"}}), "message.fcm_options"),
        (json!({"token": TOKEN, "android": {"collapse_key": "a", "collapseKey": "b"}}), "message.android.collapse_key"),
    ] {
        let reply = fixture.send(message.clone()).await;
        assert_eq!((reply.status, error_code(&reply).as_str()), (400, "INVALID_ARGUMENT"), "{message}");
        let error = &reply.json()["error"];
        assert_eq!(error["status"], "INVALID_ARGUMENT");
        assert_eq!(error["details"][0]["fieldViolations"][0]["field"], field, "{message}");
    }
    for body in [json!([]), json!({}), json!({"message": null}), json!({"message": {"token": TOKEN}, "extra": 1})] {
        let reply = fixture.ask(&body).send(fixture.sim.ca_pem()).await.unwrap();
        assert_eq!(reply.status, 400, "{body}");
    }
    let reply = fixture.ask(&json!({})).bytes(b"{".to_vec()).send(fixture.sim.ca_pem()).await.unwrap();
    assert_eq!(reply.status, 400);
    let reply = fixture.ask(&json!({"message": message()})).header("content-type", "text/plain");
    assert_eq!(reply.send(fixture.sim.ca_pem()).await.unwrap().status, 400);
    assert_eq!(fixture.sim.ledger().summary().of(Provider::Fcm).accepted, 0);
}

#[tokio::test]
async fn a_dry_run_accepts_nothing() {
    let fixture = Fixture::start().await;
    let reply = fixture.ask(&json!({"validate_only": true, "message": message()}));
    let reply = reply.send(fixture.sim.ca_pem()).await.unwrap();
    assert_eq!(reply.json()["name"], "projects/shop-1/messages/fake_message_id");
    let summary = fixture.sim.ledger().summary().of(Provider::Fcm);
    assert_eq!((summary.requests, summary.accepted), (1, 0));
}

#[tokio::test]
async fn a_bearer_is_needed_and_is_good_for_its_project_and_time() {
    let fixture = Fixture::start().await;
    let Fixture { sim, bearer, .. } = &fixture;
    let body = json!({"message": message()});
    let status = async |ask: Ask| {
        let reply = ask.send(sim.ca_pem()).await.unwrap();
        (reply.status, reply.json()["error"]["status"].as_str().unwrap_or_default().to_owned())
    };
    let unauthenticated = (401, "UNAUTHENTICATED".to_owned());
    assert_eq!(status(fixture.ask(&body).without("authorization")).await, unauthenticated);
    assert_eq!(status(fixture.ask(&body).header("authorization", "Bearer ya29.guess")).await, unauthenticated);
    assert_eq!(status(send(sim, "other", bearer, &body)).await, (403, "PERMISSION_DENIED".to_owned()));
    assert_eq!(status(fixture.ask(&body)).await.0, 200);
    sim.advance_clock(std::time::Duration::from_secs(3600));
    assert_eq!(status(fixture.ask(&body)).await, unauthenticated);
}

#[tokio::test]
async fn bearers_can_be_revoked_and_projects_removed() {
    let fixture = Fixture::start().await;
    fixture.sim.revoke_fcm_bearers();
    assert_eq!(fixture.send(message()).await.status, 401);
    assert!(fixture.sim.remove_fcm_project(PROJECT));
    let reply = fixture.account.exchange(&fixture.sim, &fixture.account.assertion(&fixture.account.claims())).await;
    assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some("invalid_grant")));
}

#[tokio::test]
async fn there_is_no_other_page() {
    let fixture = Fixture::start().await;
    for path in ["/", "/fcm/send", "/batch", "/v1/projects/a/b/messages:send", "/v1/projects//messages:send"] {
        let ask = Ask::post(format!("{}{path}", fixture.sim.urls().fcm)).json(&json!({}));
        let reply = ask.send(fixture.sim.ca_pem()).await.unwrap();
        assert_eq!(reply.status, 404, "{path}");
        assert!(reply.text().starts_with("<!DOCTYPE html>"));
    }
}

#[tokio::test]
async fn the_assertion_is_verified() {
    let fixture = Fixture::start().await;
    let Fixture { sim, account, .. } = &fixture;
    let changed = |name: &str, value: Value| {
        let mut claims = account.claims();
        claims[name] = value;
        claims
    };
    for (claims, error) in [
        (changed("iss", json!("nobody@x.iam.gserviceaccount.com")), "invalid_grant"),
        (changed("aud", json!("https://oauth2.googleapis.com/token")), "invalid_grant"),
        (changed("scope", json!("https://www.googleapis.com/auth/drive")), "invalid_scope"),
        (changed("exp", json!(now() + 7200)), "invalid_grant"),
        (changed("iat", json!(now() + 3000)), "invalid_grant"),
        (changed("exp", json!(now() - 10)), "invalid_grant"),
        (changed("exp", Value::Null), "invalid_grant"),
        (changed("sub", json!("somebody@else.example")), "unauthorized_client"),
    ] {
        let reply = account.exchange(sim, &account.assertion(&claims)).await;
        assert_eq!(reply.json()["error"], error, "{claims}");
        assert!((400..402).contains(&reply.status));
    }
    let mut forged = account.assertion(&account.claims());
    forged.truncate(forged.len() - 8);
    assert_eq!(account.exchange(sim, &forged).await.json()["error"], "invalid_grant");
    let other = Ask::post(account.text("token_uri")).form(&[("grant_type", "password")]);
    assert_eq!(other.send(sim.ca_pem()).await.unwrap().json()["error"], "unsupported_grant_type");
    let no_form = Ask::post(account.text("token_uri")).json(&json!({"grant_type": GRANT}));
    assert_eq!(no_form.send(sim.ca_pem()).await.unwrap().json()["error"], "invalid_request");
}

#[tokio::test]
async fn the_service_account_is_complete_and_its_token_tells_its_lifetime() {
    let sim = Sim::start(Config::default()).await.unwrap();
    let project = FcmProject { token_lifetime: 120, ..FcmProject::new("p2") };
    let account = Account::create(&sim, project).await;
    assert!(account.text("token_uri").starts_with("https://localhost:"));
    assert_eq!(account.text("type"), "service_account");
    assert_eq!(account.text("project_id"), "p2");
    let reply = account.exchange(&sim, &account.assertion(&account.claims())).await;
    assert_eq!(reply.json()["expires_in"], 120);
    assert_eq!(reply.json()["token_type"], "Bearer");
    let summary = sim.ledger().summary().of(Provider::FcmToken);
    assert_eq!((summary.requests, summary.accepted), (1, 1));
    let record = &sim.ledger().records(&Query::provider(Provider::FcmToken))[0];
    assert_eq!((record.token.as_str(), &record.body), (account.text("client_email"), &Value::Null));
}

#[tokio::test]
async fn a_projects_quota_bites_with_a_time_to_wait() {
    let sim = Sim::start(Config::default()).await.unwrap();
    let project = FcmProject { messages_per_second: Some(2), ..FcmProject::new(PROJECT) };
    let account = Account::create(&sim, project).await;
    let fixture = Fixture { bearer: account.bearer(&sim).await, sim, account };
    let mut refused = None;
    for _ in 0..1000 {
        let reply = fixture.send(message()).await;
        if reply.status == 429 {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.expect("a thousand messages are faster than two a second");
    assert_eq!(error_code(&refused), "QUOTA_EXCEEDED");
    assert_eq!(refused.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn tokens_belong_to_projects() {
    let fixture = Fixture::start().await;
    let declare = |project: &str, token: &str| {
        let tokens = FcmTokens { project_id: project.to_owned(), tokens: vec![token.to_owned()] };
        fixture.sim.declare_fcm_tokens(tokens).unwrap();
    };
    declare(PROJECT, TOKEN);
    declare("other", "foreign");
    let reply = fixture.send(json!({"token": "foreign"})).await;
    assert_eq!((reply.status, error_code(&reply).as_str()), (403, "SENDER_ID_MISMATCH"));
    assert_eq!(fixture.send(json!({"token": "nobody"})).await.status, 200);
    fixture.sim.require_known_tokens(true);
    let reply = fixture.send(json!({"token": "nobody"})).await;
    assert_eq!((reply.status, error_code(&reply).as_str()), (404, "UNREGISTERED"));
    assert_eq!(fixture.send(message()).await.status, 200);
}

#[tokio::test]
async fn scripts_speak_fcm() {
    let fixture = Fixture::start().await;
    for (reply, status, code) in [
        (Reply::unregistered(Provider::Fcm), 404, "UNREGISTERED"),
        (Reply::refuse("SENDER_ID_MISMATCH"), 403, "SENDER_ID_MISMATCH"),
        (Reply::refuse("QUOTA_EXCEEDED").retry_after(9), 429, "QUOTA_EXCEEDED"),
        (Reply::refuse("UNAVAILABLE"), 503, "UNAVAILABLE"),
        (Reply::refuse("INTERNAL"), 500, "INTERNAL"),
        (Reply::refuse("THIRD_PARTY_AUTH_ERROR"), 401, "THIRD_PARTY_AUTH_ERROR"),
        (Reply::status(503), 503, "UNAVAILABLE"),
    ] {
        let retry_after = reply.retry_after.map(|seconds| seconds.to_string());
        fixture.sim.script(Provider::Fcm, TOKEN, [reply]).unwrap();
        let answer = fixture.send(message()).await;
        assert_eq!((answer.status, error_code(&answer).as_str()), (status, code));
        assert_eq!(answer.header("retry-after"), retry_after.as_deref());
    }
    let page = Reply { body: Some("<html>".to_owned()), ..Reply::status(404) };
    fixture.sim.script(Provider::Fcm, TOKEN, [page]).unwrap();
    let answer = fixture.send(message()).await;
    assert_eq!((answer.status, answer.text().as_str()), (404, "<html>"));
    assert_eq!(fixture.send(message()).await.status, 200);
}

#[tokio::test]
async fn the_token_endpoint_can_fail_too() {
    let fixture = Fixture::start().await;
    let email = fixture.account.text("client_email");
    fixture.sim.script(Provider::FcmToken, email, [Reply::status(503)]).unwrap();
    let assertion = fixture.account.assertion(&fixture.account.claims());
    assert_eq!(fixture.account.exchange(&fixture.sim, &assertion).await.status, 503);
    assert_eq!(fixture.account.exchange(&fixture.sim, &assertion).await.status, 200);
}

#[tokio::test]
async fn cut_and_reset_answers_reach_nobody_over_both_versions_of_http() {
    let fixture = Fixture::start().await;
    let ask = fixture.ask(&json!({"message": message()}));
    for fate in [Fate::Drop, Fate::Reset] {
        fixture.sim.script(Provider::Fcm, TOKEN, [Reply::accept().fate(fate).times(2)]).unwrap();
        assert!(ask.clone().send(fixture.sim.ca_pem()).await.is_err(), "{fate:?}");
        assert!(ask.clone().send_h2(fixture.sim.ca_pem()).await.is_err(), "{fate:?}");
    }
    fixture.sim.script(Provider::Fcm, TOKEN, [Reply::accept().fate(Fate::Goaway)]).unwrap();
    assert_eq!(ask.send_h2(fixture.sim.ca_pem()).await.unwrap().status, 200);
    let summary = fixture.sim.ledger().summary().of(Provider::Fcm);
    assert_eq!((summary.accepted, summary.accepted_tokens, summary.duplicates), (5, 1, 4));
}

#[tokio::test]
async fn a_broken_reserved_key_is_written_down_but_accepted() {
    let fixture = Fixture::start().await;
    let reply = fixture.send(json!({"token": TOKEN, "data": {"carillon": "{}"}})).await;
    assert_eq!(reply.status, 200);
    let record = &fixture.sim.ledger().records(&Query::provider(Provider::Fcm))[0];
    assert_eq!(record.violations.len(), 5, "{:?}", record.violations);
}
