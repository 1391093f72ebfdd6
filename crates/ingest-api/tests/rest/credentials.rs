//! `/v1/apps/{app}/credentials/{platform}`.

use std::sync::LazyLock;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::pkcs8::{EncodePrivateKey as _, LineEnding};
use serde_json::{Value, json};

use crate::world::{World, text};

fn p8(byte: u8) -> String {
    p256::SecretKey::from_slice(&[byte; 32]).unwrap().to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
}

/// One for all tests: making an RSA key takes a while.
static RSA: LazyLock<String> = LazyLock::new(|| {
    let mut random = rsa::rand_core::UnwrapErr(p256::elliptic_curve::common::getrandom::SysRng);
    let key = rsa::RsaPrivateKey::new(&mut random, 2048).unwrap();
    key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
});

pub(crate) fn apns() -> Value {
    json!({"auth": "token", "key_id": "ABC123DEFG", "team_id": "TEAM123456", "bundle_id": "com.example.shop", "private_key": p8(7)})
}

pub(crate) fn fcm() -> Value {
    json!({"service_account": {"type": "service_account", "project_id": "shop-17", "private_key_id": "k1",
           "private_key": RSA.as_str(), "client_email": "push@shop-17.iam.gserviceaccount.com", "client_id": "1",
           "token_uri": "https://oauth2.googleapis.com/token"}})
}

/// Opens what is kept, as a dispatcher would.
async fn opened(world: &World, platform: carillon_domain::platform::Platform) -> Value {
    let store = world.database.store();
    let tenant = store.tenant("acme").await.unwrap().unwrap().tenant_key;
    let app = store.app(tenant, "shop").await.unwrap().unwrap().app_key;
    let kept = store.current_credential(tenant, app, platform).await.unwrap().unwrap();
    let vault = carillon_vault::Vault::from_list("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=").unwrap();
    let context = carillon_vault::Context {
        tenant: "acme",
        app: Some("shop"),
        kind: platform.as_str(),
        version: u64::try_from(kept.version).unwrap(),
    };
    let secret = vault.for_kind(platform.as_str()).unwrap().open(&context, &kept.sealed).unwrap();
    assert!(!String::from_utf8_lossy(&kept.sealed).contains("PRIVATE"));
    serde_json::from_slice(secret.expose()).unwrap()
}

#[tokio::test]
async fn a_p8_key_is_sealed_as_it_came_and_never_shown_again() {
    let world = World::new().await;
    let put = world.put("/v1/apps/shop/credentials/apns", apns()).key(&world.key).send().await.must(201).body;
    let got = world.get("/v1/apps/shop/credentials/apns").key(&world.key).send().await.must(200).body;
    assert_eq!(put, got);
    assert_eq!((&got["platform"], &got["status"]), (&json!("apns"), &json!("unverified")));
    assert_eq!((&got["key_id"], &got["bundle_id"]), (&json!("ABC123DEFG"), &json!("com.example.shop")));
    assert!(got["fingerprint"].as_str().unwrap().starts_with("sha256:"));
    assert!(!got.to_string().contains("PRIVATE") && got.get("private_key").is_none());
    assert_eq!(opened(&world, carillon_domain::platform::Platform::Apns).await, apns());
}

#[tokio::test]
async fn a_service_account_is_sealed_whole() {
    let world = World::new().await;
    let put = world.put("/v1/apps/shop/credentials/fcm", fcm()).key(&world.key).send().await.must(201).body;
    assert_eq!(put["project_id"], "shop-17");
    assert!(!put.to_string().contains("PRIVATE"));
    assert_eq!(opened(&world, carillon_domain::platform::Platform::Fcm).await, fcm());
    let mut local = fcm();
    local["service_account"]["token_uri"] = json!("http://127.0.0.1:9/token");
    world.put("/v1/apps/shop/credentials/fcm", local).key(&world.key).send().await.must(200);
}

#[tokio::test]
async fn a_vapid_pair_is_made_when_absent_and_kept_when_there_is_one() {
    let world = World::new().await;
    let path = "/v1/apps/shop/credentials/webpush";
    let put = async |body: Value| world.put(path, body).key(&world.key).send().await;
    let first = put(json!({"subject": "mailto:push@shop.example"})).await.must(201).body;
    assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(text(&first["public_key"])).unwrap().len(), 65);
    let second = put(json!({"subject": "https://shop.example"})).await.must(200).body;
    assert_eq!(second["public_key"], first["public_key"]);
    let kept = opened(&world, carillon_domain::platform::Platform::Webpush).await;
    assert_eq!((&kept["subject"], &kept["public_key"]), (&json!("https://shop.example"), &first["public_key"]));
    let own = vapid(9);
    let third = put(own.clone()).await.must(200).body;
    assert_eq!(third["public_key"], own["public_key"]);
    assert_eq!(third["older_public_keys"], json!([first["public_key"]]));
    let mut opened = opened(&world, carillon_domain::platform::Platform::Webpush).await;
    let older = opened.as_object_mut().unwrap().remove("older").unwrap();
    assert_eq!(opened, own);
    let before = json!([{"public_key": kept["public_key"], "private_key": kept["private_key"]}]);
    assert_eq!(older, before, "older subscriptions are still reached");
}

#[tokio::test]
async fn two_who_put_a_vapid_pair_at_once_are_both_kept() {
    let world = World::new().await;
    let path = "/v1/apps/shop/credentials/webpush";
    let put = |seed| world.put(path, vapid(seed)).key(&world.key).send();
    let (a, b) = tokio::join!(put(8), put(9));
    assert!(a.status.is_success() && b.status.is_success());
    let now = world.get(path).key(&world.key).send().await.must(200).body;
    let mut kept = vec![now["public_key"].clone(), now["older_public_keys"][0].clone()];
    kept.sort_by_key(Value::to_string);
    let mut put = vec![vapid(8)["public_key"].clone(), vapid(9)["public_key"].clone()];
    put.sort_by_key(Value::to_string);
    assert_eq!(kept, put);
}

/// A Web Push credential with a pair that protects nothing.
fn vapid(seed: u8) -> Value {
    let key = p256::SecretKey::from_slice(&[seed; 32]).unwrap();
    json!({"subject": "https://shop.example",
           "public_key": BASE64_URL_SAFE_NO_PAD.encode(key.public_key().to_sec1_point(false).as_bytes()),
           "private_key": BASE64_URL_SAFE_NO_PAD.encode([seed; 32])})
}

#[tokio::test]
async fn a_new_key_has_another_fingerprint_and_version_and_a_deleted_one_never_returns() {
    let world = World::new().await;
    let path = "/v1/apps/shop/credentials/apns";
    let first = world.put(path, apns()).key(&world.key).send().await.must(201).body;
    let mut other = apns();
    other["private_key"] = json!(p8(8));
    let second = world.put(path, other).key(&world.key).send().await.must(200).body;
    assert_ne!(first["fingerprint"], second["fingerprint"]);
    world.delete(path).key(&world.key).send().await.must(204);
    world.delete(path).key(&world.key).send().await.must_be_problem(404, "not_found");
    world.get(path).key(&world.key).send().await.must_be_problem(404, "not_found");
    let left = world.database.texts("SELECT octet_length(sealed)::text FROM credentials").await;
    assert_eq!(left, ["0", "0"], "the secrets are gone");
    world.put(path, apns()).key(&world.key).send().await.must(200);
    assert_eq!(world.database.texts("SELECT max(version)::text FROM credentials").await, ["3"]);
}

#[tokio::test]
async fn who_puts_or_deletes_a_credential_is_told_what_is_true_from_then_on() {
    let world = World::new().await;
    // Nobody else says here what was changed.
    world.database.execute("ALTER TABLE credentials DISABLE TRIGGER credentials_changed").await;
    let path = "/v1/apps/shop/credentials/apns";
    let lacking = async || {
        let body = json!({"app": "shop", "to": {"users": ["u"], "platforms": ["apns"]}, "content": {"title": "T"}, "dry_run": true});
        let answer = world.post("/v1/notifications", body).key(&world.key).send().await.must(200).body;
        !answer["warnings"].is_null()
    };
    assert!(lacking().await);
    world.put(path, apns()).key(&world.key).send().await.must(201);
    assert!(!lacking().await);
    world.delete(path).key(&world.key).send().await.must(204);
    assert!(lacking().await);
}

#[tokio::test]
async fn two_who_put_a_credential_at_once_both_succeed() {
    let world = World::new().await;
    let put = || world.put("/v1/apps/shop/credentials/apns", apns()).key(&world.key).send();
    let (a, b) = tokio::join!(put(), put());
    assert!(a.status.is_success() && b.status.is_success());
    assert_eq!(world.database.texts("SELECT count(*)::text FROM credentials").await, ["2"]);
}

#[tokio::test]
async fn a_broken_credential_is_refused_with_every_place_that_is_broken() {
    let world = World::new().await;
    let p256_pem = p8(7);
    let with = |mut body: Value, pointer: &str, value: Value| {
        *body.pointer_mut(pointer).unwrap() = value;
        body
    };
    let pair = |public: &str, private: &str| json!({"subject": "mailto:a@b.example", "public_key": public, "private_key": private});
    let good_private = BASE64_URL_SAFE_NO_PAD.encode([9; 32]);
    let cases: Vec<(&str, Value, &[&str])> = vec![
        ("apns", with(apns(), "/key_id", json!("abc")), &["/key_id"]),
        ("apns", with(apns(), "/team_id", json!("TEAM-23456")), &["/team_id"]),
        ("apns", with(apns(), "/bundle_id", json!("com.example\r\nx: y")), &["/bundle_id"]),
        (
            "apns",
            with(apns(), "/private_key", json!("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----")),
            &["/private_key"],
        ),
        ("apns", with(apns(), "/private_key", json!(RSA.as_str())), &["/private_key"]),
        (
            "apns",
            json!({"auth": "token", "key_id": "x", "team_id": "y", "bundle_id": "", "private_key": "z"}),
            &["/bundle_id", "/key_id", "/private_key", "/team_id"],
        ),
        ("apns", json!({"auth": "certificate", "bundle_id": "a", "certificate": "b"}), &["/auth"]),
        ("fcm", with(fcm(), "/service_account/type", json!("authorized_user")), &["/service_account/type"]),
        ("fcm", with(fcm(), "/service_account/private_key", json!(p256_pem)), &["/service_account/private_key"]),
        ("fcm", with(fcm(), "/service_account/project_id", json!("../x")), &["/service_account/project_id"]),
        (
            "fcm",
            with(fcm(), "/service_account/token_uri", json!("https://evil.example/token")),
            &["/service_account/token_uri"],
        ),
        (
            "fcm",
            with(fcm(), "/service_account/token_uri", json!("http://127.0.0.1:10/token")),
            &["/service_account/token_uri"],
        ),
        (
            "fcm",
            json!({"service_account": {}}),
            &[
                "/service_account/client_email",
                "/service_account/private_key",
                "/service_account/project_id",
                "/service_account/token_uri",
                "/service_account/type",
            ],
        ),
        ("webpush", json!({"subject": "mailto:me@localhost"}), &["/subject"]),
        ("webpush", pair("AAAA", &good_private), &["/public_key"]),
        ("webpush", pair("AAAA", "AAAA"), &["/private_key"]),
        ("webpush", json!({"subject": "mailto:a@b.example", "public_key": "AAAA"}), &["/private_key"]),
    ];
    for (platform, body, pointers) in cases {
        let shown = body.to_string();
        let answer = world.put(&format!("/v1/apps/shop/credentials/{platform}"), body).key(&world.key).send().await;
        let answer = answer.must_be_problem(422, "credential_invalid");
        assert_eq!(answer.pointers(), pointers, "{shown}");
        assert!(!answer.body.to_string().contains("BEGIN PRIVATE KEY-----\\n"), "nothing of a key is repeated");
    }
    let kept = world.database.texts("SELECT count(*)::text FROM credentials").await;
    assert_eq!(kept, ["0"], "nothing broken is kept");
}
