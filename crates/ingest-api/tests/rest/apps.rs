//! `/v1/apps`.

use serde_json::{Value, json};

use crate::world::{World, text};

#[tokio::test]
async fn an_app_keeps_its_public_key_while_its_settings_are_replaced() {
    let world = World::new().await;
    let body = json!({"name": "Shop", "icon_url": "https://cdn.example/i.png", "identity": "optional",
                      "allowed_origins": ["https://shop.example"], "default_locale": "pl", "push_enabled": false});
    let put = world.put("/v1/apps/shop", body).key(&world.key).send().await.must(200).body;
    assert_eq!(text(&put["public_key"]), world.public_key);
    assert_eq!((&put["identity"], &put["push_enabled"]), (&json!("optional"), &json!(false)));
    assert_eq!(world.get("/v1/apps/shop").key(&world.key).send().await.must(200).body, put);
    let replaced = world.put("/v1/apps/shop", json!({})).key(&world.key).send().await.must(200).body;
    assert_eq!((&replaced["name"], &replaced["identity"]), (&Value::Null, &json!("required")));
    assert_eq!(text(&replaced["public_key"]), world.public_key);
}

#[tokio::test]
async fn apps_are_listed_page_by_page() {
    let world = World::new().await;
    world.app(&world.key, "news").await;
    let first = world.get("/v1/apps?limit=1").key(&world.key).send().await.must(200).body;
    assert_eq!(first["items"][0]["app"], "news");
    let path = format!("/v1/apps?limit=1&cursor={}", text(&first["next_cursor"]));
    let second = world.get(&path).key(&world.key).send().await.must(200).body;
    assert_eq!((&second["items"][0]["app"], &second["next_cursor"]), (&json!("shop"), &Value::Null));
}

#[tokio::test]
async fn a_deleted_app_is_gone_with_its_public_key_and_devices() {
    let world = World::new().await;
    let device = world.device("d1").await;
    world.get("/v1/apps/shop/client").key(&world.public_key).send().await.must(200);
    world.delete("/v1/apps/shop").key(&world.key).send().await.must(204);
    for key in [&world.public_key, &device] {
        world.get("/v1/apps/shop/client").key(key).send().await.must_be_problem(401, "unauthenticated");
    }
    world.get("/v1/apps/shop").key(&world.key).send().await.must_be_problem(404, "not_found");
    world.delete("/v1/apps/shop").key(&world.key).send().await.must_be_problem(404, "not_found");
    assert_eq!(world.database.texts("SELECT count(*)::text FROM devices").await, ["0"]);
}

#[tokio::test]
async fn the_copies_of_an_app_read_what_they_need_to_know() {
    let world = World::new().await;
    let read = async || world.get("/v1/apps/shop/client").key(&world.public_key).send().await.must(200).body;
    let expected = json!({"app": "shop", "name": null, "icon_url": null, "vapid_public_key": null, "topics": [],
                          "locales": [], "identity": "required"});
    assert_eq!(read().await, expected);
    world.put("/v1/apps/shop", json!({"name": "Shop", "default_locale": "pl"})).key(&world.key).send().await.must(200);
    let webpush = json!({"subject": "https://shop.example"});
    let webpush = world.put("/v1/apps/shop/credentials/webpush", webpush).key(&world.key).send().await.must(201).body;
    let now = read().await;
    assert_eq!((&now["name"], &now["locales"]), (&json!("Shop"), &json!(["pl"])));
    assert_eq!(now["vapid_public_key"], webpush["public_key"]);
}

#[tokio::test]
async fn two_tenants_may_have_an_app_of_the_same_name() {
    let world = World::new().await;
    let other = world.tenant("beta").await;
    world.put("/v1/apps/shop", json!({"name": "Beta's"})).key(&other).send().await.must(201);
    world.delete("/v1/apps/shop").key(&other).send().await.must(204);
    world.get("/v1/apps/shop").key(&world.key).send().await.must(200);
}

#[tokio::test]
async fn a_web_page_may_call_from_the_apps_origins_only() {
    let world = World::new().await;
    let call = async |origin: &str| {
        world.get("/v1/apps/shop/client").key(&world.public_key).header("origin", origin).send().await
    };
    let any = call("https://anywhere.example").await.must(200);
    assert_eq!(any.header("access-control-allow-origin"), "https://anywhere.example");
    let only = json!({"allowed_origins": ["https://shop.example"]});
    world.put("/v1/apps/shop", only).key(&world.key).send().await.must(200);
    call("https://shop.example").await.must(200);
    let refused = call("https://evil.example").await.must_be_problem(403, "forbidden");
    assert_eq!(refused.header("access-control-allow-origin"), "https://evil.example", "the page may read why");
}

#[tokio::test]
async fn a_browser_that_asks_before_it_calls_is_told_what_apps_may_do() {
    let world = World::new().await;
    let ask = async |path: &str| {
        let call = world.call("OPTIONS", path).header("origin", "https://shop.example");
        call.header("access-control-request-method", "GET").send().await
    };
    let allowed = ask("/v1/apps/shop/client").await.must(204);
    assert_eq!(allowed.header("access-control-allow-methods"), "GET");
    assert!(allowed.header("access-control-allow-headers").contains("authorization"));
    let backend_only = ask("/v1/account").await.must_be_problem(405, "invalid_request");
    assert_eq!(backend_only.header("access-control-allow-origin"), "");
}
