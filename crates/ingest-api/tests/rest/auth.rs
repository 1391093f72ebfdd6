//! Who may call what.

use std::time::Duration;

use carillon_store::NewApiKey;
use carillon_vault::{ApiKey, ApiKeyKind};
use serde_json::{Value, json};

use crate::client::Answer;
use crate::world::{OPERATOR, Service, World, text};

/// Asks until the answer has this status, below the time for which a replica believes a key without hearing of a change.
pub(crate) async fn until(ask: impl AsyncFn() -> Answer, status: u16) -> Answer {
    let asking = async {
        loop {
            let answer = ask().await;
            if answer.status.as_u16() == status {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_millis(4_000), asking).await.expect("the answer within 4 s")
}

#[tokio::test]
async fn whatever_is_no_live_key_gets_the_same_answer() {
    let world = World::new().await;
    let unknown = ApiKey::mint(ApiKeyKind::Server).unwrap();
    let mut mistyped = world.key.clone();
    mistyped.pop();
    let mut bodies = Vec::new();
    for header in [
        None,
        Some("Bearer"),
        Some("Bearer "),
        Some("Basic dXNlcjpwYXNz"),
        Some("Bearer nonsense"),
        Some(&format!("Bearer {mistyped}")),
        Some(&format!("Bearer {}", unknown.expose())),
        Some(&format!("Bearer {OPERATOR}x")),
        Some(&world.key),
    ] {
        let call = world.get("/v1/account").header("x-request-id", "same");
        let call = match header {
            Some(header) => call.header("authorization", header),
            None => call,
        };
        let answer = call.send().await.must_be_problem(401, "unauthenticated");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        bodies.push(answer.body);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn a_call_takes_the_right_kind_of_key_and_the_right_scope() {
    let world = World::new().await;
    let device = world.device("d1").await;
    let only = async |scope: &str| world.new_key("acme", json!({"scopes": [scope]})).await.1;
    let (send, read, admin) = (only("send").await, only("read").await, only("admin").await);
    let keys = [OPERATOR, &send, &read, &admin, &world.public_key, &device];
    let calls = [
        ("GET", "/v1/tenants", [true, false, false, false, false, false]),
        ("GET", "/v1/tenants/acme/keys", [true, false, false, false, false, false]),
        ("PUT", "/v1/tenants/acme", [true, false, false, false, false, false]),
        ("GET", "/v1/account", [false, false, true, false, false, false]),
        ("GET", "/v1/apps", [false, false, true, false, false, false]),
        ("PUT", "/v1/apps/shop", [false, false, false, true, false, false]),
        ("GET", "/v1/apps/shop/client", [false, false, false, false, true, false]),
    ];
    for (method, path, allowed) in calls {
        for (key, allowed) in keys.into_iter().zip(allowed) {
            let answer = world.call(method, path).key(key).send().await;
            match allowed {
                true => drop(answer.must(200)),
                false => drop(answer.must_be_problem(403, "forbidden")),
            }
        }
    }
}

#[tokio::test]
async fn a_refusal_comes_before_anything_of_the_body_is_read() {
    let world = World::new().await;
    world
        .put("/v1/apps/shop", json!({"wrong": 1}))
        .key(&world.public_key)
        .send()
        .await
        .must_be_problem(403, "forbidden");
    let garbage = world.call("PUT", "/v1/apps/shop").bytes("{{{").send().await;
    garbage.must_be_problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_key_for_some_apps_sees_and_touches_only_those() {
    let world = World::new().await;
    world.app(&world.key, "news").await;
    let (_, key) = world.new_key("acme", json!({"scopes": ["read", "admin"], "apps": ["shop"]})).await;
    world.get("/v1/apps/shop").key(&key).send().await.must(200);
    let listed = world.get("/v1/apps").key(&key).send().await.must(200).body;
    assert_eq!(listed["items"].as_array().unwrap().iter().map(|a| text(&a["app"])).collect::<Vec<_>>(), ["shop"]);
    let there =
        world.get("/v1/apps/news").key(&key).header("x-request-id", "r").send().await.must_be_problem(403, "forbidden");
    let absent =
        world.get("/v1/apps/nope").key(&key).header("x-request-id", "r").send().await.must_be_problem(403, "forbidden");
    assert_eq!(there.body, absent.body, "whether the app exists is not told");
    world.put("/v1/apps/other", json!({})).key(&key).send().await.must_be_problem(403, "forbidden");
}

#[tokio::test]
async fn another_tenants_app_looks_exactly_like_an_absent_one() {
    let world = World::new().await;
    let other = world.tenant("beta").await;
    world.app(&other, "secret").await;
    for (method, path) in [
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/credentials/apns"),
        ("DELETE", "/credentials/apns"),
        ("PUT", "/credentials/webpush"),
    ] {
        let body = json!({"subject": "mailto:a@b.example"});
        let ask = async |app: &str| {
            let call = world.call(method, &format!("/v1/apps/{app}{path}")).key(&world.key).header("x-request-id", "r");
            call.json(body.clone()).send().await.must_be_problem(404, "not_found")
        };
        let (theirs, absent) = (ask("secret").await, ask("absent").await);
        assert_eq!(theirs.body, absent.body, "{method} {path}");
        let names = |answer: &Answer| {
            let mut names: Vec<_> = answer.headers.iter().map(|(n, v)| (n.to_string(), v.clone())).collect();
            names.retain(|(name, _)| name != "date");
            names.sort();
            names
        };
        assert_eq!(names(&theirs), names(&absent), "{method} {path}");
    }
    world.get("/v1/apps/secret").key(&other).send().await.must(200);
}

#[tokio::test]
async fn a_public_key_reads_its_own_apps_configuration_only() {
    let world = World::new().await;
    world.app(&world.key, "news").await;
    for app in ["news", "absent"] {
        let answer = world.get(&format!("/v1/apps/{app}/client")).key(&world.public_key).send().await;
        answer.must_be_problem(403, "forbidden");
    }
}

#[tokio::test]
async fn a_revoked_key_is_dead_on_every_replica() {
    let world = World::new().await;
    let other = Service::start(&world.database.url, &[]).await;
    let (id, secret) = world.new_key("acme", json!({"scopes": ["read"]})).await;
    until(async || other.client.get("/v1/account").key(&secret).send().await, 200).await;
    world.delete(&format!("/v1/tenants/acme/keys/{id}")).key(OPERATOR).send().await.must(204);
    until(async || other.client.get("/v1/account").key(&secret).send().await, 401).await;
}

#[tokio::test]
async fn a_replica_that_lost_its_ear_for_changes_gets_it_back() {
    let world = World::new().await;
    let other = Service::start(&world.database.url, &[]).await;
    let deaf = "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity
                WHERE datname = current_database() AND query IN ('LISTEN carillon_changed', '')";
    let hears = "SELECT count(*)::text FROM pg_stat_activity
                 WHERE datname = current_database() AND query IN ('LISTEN carillon_changed', '')";
    let both_hear = async || {
        while world.database.texts(hears).await != ["2"] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), both_hear()).await.expect("both listen");
    assert_eq!(world.database.texts(deaf).await, ["2"]);
    tokio::time::timeout(Duration::from_secs(5), both_hear()).await.expect("both listen again");
    let (id, secret) = world.new_key("acme", json!({"scopes": ["read"]})).await;
    until(async || other.client.get("/v1/account").key(&secret).send().await, 200).await;
    world.delete(&format!("/v1/tenants/acme/keys/{id}")).key(OPERATOR).send().await.must(204);
    until(async || other.client.get("/v1/account").key(&secret).send().await, 401).await;
}

#[tokio::test]
async fn an_operators_key_may_live_in_the_database_too() {
    let world = World::new().await;
    let make = async |kind: ApiKeyKind| {
        let key = ApiKey::mint(kind).unwrap();
        let new = NewApiKey {
            key_id: uuid::Uuid::now_v7(),
            tenant_key: None,
            secret_hash: key.hash(),
            name: None,
            scopes: &[],
            apps: None,
            expires_at: None,
        };
        world.database.store().create_api_key(&new).await.unwrap();
        key.expose().to_owned()
    };
    let operator = make(ApiKeyKind::Operator).await;
    world.get("/v1/tenants").key(&operator).send().await.must(200);
    let stray = make(ApiKeyKind::Server).await;
    world.get("/v1/tenants").key(&stray).send().await.must_be_problem(401, "unauthenticated");
}

#[tokio::test]
async fn without_an_operators_key_in_the_settings_nobody_is_operator() {
    let world = World::with(&[]).await;
    let other = Service::start(&world.database.url, &[("CARILLON_OPERATOR__KEY", "")]).await;
    for key in [OPERATOR, ""] {
        other.client.get("/v1/tenants").key(key).send().await.must_be_problem(401, "unauthenticated");
    }
    let _: Value = world.get("/v1/tenants").key(OPERATOR).send().await.must(200).body;
}
