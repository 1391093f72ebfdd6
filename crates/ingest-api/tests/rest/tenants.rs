//! `/v1/tenants` and `/v1/account`.

use serde_json::{Value, json};

use crate::world::{OPERATOR, World, text};

#[tokio::test]
async fn a_tenant_is_made_changed_field_by_field_and_deleted() {
    let world = World::new().await;
    let body = json!({"name": "Beta", "default_timezone": "Europe/Warsaw", "default_region": "PL", "retention": "30d"});
    let made = world.put("/v1/tenants/beta", body).key(OPERATOR).send().await.must(201).body;
    assert_eq!(made["retention"], "30d");
    assert_eq!((&made["push_enabled"], &made["default_locale"]), (&json!(true), &Value::Null));
    let change = json!({"default_region": null, "default_locale": "pl-PL", "push_enabled": false});
    let changed = world.patch("/v1/tenants/beta", change).key(OPERATOR).send().await.must(200).body;
    assert_eq!(changed["name"], "Beta");
    assert_eq!((&changed["default_region"], &changed["push_enabled"]), (&Value::Null, &json!(false)));
    let put_again = world.put("/v1/tenants/beta", json!({"name": "B"})).key(OPERATOR).send().await.must(200).body;
    assert_eq!((&put_again["name"], &put_again["default_locale"]), (&json!("B"), &json!("pl-PL")));
    assert_eq!(world.get("/v1/tenants/beta").key(OPERATOR).send().await.must(200).body, put_again);
    world.delete("/v1/tenants/beta").key(OPERATOR).send().await.must(204);
    for method in ["GET", "PATCH", "DELETE"] {
        world.call(method, "/v1/tenants/beta").key(OPERATOR).send().await.must_be_problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_deleted_tenant_takes_its_keys_apps_credentials_and_devices_along() {
    let world = World::new().await;
    let device = world.device("d1").await;
    world
        .put("/v1/apps/shop/credentials/webpush", json!({"subject": "mailto:a@b.example"}))
        .key(&world.key)
        .send()
        .await
        .must(201);
    world.delete("/v1/tenants/acme").key(OPERATOR).send().await.must(204);
    for key in [&world.key, &world.public_key, &device] {
        world.get("/v1/account").key(key).send().await.must_be_problem(401, "unauthenticated");
    }
    for table in ["api_keys", "apps", "credentials", "devices"] {
        let left = world.database.texts(&format!("SELECT count(*)::text FROM {table}")).await;
        assert_eq!(left, ["0"], "{table}");
    }
}

#[tokio::test]
async fn tenants_are_listed_newest_first_and_pages_do_not_shift_while_tenants_arrive() {
    let world = World::new().await;
    for i in 0..5 {
        world.put(&format!("/v1/tenants/t{i}"), json!({})).key(OPERATOR).send().await.must(201);
    }
    let mut seen = Vec::new();
    let mut path = "/v1/tenants?limit=2".to_owned();
    loop {
        let page = world.get(&path).key(OPERATOR).send().await.must(200).body;
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| text(&item["tenant"])));
        world.put(&format!("/v1/tenants/late{}", seen.len()), json!({})).key(OPERATOR).send().await.must(201);
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/tenants?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, ["t4", "t3", "t2", "t1", "t0", "acme"]);
}

#[tokio::test]
async fn a_tenant_sees_itself_its_limits_and_what_it_has() {
    let world = World::new().await;
    world.device("d1").await;
    let account = world.get("/v1/account").key(&world.key).send().await.must(200).body;
    assert_eq!((&account["tenant"], &account["retention"]), (&json!("acme"), &json!("90d")));
    assert_eq!(account["usage"], json!({"apps": 1, "devices": 1, "keys": 1}));
    assert_eq!(account["limits"]["body_bytes"], 1_048_576);
    assert_eq!(account["limits"]["audience_ids"], 2_000);
}

#[tokio::test]
async fn a_tenant_changes_its_own_settings_and_nobody_elses() {
    let world = World::new().await;
    world.tenant("beta").await;
    let change = json!({"push_enabled": false, "default_timezone": "Asia/Tokyo", "retention": 86_400});
    let changed = world.patch("/v1/account", change).key(&world.key).send().await.must(200).body;
    assert_eq!((&changed["default_timezone"], &changed["retention"]), (&json!("Asia/Tokyo"), &json!("1d")));
    let beta = world.get("/v1/tenants/beta").key(OPERATOR).send().await.must(200).body;
    assert_eq!((&beta["push_enabled"], &beta["default_timezone"]), (&json!(true), &Value::Null));
    let name = world.patch("/v1/account", json!({"name": "x"})).key(&world.key).send().await;
    assert_eq!(name.must_be_problem(422, "unknown_field").pointers(), ["/name"]);
}
