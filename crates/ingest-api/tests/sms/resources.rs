//! Gateways and senders.

use crate::world::World;
use serde_json::{Value, json};

const ALL: &[&str] = &["send", "devices", "read", "admin"];

fn gateway(token: &str) -> Option<Value> {
    Some(json!({ "kind": "smsapi", "token": token }))
}

#[tokio::test]
async fn a_gateway_keeps_its_callback_and_never_shows_its_token() {
    let world = World::new().await;
    let (tenant, key) = world.tenant("acme", ALL).await;
    let made = world.expect(&key, "PUT", "/v1/sms/gateways/main", gateway("tok-1"), 201).await;
    let url = made["callback_url"].as_str().expect("a callback").to_owned();
    assert!(url.starts_with("https://push.example/v1/callbacks/sms/"), "{url}");
    assert_eq!((made["gateway"].as_str(), made["kind"].as_str()), (Some("main"), Some("smsapi")));
    let changed = world.expect(&key, "PUT", "/v1/sms/gateways/main", gateway("tok-2"), 200).await;
    assert_eq!(changed["callback_url"], url.as_str());
    let one = world.expect(&key, "GET", "/v1/sms/gateways/main", None, 200).await;
    let list = world.expect(&key, "GET", "/v1/sms/gateways", None, 200).await;
    assert_eq!(list["items"], json!([one]));
    assert!(!format!("{made}{changed}{one}{list}").contains("tok-"));
    let sql = "SELECT sealed, version FROM sms_gateways WHERE tenant_key = $1";
    let row = world.sql.query_one(sql, &[&tenant]).await.unwrap();
    let (sealed, version): (Vec<u8>, i32) = (row.get(0), row.get(1));
    assert_eq!(version, 2);
    let vault = carillon_vault::Vault::from_list("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=").unwrap();
    let context = carillon_vault::Context { tenant: "acme", app: None, kind: "sms", version: 2 };
    let opened = vault.for_kind("sms").unwrap().open(&context, &sealed).unwrap();
    assert_eq!(opened.expose_str().unwrap(), r#"{"token":"tok-2"}"#);
    world.end().await;
}

#[tokio::test]
async fn a_key_that_may_only_read_does_not_see_the_callback() {
    let world = World::new().await;
    let (_, key) = world.tenant("acme", ALL).await;
    world.expect(&key, "PUT", "/v1/sms/gateways/main", gateway("t"), 201).await;
    let (_, reader) = world.tenant("acme", &["read"]).await;
    let seen = world.expect(&reader, "GET", "/v1/sms/gateways/main", None, 200).await;
    assert_eq!(seen["callback_url"], Value::Null);
    world.expect(&reader, "PUT", "/v1/sms/gateways/main", gateway("t"), 403).await;
    world.end().await;
}

#[tokio::test]
async fn other_kinds_of_gateway_and_bad_fields_are_refused_with_their_places() {
    let world = World::new().await;
    let (_, key) = world.tenant("acme", ALL).await;
    world.expect(&key, "PUT", "/v1/sms/gateways/main", gateway("t"), 201).await;
    let faults = async |path: &str, body: Value| {
        let answer = world.expect(&key, "PUT", path, Some(body), 422).await;
        let errors = answer["errors"].as_array().unwrap().iter();
        let mut pointers: Vec<String> = errors.map(|e| e["pointer"].as_str().unwrap().to_owned()).collect();
        pointers.sort();
        pointers
    };
    assert_eq!(faults("/v1/sms/gateways/g", json!({"kind": "twilio", "token": "t"})).await, ["/kind"]);
    assert_eq!(faults("/v1/sms/gateways/g", json!({})).await, ["/kind", "/token"]);
    assert_eq!(
        faults("/v1/sms/gateways/g", json!({"kind": "smsapi", "token": "a b", "url": 1})).await,
        ["/token", "/url"]
    );
    assert_eq!(faults("/v1/sms/gateways/Bad", gateway("t").unwrap()).await, ["/path/gateway"]);
    assert_eq!(faults("/v1/sms/senders/shop", json!({"gateways": ["main", "gone"]})).await, ["/gateways/1"]);
    assert_eq!(
        faults("/v1/sms/senders/shop", json!({"gateways": ["main", "main", "B!"]})).await,
        ["/gateways/1", "/gateways/2"]
    );
    assert_eq!(faults("/v1/sms/senders/shop", json!({"gateways": []})).await, ["/gateways"]);
    assert_eq!(faults("/v1/sms/senders/shop%21", json!({"gateways": ["main"]})).await, ["/path/sender"]);
    world.expect(&key, "GET", "/v1/sms/senders/shop", None, 404).await;
    world.end().await;
}

#[tokio::test]
async fn a_sender_names_gateways_that_stay_while_it_does() {
    let world = World::new().await;
    let (_, key) = world.tenant("acme", ALL).await;
    world.expect(&key, "PUT", "/v1/sms/gateways/a", gateway("t"), 201).await;
    world.expect(&key, "PUT", "/v1/sms/gateways/b", gateway("t"), 201).await;
    let put = async |gateways: Value, status| {
        world.expect(&key, "PUT", "/v1/sms/senders/SHOP", Some(json!({ "gateways": gateways })), status).await
    };
    put(json!(["a"]), 201).await;
    let kept = put(json!(["b", "a"]), 200).await;
    assert_eq!(world.expect(&key, "GET", "/v1/sms/senders/SHOP", None, 200).await, kept);
    assert_eq!(world.expect(&key, "GET", "/v1/sms/senders", None, 200).await["items"], json!([kept]));
    assert_eq!(kept["gateways"], json!(["b", "a"]));
    let refused = world.expect(&key, "DELETE", "/v1/sms/gateways/a", None, 409).await;
    assert_eq!(refused["code"], "invalid_state");
    world.expect(&key, "DELETE", "/v1/sms/senders/SHOP", None, 204).await;
    world.expect(&key, "DELETE", "/v1/sms/senders/SHOP", None, 404).await;
    world.expect(&key, "DELETE", "/v1/sms/gateways/a", None, 204).await;
    world.expect(&key, "DELETE", "/v1/sms/gateways/a", None, 404).await;
    world.end().await;
}

#[tokio::test]
async fn another_tenant_s_gateways_and_senders_do_not_exist() {
    let world = World::new().await;
    let (_, key) = world.tenant("acme", ALL).await;
    let (_, other) = world.tenant("other", ALL).await;
    world.expect(&key, "PUT", "/v1/sms/gateways/main", gateway("t"), 201).await;
    world.expect(&key, "PUT", "/v1/sms/senders/shop", Some(json!({"gateways": ["main"]})), 201).await;
    for path in ["/v1/sms/gateways/main", "/v1/sms/senders/shop"] {
        world.expect(&other, "GET", path, None, 404).await;
        world.expect(&other, "DELETE", path, None, 404).await;
    }
    world.expect(&other, "PUT", "/v1/sms/senders/shop", Some(json!({"gateways": ["main"]})), 422).await;
    for path in ["/v1/sms/gateways", "/v1/sms/senders"] {
        assert_eq!(world.expect(&other, "GET", path, None, 200).await["items"], json!([]));
    }
    let own = world.expect(&other, "PUT", "/v1/sms/gateways/main", gateway("t"), 201).await;
    let theirs = world.expect(&key, "GET", "/v1/sms/gateways/main", None, 200).await;
    assert_ne!(own["callback_url"], theirs["callback_url"]);
    world.end().await;
}

#[tokio::test]
async fn a_sender_that_is_new_to_this_process_is_found_before_a_cascade_is_refused() {
    let world = World::new().await;
    let (tenant, key) = world.tenant("acme", ALL).await;
    world.expect(&key, "PUT", "/v1/apps/shop", Some(json!({})), 201).await;
    world.expect(&key, "PUT", "/v1/sms/gateways/main", gateway("t"), 201).await;
    world.expect(&key, "PUT", "/v1/sms/senders/shop", Some(json!({"gateways": ["main"]})), 201).await;
    let send = async |from: &str, status| {
        let link = json!({"unless": "read", "within": "5m", "then": {"sms": {"from": from, "text": "Hi"}}});
        let body = json!({"app": "shop", "to": {"users": ["u"]}, "content": {"title": "T"}, "cascade": [link]});
        world.expect(&key, "POST", "/v1/notifications", Some(body), status).await
    };
    send("shop", 202).await;
    send("news", 422).await;
    // Made elsewhere, and nobody has said so here.
    world.sql.batch_execute("ALTER TABLE sms_senders DISABLE TRIGGER sms_senders_changed").await.unwrap();
    let sql = "INSERT INTO sms_senders (tenant_key, sender, gateways) VALUES ($1, 'news', '{main}')";
    world.sql.execute(sql, &[&tenant]).await.unwrap();
    send("news", 202).await;
    world.end().await;
}
