//! Keys of tenants and users of the broker.

use serde_json::{Value, json};

use crate::world::{OPERATOR, World, text};

#[tokio::test]
async fn a_secret_is_shown_once_and_only_its_hash_is_kept() {
    let world = World::new().await;
    let (id, secret) = world.new_key("acme", json!({"name": "backend", "scopes": ["read"], "apps": ["shop"]})).await;
    assert!(secret.starts_with("csk_"));
    let listed = world.get("/v1/tenants/acme/keys").key(OPERATOR).send().await.must(200).body;
    let mine = listed["items"].as_array().unwrap().iter().find(|key| key["key"] == json!(id)).unwrap();
    assert_eq!(mine["name"], "backend");
    assert_eq!((&mine["scopes"], &mine["apps"]), (&json!(["read"]), &json!(["shop"])));
    assert!(!listed.to_string().contains("csk_"));
    let kept = world.database.texts("SELECT k::text FROM api_keys k").await.join("\n");
    assert!(!kept.contains(&secret));
}

#[tokio::test]
async fn a_revoked_key_is_dead_and_stays_in_the_list() {
    let world = World::new().await;
    let (id, secret) = world.new_key("acme", json!({"scopes": ["read"]})).await;
    world.get("/v1/account").key(&secret).send().await.must(200);
    world.delete(&format!("/v1/tenants/acme/keys/{id}")).key(OPERATOR).send().await.must(204);
    world.get("/v1/account").key(&secret).send().await.must_be_problem(401, "unauthenticated");
    let listed = world.get("/v1/tenants/acme/keys").key(OPERATOR).send().await.must(200).body;
    assert_eq!(listed["items"].as_array().unwrap().iter().filter(|key| key["revoked_at"].is_string()).count(), 1);
}

#[tokio::test]
async fn rotation_gives_a_new_key_while_the_old_one_lives_on_for_the_overlap() {
    let world = World::new().await;
    let (id, old) = world.new_key("acme", json!({"scopes": ["read"], "name": "n"})).await;
    let path = format!("/v1/tenants/acme/keys/{id}/rotate");
    let rotated = world.post(&path, json!({"overlap": "1h"})).key(OPERATOR).send().await.must(201).body;
    let new = text(&rotated["secret"]);
    assert_eq!((&rotated["name"], &rotated["expires_at"]), (&json!("n"), &Value::Null));
    assert!(rotated["old_expires_at"].is_string());
    for key in [&old, &new] {
        world.get("/v1/account").key(key).send().await.must(200);
    }
    world.post(&path, json!({"overlap": 0})).key(OPERATOR).send().await.must(201);
    world.get("/v1/account").key(&old).send().await.must_be_problem(401, "unauthenticated");
    world.get("/v1/account").key(&new).send().await.must(200);
    world.post(&path, json!({})).key(OPERATOR).send().await.must_be_problem(409, "invalid_state");
}

#[tokio::test]
async fn a_key_can_be_rotated_without_saying_how() {
    let world = World::new().await;
    let (id, _) = world.new_key("acme", json!({"scopes": ["read"]})).await;
    world.call("POST", &format!("/v1/tenants/acme/keys/{id}/rotate")).key(OPERATOR).send().await.must(201);
}

#[tokio::test]
async fn a_key_of_another_tenant_cannot_be_reached_through_this_one() {
    let world = World::new().await;
    world.tenant("beta").await;
    let (id, secret) = world.new_key("acme", json!({"scopes": ["read"]})).await;
    world.delete(&format!("/v1/tenants/beta/keys/{id}")).key(OPERATOR).send().await.must_be_problem(404, "not_found");
    let rotate = world.post(&format!("/v1/tenants/beta/keys/{id}/rotate"), json!({})).key(OPERATOR).send().await;
    rotate.must_be_problem(404, "not_found");
    world.get("/v1/account").key(&secret).send().await.must(200);
}

#[tokio::test]
async fn an_expired_key_is_dead() {
    let world = World::new().await;
    let (_, secret) = world.new_key("acme", json!({"scopes": ["read"], "expires_at": "2999-01-01T00:00:00Z"})).await;
    world.get("/v1/account").key(&secret).send().await.must(200);
    world
        .database
        .execute("UPDATE api_keys SET expires_at = now() - interval '1 s' WHERE expires_at IS NOT NULL")
        .await;
    let answer = crate::auth::until(async || world.get("/v1/account").key(&secret).send().await, 401).await;
    answer.must_be_problem(401, "unauthenticated");
    let past = json!({"scopes": ["read"], "expires_at": "2001-01-01T00:00:00Z"});
    let past = world.post("/v1/tenants/acme/keys", past).key(OPERATOR).send().await;
    assert_eq!(past.must_be_problem(422, "invalid_request").pointers(), ["/expires_at"]);
}

#[tokio::test]
async fn a_user_of_the_broker_speaks_for_one_tenant() {
    let world = World::new().await;
    world.tenant("beta").await;
    let put = async |tenant: &str, body: Value| {
        world.put(&format!("/v1/tenants/{tenant}/amqp-users/billing%20svc"), body).key(OPERATOR).send().await
    };
    let made = put("acme", json!({"scopes": ["send"]})).await.must(201).body;
    assert_eq!((&made["user"], &made["apps"]), (&json!("billing svc"), &Value::Null));
    put("acme", json!({"scopes": ["send"], "apps": ["shop"]})).await.must(200);
    put("beta", json!({"scopes": ["send"]})).await.must_be_problem(409, "invalid_state");
    let known = world.database.store().amqp_user("billing svc").await.unwrap().unwrap();
    assert_eq!((known.tenant.as_str(), known.apps), ("acme", Some(vec!["shop".to_owned()])));
    let path = |tenant: &str| format!("/v1/tenants/{tenant}/amqp-users/billing%20svc");
    world.delete(&path("beta")).key(OPERATOR).send().await.must_be_problem(404, "not_found");
    world.delete(&path("acme")).key(OPERATOR).send().await.must(204);
    world.delete(&path("acme")).key(OPERATOR).send().await.must_be_problem(404, "not_found");
}
