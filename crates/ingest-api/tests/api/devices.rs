//! Devices over REST.

use crate::http::{call, delete, get, patch, post, put};
use crate::world::Tenant;
use hyper::Method;
use serde_json::{Value, json};

fn apns(n: u32) -> Value {
    json!({"platform": "apns", "token": format!("{n:064x}")})
}

fn at(device: &str) -> String {
    format!("/v1/apps/shop/devices/{device}")
}

#[tokio::test]
async fn a_backend_registers_reads_changes_and_forgets_a_device() {
    let t = Tenant::new().await;
    let mut body = apns(1);
    body["user_id"] = json!("u-17");
    body["attributes"] = json!({"age": 31, "big": 12345678901234567890u64});
    let made = put(&t.key, &at("d1"), body.clone()).await.expect(201);
    assert_eq!((&made["device"], &made["app"], &made["state"]), (&json!("d1"), &json!("shop"), &json!("active")));
    assert_eq!(made["attributes"], json!({"age": 31, "big": 12345678901234567890u64}));
    assert!(made.get("device_secret").is_none(), "a backend needs no key of the installation's");
    put(&t.key, &at("d1"), body).await.expect(200);
    let changed = patch(&t.key, &at("d1"), json!({"name": "Ola's", "attributes": {"age": null}})).await.expect(200);
    assert_eq!((&changed["name"], &changed["attributes"]), (&json!("Ola's"), &json!({"big": 12345678901234567890u64})));
    assert_eq!(get(&t.key, &at("d1")).await.expect(200)["user_id"], "u-17");
    delete(&t.key, &at("d1")).await.expect(204);
    assert_eq!(get(&t.key, &at("d1")).await.code(), (404, "not_found"));
    assert_eq!(delete(&t.key, &at("d1")).await.code(), (404, "not_found"));
    assert_eq!(patch(&t.key, &at("d1"), json!({})).await.code(), (404, "not_found"));
}

#[tokio::test]
async fn null_clears_all_attributes_and_no_text_of_them_breaks_the_database() {
    let t = Tenant::new().await;
    let mut body = apns(1);
    body["attributes"] = json!({"age": 31, "city": "Lodz"});
    put(&t.key, &at("d1"), body).await.expect(201);
    let kept = patch(&t.key, &at("d1"), json!({"attributes": {}})).await.expect(200);
    assert_eq!(kept["attributes"], json!({"age": 31, "city": "Lodz"}), "an empty object changes nothing");
    let cleared = patch(&t.key, &at("d1"), json!({"attributes": null})).await.expect(200);
    assert_eq!(cleared["attributes"], json!({}));
    let refused = patch(&t.key, &at("d1"), json!({"attributes": {"city": "a\u{0}b"}})).await;
    assert_eq!((refused.code(), refused.pointers()), ((422, "invalid_request"), vec!["/attributes/city"]));
}

#[tokio::test]
async fn a_token_that_comes_alone_is_of_the_platform_that_the_device_has() {
    let t = Tenant::new().await;
    let made = put(&t.public_key, &at("d1"), apns(1)).await.expect(201);
    let secret = made["device_secret"].as_str().unwrap();
    let token = |n: u32| json!({"token": format!("{n:064X}")});
    let renewed = patch(secret, &at("d1"), token(2)).await.expect(200);
    assert_eq!((&renewed["platform"], &renewed["token"]), (&json!("apns"), &json!(format!("{:064x}", 2))));
    put(&t.key, &at("d1"), token(3)).await.expect(200);
    let unfit = patch(&t.key, &at("d1"), json!({"token": "zz"})).await;
    assert_eq!((unfit.code(), unfit.pointers()), ((422, "invalid_request"), vec!["/token"]));
    for key in [&t.key, &t.public_key] {
        let unknown = put(key, &at("d2"), token(4)).await;
        assert_eq!((unknown.code(), unknown.pointers()), ((422, "invalid_request"), vec!["/platform"]));
    }
    assert_eq!(patch(&t.key, &at("d2"), token(4)).await.code(), (404, "not_found"));
    let cleared = patch(&t.key, &at("d1"), json!({"token": null})).await;
    assert_eq!((cleared.code(), cleared.pointers()), ((422, "invalid_request"), vec!["/token"]));
}

#[tokio::test]
async fn filters_that_contradict_each_other_fit_nothing() {
    let t = Tenant::new().await;
    put(&t.key, &at("d1"), apns(1)).await.expect(201);
    for (query, found) in [("platform=apns&platform=apns", 1), ("platform=apns&platform=fcm", 0)] {
        let listed = get(&t.key, &format!("/v1/apps/shop/devices?{query}")).await.expect(200);
        assert_eq!(listed["items"].as_array().unwrap().len(), found, "{query}");
    }
    assert_eq!(get(&t.key, "/v1/apps/shop/devices?limit=1&limit=2").await.code(), (422, "invalid_request"));
}

#[tokio::test]
async fn a_copy_of_the_app_registers_itself_once_and_is_itself_from_then_on() {
    let t = Tenant::new().await;
    let made = put(&t.public_key, &at("d1"), apns(1)).await.expect(201);
    let secret = made["device_secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("cds_"));
    assert_eq!(put(&t.public_key, &at("d1"), apns(1)).await.code(), (409, "device_exists"));
    assert_eq!(get(&t.public_key, &at("d1")).await.code(), (403, "forbidden"));
    let own = put(&secret, &at("d1"), json!({"platform": "apns", "token": format!("{:064x}", 2)})).await.expect(200);
    assert!(own.get("device_secret").is_none(), "shown once");
    assert_eq!(patch(&secret, &at("d1"), json!({"locale": "pl-PL"})).await.expect(200)["locale"], "pl-PL");
    assert_eq!(get(&secret, &at("d1")).await.expect(200)["state"], "active");
    put(&t.key, &at("d2"), apns(7)).await.expect(201);
    for (method, path, body) in [
        (Method::GET, at("d2"), None),
        (Method::PUT, at("d2"), Some(apns(3))),
        (Method::PATCH, at("nobody"), Some(json!({}))),
        (Method::DELETE, at("d1"), None),
        (Method::GET, "/v1/apps/shop/devices".into(), None),
        (Method::POST, "/v1/notifications".into(), Some(json!({}))),
    ] {
        assert_eq!(call(&secret, method, &path, body).await.code(), (403, "forbidden"), "{path}");
    }
    // With another id on the same phone the token moves.
    let other = put(&t.public_key, &at("d3"), json!({"platform": "apns", "token": format!("{:064x}", 2)})).await;
    other.expect(201);
    let lost = get(&secret, &at("d1")).await.expect(200);
    assert_eq!((&lost["state"], &lost["reason"]), (&json!("invalid"), &json!("token_moved")));
}

#[tokio::test]
async fn an_app_cannot_say_whose_device_it_is_unless_the_app_is_for_development() {
    let t = Tenant::new().await;
    for (field, value) in [
        ("user_id", json!("u-1")),
        ("phone", json!("+48501502503")),
        ("primary", json!(true)),
        ("tags", json!(["vip"])),
        ("attributes", json!({"a": 1})),
        ("attributes", Value::Null),
    ] {
        let mut body = apns(1);
        body[field] = value;
        let refused = put(&t.public_key, &at("d1"), body).await;
        assert_eq!(refused.code(), (403, "identity_required"));
        assert_eq!(refused.pointers(), [format!("/{field}")]);
    }
    t.run("UPDATE apps SET identity = 'optional' WHERE tenant_key = $1").await;
    let mut body = apns(1);
    body["user_id"] = json!("u-1");
    crate::world::eventually("the change", async || {
        let answer = put(&t.public_key, &at("d1"), body.clone()).await;
        (answer.status.as_u16() == 201).then_some(())
    })
    .await;
}

#[tokio::test]
async fn logging_out_takes_the_person_off_and_leaves_the_installation() {
    let t = Tenant::new().await;
    let made = put(&t.public_key, &at("d1"), apns(1)).await.expect(201);
    let secret = made["device_secret"].as_str().unwrap();
    patch(&t.key, &at("d1"), json!({"user_id": "ola", "phone": "+48501502503"})).await.expect(200);
    let left = call(secret, Method::POST, &format!("{}/unlink", at("d1")), None).await.expect(200);
    assert_eq!((&left["user_id"], &left["phone"], &left["state"]), (&Value::Null, &Value::Null, &json!("active")));
    assert_eq!(left["token"], format!("{:064x}", 1));
    assert_eq!(get(secret, &at("d1")).await.expect(200)["user_id"], Value::Null, "its key is still its own");
    patch(&t.key, &at("d1"), json!({"user_id": "jan"})).await.expect(200);
    assert_eq!(post(&t.key, &format!("{}/unlink", at("d1")), json!({})).await.expect(200)["user_id"], Value::Null);
}

#[tokio::test]
async fn a_new_app_ignores_nothing_but_names_what_the_server_does_not_know() {
    let t = Tenant::new().await;
    let mut body = apns(1);
    body["colour"] = json!("blue");
    let made = put(&t.public_key, &at("d1"), body.clone()).await;
    assert_eq!(made.header("carillon-ignored-fields"), Some("/colour"));
    made.expect(201);
    let refused = put(&t.key, &at("d2"), body).await;
    assert_eq!((refused.code(), refused.pointers()), ((422, "unknown_field"), vec!["/colour"]));
}

#[tokio::test]
async fn switched_off_registrations_are_refused_and_devices_are_inactive_until_it_is_on_again() {
    let t = Tenant::new().await;
    put(&t.key, &at("d1"), apns(1)).await.expect(201);
    put(&t.key, &at("d2"), apns(2)).await.expect(201);
    patch(&t.key, &at("d2"), json!({"active": false})).await.expect(200);
    let stands = async |device: &str| {
        let shown = get(&t.key, &at(device)).await.expect(200);
        (shown["state"].clone(), shown["reason"].clone(), shown["active"].clone())
    };
    let listed = async |query: &str| {
        let page = get(&t.key, &format!("/v1/apps/shop/devices?{query}")).await.expect(200);
        page["items"].as_array().unwrap().iter().map(|d| d["device"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let usage = async || get(&t.key, "/v1/account").await.expect(200)["usage"]["devices"].clone();
    let off = (json!("inactive"), json!("push_disabled"), json!(false));
    let own = (json!("inactive"), json!("inactive"), json!(false));
    for (path, method) in [("/v1/account", Method::PATCH), ("/v1/apps/shop", Method::PUT)] {
        call(&t.key, method.clone(), path, Some(json!({"push_enabled": false}))).await.expect(200);
        assert_eq!((stands("d1").await, stands("d2").await), (off.clone(), own.clone()), "{path}");
        assert_eq!(
            (listed("state=active").await, listed("state=inactive").await),
            (vec![], vec!["d2".to_owned(), "d1".to_owned()])
        );
        assert_eq!(usage().await, 0);
        assert_eq!(put(&t.key, &at("d3"), apns(3)).await.code(), (409, "push_disabled"));
        assert_eq!(put(&t.public_key, &at("d3"), apns(3)).await.code(), (409, "push_disabled"));
        assert_eq!(
            patch(&t.key, &at("d1"), json!({"token": format!("{:064x}", 9)})).await.code(),
            (409, "push_disabled")
        );
        let body = json!({"app": "shop", "to": {"devices": ["d1"]}, "content": {"title": "x"}});
        assert_eq!(post(&t.key, "/v1/notifications", body).await.code(), (409, "push_disabled"));
        // What is no registration is kept: the person logs out, the app is told of another language.
        let changed = patch(&t.key, &at("d1"), json!({"locale": "pl"})).await.expect(200);
        assert_eq!((&changed["locale"], &changed["state"]), (&json!("pl"), &json!("inactive")));
        let left = post(&t.key, &format!("{}/unlink", at("d1")), json!({})).await.expect(200);
        assert_eq!((&left["state"], &left["reason"]), (&json!("inactive"), &json!("push_disabled")));
        call(&t.key, method, path, Some(json!({"push_enabled": true}))).await.expect(200);
        assert_eq!(
            (stands("d1").await, stands("d2").await),
            ((json!("active"), Value::Null, json!(true)), own.clone())
        );
        assert_eq!((listed("state=active").await, usage().await), (vec!["d1".to_owned()], json!(1)));
    }
    put(&t.key, &at("d3"), apns(3)).await.expect(201);
}

#[tokio::test]
async fn another_tenants_device_is_as_if_it_were_not() {
    let (mine, theirs) = (Tenant::new().await, Tenant::new().await);
    put(&mine.key, &at("d1"), apns(1)).await.expect(201);
    let mut absent = get(&theirs.key, &at("d2")).await;
    let mut foreign = get(&theirs.key, &at("d1")).await;
    for reply in [&mut absent, &mut foreign] {
        reply.body.as_object_mut().unwrap().remove("request_id");
    }
    assert_eq!((absent.status, absent.body), (foreign.status, foreign.body));
    put(&theirs.key, &at("d1"), apns(1)).await.expect(201);
    assert_eq!(get(&mine.key, &at("d1")).await.expect(200)["state"], "active", "tokens are one per app");
}

#[tokio::test]
async fn a_listing_is_filtered_and_paged() {
    let t = Tenant::new().await;
    for n in 0..5 {
        let mut body = apns(n);
        body["user_id"] = json!(if n % 2 == 0 { "even" } else { "odd" });
        body["tags"] = if n == 4 { json!(["a", "b"]) } else { json!(["a"]) };
        put(&t.key, &at(&format!("d{n}")), body).await.expect(201);
    }
    let names = |page: &Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|d| d["device"].as_str().unwrap().to_owned()).collect()
    };
    let first = get(&t.key, "/v1/apps/shop/devices?limit=3").await.expect(200);
    assert_eq!(names(&first), ["d4", "d3", "d2"]);
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = get(&t.key, &format!("/v1/apps/shop/devices?limit=3&cursor={cursor}")).await.expect(200);
    assert_eq!((names(&rest), &rest["next_cursor"]), (vec!["d1".to_owned(), "d0".to_owned()], &Value::Null));
    let filtered = async |query: &str| names(&get(&t.key, &format!("/v1/apps/shop/devices?{query}")).await.expect(200));
    assert_eq!(filtered("user_id=even").await, ["d4", "d2", "d0"]);
    assert_eq!(filtered("tag=a&tag=b").await, ["d4"]);
    assert!(filtered("platform=fcm").await.is_empty() && filtered("state=invalid").await.is_empty());
    put(&t.key, &at("d9"), apns(0)).await.expect(201);
    assert_eq!(filtered("state=invalid").await, ["d0"]);
    for (query, pointer) in [
        ("platform=hms", "/query/platform"),
        ("state=forgotten", "/query/state"),
        ("phone=501", "/query/phone"),
        ("colour=blue", "/query/colour"),
        ("limit=0", "/query/limit"),
    ] {
        let refused = get(&t.key, &format!("/v1/apps/shop/devices?{query}")).await;
        assert_eq!((refused.status.as_u16(), refused.pointers()), (422, vec![pointer]));
    }
}

#[tokio::test]
async fn bad_input_is_named_with_all_its_places() {
    let t = Tenant::new().await;
    let body = json!({"platform": "apns", "token": "zz", "user_id": "", "locale": "x_y", "tags": [1]});
    let refused = put(&t.key, &at("d1"), body).await;
    assert_eq!(refused.status.as_u16(), 422);
    for pointer in ["/token", "/user_id", "/locale", "/tags/0"] {
        assert!(refused.pointers().contains(&pointer), "{}", refused.body);
    }
    assert_eq!(put(&t.key, &at("d1"), json!({"name": "x"})).await.pointers(), ["/token"]);
    assert_eq!(put(&t.key, &at("a%2Fb"), apns(1)).await.pointers(), ["/path/device"]);
    assert_eq!(put(&t.key, "/v1/apps/none/devices/d1", apns(1)).await.code(), (404, "not_found"));
    let limited = t.server_key(&["devices"], Some(&["other"])).await;
    assert_eq!(put(&limited, &at("d1"), apns(1)).await.code(), (403, "forbidden"));
    let reader = t.server_key(&["read"], None).await;
    assert_eq!(put(&reader, &at("d1"), apns(1)).await.code(), (403, "forbidden"));
}
