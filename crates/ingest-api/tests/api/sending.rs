//! Sending over REST.

use crate::http::{Reply, call_with, get, post, put};
use crate::world::{Tenant, World, eventually};
use hyper::Method;
use serde_json::{Value, json};
use uuid::Uuid;

fn hello() -> Value {
    json!({"app": "shop", "to": {"users": ["u1"]}, "content": {"title": "Hello"}})
}

async fn send(key: &str, idempotency_key: &str, body: Value) -> Reply {
    call_with(key, Method::POST, "/v1/notifications", Some(body), &[("idempotency-key", idempotency_key)]).await
}

fn id(body: &Value) -> Uuid {
    body["id"].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no id in {body}"))
}

const ALL: &str = "SELECT count(*) FROM notifications WHERE tenant_key = $1";

#[tokio::test]
async fn an_accepted_notification_is_committed_and_wakes_the_segmenter() {
    let t = Tenant::new().await;
    let accepted = post(&t.key, "/v1/notifications", hello()).await.expect(202);
    assert_eq!(accepted["state"], "sending");
    assert_eq!(t.count(ALL).await, 1);
    World::get().wakes(id(&accepted)).await;
    let shown = get(&t.key, &format!("/v1/notifications/{}", id(&accepted))).await.expect(200);
    assert_eq!((&shown["state"], &shown["counts"]["push"]["total"]), (&json!("sending"), &Value::Null));
}

#[tokio::test]
async fn a_scheduled_notification_waits_for_its_time() {
    let t = Tenant::new().await;
    let mut body = hello();
    body["schedule"] = json!({"at": jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1)});
    let accepted = post(&t.key, "/v1/notifications", body).await.expect(202);
    assert_eq!(accepted["state"], "scheduled");
    assert_eq!(t.count(&format!("{ALL} AND due_at = scheduled_at")).await, 1);
    assert!(!World::get().woken.lock().unwrap().contains(&id(&accepted)));
}

#[tokio::test]
async fn a_dry_run_checks_everything_and_does_nothing() {
    let t = Tenant::new().await;
    t.credential(1).await;
    let mut body = hello();
    body["dry_run"] = json!(true);
    let answer = send(&t.key, "k", body.clone()).await.expect(200);
    assert_eq!(answer, json!({"id": null, "state": "sending"}));
    body["content"]["title"] = json!(7);
    assert_eq!(post(&t.key, "/v1/notifications", body).await.pointers(), ["/content/title"]);
    assert_eq!(t.count(ALL).await, 0);
    send(&t.key, "k", hello()).await.expect(202);
}

#[tokio::test]
async fn the_same_key_and_meaning_gets_the_same_answer_and_another_meaning_none() {
    let t = Tenant::new().await;
    let first = send(&t.key, "order 17", hello()).await;
    assert_eq!(first.header("idempotent-replayed"), None);
    let first = first.expect(202);
    let same = json!({"content": {"title": "Hello"}, "to": {"users": ["u1", "u1"]}, "app": "shop"});
    let again = send(&t.key, "order 17", same).await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.expect(202), first);
    let mut other = hello();
    other["content"]["title"] = json!("Bye");
    assert_eq!(send(&t.key, "order 17", other).await.code(), (422, "idempotency_conflict"));
    let neighbour = Tenant::new().await;
    assert_ne!(send(&neighbour.key, "order 17", hello()).await.expect(202)["id"], first["id"]);
    assert_eq!(t.count(ALL).await, 1);
}

#[tokio::test]
async fn a_refused_call_does_not_use_its_key_up() {
    let t = Tenant::new().await;
    let mut body = hello();
    body["to"] = json!({});
    assert_eq!(send(&t.key, "k", body).await.code(), (422, "invalid_request"));
    send(&t.key, "k", hello()).await.expect(202);
}

#[tokio::test]
async fn fifty_calls_at_once_with_one_key_make_one_notification() {
    let t = Tenant::new().await;
    let calls = (0..50).map(|_| send(&t.key, "once", hello()));
    let answers = futures::future::join_all(calls).await;
    let mut ids: Vec<Uuid> = Vec::new();
    for answer in answers {
        match answer.code() {
            (202, _) => ids.push(id(&answer.body)),
            (409, "idempotency_in_progress") => {}
            other => panic!("{other:?}: {}", answer.body),
        }
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(t.count(ALL).await, 1);
    assert_eq!(id(&send(&t.key, "once", hello()).await.expect(202)), ids[0]);
}

#[tokio::test]
async fn what_was_accepted_is_answered_as_it_was_even_if_it_would_be_refused_by_now() {
    let t = Tenant::new().await;
    let mut body = hello();
    body["schedule"] = json!({"at": jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1)});
    let first = send(&t.key, "k", body.clone()).await.expect(202);
    t.run("UPDATE tenants SET push_enabled = false WHERE tenant_key = $1").await;
    eventually("the switch", async || {
        let answer = post(&t.key, "/v1/notifications", hello()).await;
        (answer.code() == (409, "push_disabled")).then_some(())
    })
    .await;
    let again = send(&t.key, "k", body).await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.expect(202), first);
}

#[tokio::test]
async fn a_body_too_large_for_a_platform_with_credentials_is_refused_with_its_bytes() {
    let t = Tenant::new().await;
    let mut body = hello();
    body["content"]["body"] = json!("x".repeat(4_050));
    post(&t.key, "/v1/notifications", body.clone()).await.expect(202);
    t.credential(1).await;
    let refused = eventually("the credential", async || {
        let answer = post(&t.key, "/v1/notifications", body.clone()).await;
        (answer.code() == (422, "payload_too_large")).then_some(answer)
    })
    .await;
    assert_eq!((&refused.body["platform"], &refused.body["limit"]), (&json!("apns"), &json!(4096)));
    assert!(refused.body["bytes"].as_u64().unwrap() > 4096);
    body["to"] = json!({"platforms": ["fcm"]});
    post(&t.key, "/v1/notifications", body).await.expect(202);
}

#[tokio::test]
async fn an_app_that_is_not_there_or_not_the_keys_is_refused() {
    let t = Tenant::new().await;
    let mut body = hello();
    body["app"] = json!("nothing");
    let refused = post(&t.key, "/v1/notifications", body).await;
    assert_eq!((refused.status.as_u16(), refused.pointers()), (422, vec!["/app"]));
    let limited = t.server_key(&["send", "read"], Some(&["other"])).await;
    assert_eq!(post(&limited, "/v1/notifications", hello()).await.code(), (403, "forbidden"));
    let sent = post(&t.key, "/v1/notifications", hello()).await.expect(202);
    assert_eq!(get(&limited, &format!("/v1/notifications/{}", id(&sent))).await.code(), (404, "not_found"));
    let reader = t.server_key(&["read"], None).await;
    assert_eq!(post(&reader, "/v1/notifications", hello()).await.code(), (403, "forbidden"));
}

#[tokio::test]
async fn each_item_of_a_batch_has_its_own_key_and_answer() {
    let t = Tenant::new().await;
    let items = json!({"items": [
        {"notification": hello(), "idempotency_key": "a"},
        {"notification": {"app": "shop", "to": {}, "content": {"title": 1}}},
        {"notification": hello(), "idempotency_key": "a"},
        {"notification": hello(), "idempotency_key": ""},
        {"nonsense": 1},
    ]});
    let whole = [("idempotency-key", "whole")];
    let refused = call_with(&t.key, Method::POST, "/v1/notifications:batch", Some(items.clone()), &whole).await;
    assert_eq!(refused.pointers(), ["/headers/Idempotency-Key"]);
    let answers = post(&t.key, "/v1/notifications:batch", items.clone()).await.expect(200)["answers"].clone();
    assert_eq!(answers[0]["accepted"]["state"], "sending");
    assert_eq!(answers[1]["problem"]["errors"][0]["pointer"], "/notification/content/title");
    assert_eq!(answers[2]["accepted"]["idempotent_replayed"], true, "as a call after the first");
    assert_eq!(answers[2]["accepted"]["id"], answers[0]["accepted"]["id"]);
    assert_eq!(answers[3]["problem"]["errors"][0]["pointer"], "/idempotency_key");
    assert_eq!(answers[4]["problem"]["status"], 422);
    assert_eq!(t.count(ALL).await, 1);
    let again = post(&t.key, "/v1/notifications:batch", items).await.expect(200)["answers"][0].clone();
    assert_eq!(again["accepted"]["idempotent_replayed"], true);
    assert_eq!(again["accepted"]["id"], answers[0]["accepted"]["id"]);
}

#[tokio::test]
async fn a_batch_has_one_to_a_thousand_items() {
    let t = Tenant::new().await;
    let of = |n: usize| json!({"items": vec![json!({"notification": hello()}); n]});
    assert_eq!(post(&t.key, "/v1/notifications:batch", of(0)).await.pointers(), ["/items"]);
    assert_eq!(post(&t.key, "/v1/notifications:batch", of(1_001)).await.pointers(), ["/items"]);
    let answers = post(&t.key, "/v1/notifications:batch", of(1_000)).await.expect(200);
    assert!(answers["answers"].as_array().unwrap().iter().all(|answer| answer["accepted"]["state"] == "sending"));
    assert_eq!(t.count(ALL).await, 1_000);
}

#[tokio::test]
async fn a_body_over_the_limit_or_that_is_no_json_is_refused() {
    let t = Tenant::new().await;
    let mut body = hello();
    body["metadata"] = json!({"a": "x".repeat(1_100_000)});
    assert_eq!(post(&t.key, "/v1/notifications", body).await.code(), (413, "body_too_large"));
    let plain = [("content-type", "text/plain")];
    let refused = call_with(&t.key, Method::POST, "/v1/notifications", None, &plain).await;
    assert_eq!(refused.status.as_u16(), 415);
    assert_eq!(post("csk_nonsense", "/v1/notifications", hello()).await.code(), (401, "unauthenticated"));
}

#[tokio::test]
async fn one_that_the_database_refuses_takes_no_other_of_its_group_with_it() {
    let t = Tenant::new().await;
    t.sql
        .batch_execute(
            "CREATE OR REPLACE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN IF NEW.reference = 'poison' THEN RAISE EXCEPTION 'poison'; END IF; RETURN NEW; END $$;
             CREATE OR REPLACE TRIGGER poison BEFORE INSERT ON notifications FOR EACH ROW EXECUTE FUNCTION poison()",
        )
        .await
        .unwrap();
    let mut poison = hello();
    poison["reference"] = json!("poison");
    let item = |notification: Value, key: &str| json!({"notification": notification, "idempotency_key": key});
    let items = json!({"items": [item(hello(), "a"), item(poison, "b"), item(hello(), "c")]});
    let answers = post(&t.key, "/v1/notifications:batch", items).await.expect(200)["answers"].clone();
    assert_eq!(answers[1]["problem"]["status"], 500);
    assert!(!answers[1].to_string().contains("RAISE"), "what the database said is for the log");
    for good in [0, 2] {
        World::get().wakes(id(&answers[good]["accepted"])).await;
    }
    assert_eq!(t.count(ALL).await, 2);
    send(&t.key, "b", hello()).await.expect(202);
}

#[tokio::test]
async fn a_key_that_stands_twice_in_a_batch_is_answered_like_two_calls() {
    let t = Tenant::new().await;
    let mut other = hello();
    other["content"]["title"] = json!("Bye");
    let mut wrong = hello();
    wrong["to"] = json!({});
    let item = |notification: &Value, key: &str| json!({"notification": notification, "idempotency_key": key});
    let batch = async |items: Vec<Value>| {
        post(&t.key, "/v1/notifications:batch", json!({ "items": items })).await.expect(200)["answers"].clone()
    };
    let answers = batch(vec![
        item(&hello(), "a"),
        item(&other, "a"),
        item(&hello(), "a"),
        item(&wrong, "b"),
        item(&hello(), "b"),
    ])
    .await;
    assert_eq!(answers[0]["accepted"]["idempotent_replayed"], false);
    assert_eq!(answers[1]["problem"]["code"], "idempotency_conflict");
    assert_eq!(answers[2]["accepted"]["id"], answers[0]["accepted"]["id"]);
    assert_eq!(answers[3]["problem"]["code"], "invalid_request");
    assert_eq!(answers[4]["accepted"]["idempotent_replayed"], false, "a refused item does not use its key up");
    // Of a key that an earlier call used, each item is asked for its own meaning.
    let later = batch(vec![item(&other, "a"), item(&hello(), "a")]).await;
    assert_eq!(later[0]["problem"]["code"], "idempotency_conflict");
    assert_eq!(later[1]["accepted"]["id"], answers[0]["accepted"]["id"]);
    assert_eq!(t.count(ALL).await, 2);
}

#[tokio::test]
async fn whoever_sends_to_a_platform_without_a_credential_is_told_what_waits_and_for_what() {
    let t = Tenant::new().await;
    let first = send(&t.key, "k", hello()).await.expect(202);
    assert_eq!(first["warnings"][0]["reason"], "credential");
    assert_eq!(first["warnings"][0]["platforms"], json!(["apns", "fcm", "webpush"]));
    assert!(first["warnings"][0]["detail"].as_str().unwrap().contains("PUT /v1/apps/{app}/credentials/{platform}"));
    assert_eq!(send(&t.key, "k", hello()).await.expect(202), first, "a repetition is told the same");
    t.credential(2).await;
    let mut to_apple = hello();
    to_apple["to"]["platforms"] = json!(["apns", "fcm"]);
    eventually("the credential", async || {
        (post(&t.key, "/v1/notifications", hello()).await.expect(202).get("warnings").is_none()).then_some(())
    })
    .await;
    let told = post(&t.key, "/v1/notifications", to_apple.clone()).await.expect(202);
    assert_eq!(told["warnings"][0]["platforms"], json!(["apns"]));
    let items = json!({"items": [{"notification": to_apple}]});
    let told = post(&t.key, "/v1/notifications:batch", items).await.expect(200)["answers"][0].clone();
    assert_eq!(told["accepted"]["warnings"][0]["platforms"], json!(["apns"]));
    to_apple["dry_run"] = json!(true);
    let told = post(&t.key, "/v1/notifications", to_apple).await.expect(200);
    assert_eq!(told["warnings"][0]["platforms"], json!(["apns"]));
}

#[tokio::test]
async fn a_cascade_that_nobody_would_send_is_refused_and_one_with_a_sender_is_not() {
    let t = Tenant::new().await;
    let with = |sms: Value| {
        let mut body = hello();
        body["cascade"] = json!([{"unless": "read", "within": "30m", "then": {"sms": sms}}]);
        body
    };
    let named = || with(json!({"from": "SHOP"}));
    let refused = post(&t.key, "/v1/notifications", named()).await;
    assert_eq!((refused.code(), refused.pointers()), ((422, "invalid_request"), vec!["/cascade/0/then/sms/from"]));
    let refused = post(&t.key, "/v1/notifications", with(json!({}))).await;
    assert_eq!((refused.code(), refused.pointers()), ((422, "invalid_request"), vec!["/cascade/0/then/sms"]));
    let gateway = "INSERT INTO sms_gateways (tenant_key, gateway, kind, sealed, callback_secret)
                   VALUES ($1, 'main', 'smsapi', '', gen_random_uuid()::text)";
    t.run(gateway).await;
    post(&t.key, "/v1/notifications", named()).await.expect(202);
    put(&t.key, "/v1/sms/senders/shop", json!({"gateways": ["main"]})).await.expect(201);
    post(&t.key, "/v1/notifications", named()).await.expect(202);
    let refused = post(&t.key, "/v1/notifications", with(json!({"from": "SHPO"}))).await;
    assert_eq!((refused.code(), refused.pointers()), ((422, "invalid_request"), vec!["/cascade/0/then/sms/from"]));
    assert!(refused.body.to_string().contains("there are shop"), "{}", refused.body);
    assert_eq!(t.count(ALL).await, 2);
}

#[tokio::test]
async fn a_whole_number_may_be_written_as_a_float_and_means_the_same() {
    let t = Tenant::new().await;
    let with = |badge: Value, ttl: Value| {
        let mut body = hello();
        body["content"]["badge"] = badge;
        body["options"] = json!({ "ttl": ttl });
        body
    };
    let first = send(&t.key, "k", with(json!(3), json!(60))).await.expect(202);
    let again = send(&t.key, "k", with(json!(3.0), json!(60.0))).await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.expect(202)["id"], first["id"]);
    for wrong in [json!(3.5), json!(-1.0), json!(1e300), json!("3")] {
        let refused = post(&t.key, "/v1/notifications", with(wrong, json!("1m"))).await;
        assert_eq!((refused.code(), refused.pointers()), ((422, "invalid_request"), vec!["/content/badge"]));
    }
}
