//! Every endpoint that reads something, given what it must refuse. A new endpoint adds its rows here.

use serde_json::{Value, json};

use crate::credentials::{apns, fcm};
use crate::world::{OPERATOR, World};

/// Who calls.
#[derive(Clone, Copy)]
enum As {
    Operator,
    Server,
    App,
}

use As::{App, Operator, Server};

/// Caller, method, path, body, and the answer: status, code, pointers.
type Row = (As, &'static str, &'static str, Value, u16, &'static str, &'static [&'static str]);

fn long() -> String {
    "x".repeat(5_000)
}

fn rows() -> Vec<Row> {
    let invalid = "invalid_request";
    let unknown = "unknown_field";
    let settings = json!({"push_enabled": "yes", "default_timezone": "Mars/Base", "default_region": "pl",
                          "default_locale": "?", "retention": "500d", "nonsense": 1});
    let all_settings: &[&str] =
        &["/default_locale", "/default_region", "/default_timezone", "/nonsense", "/push_enabled", "/retention"];
    vec![
        // Tenants.
        (
            Operator,
            "GET",
            "/v1/tenants?limit=0&cursor=x&shape=round",
            json!(null),
            422,
            invalid,
            &["/query/cursor", "/query/limit", "/query/shape"],
        ),
        (Operator, "GET", "/v1/tenants?shape=round", json!(null), 422, unknown, &["/query/shape"]),
        (Operator, "GET", "/v1/tenants?limit=9999999999999", json!(null), 422, invalid, &["/query/limit"]),
        (Operator, "GET", "/v1/tenants?cursor=MCAA", json!(null), 422, invalid, &["/query/cursor"]),
        (Operator, "PUT", "/v1/tenants/Beta", json!({}), 422, invalid, &["/path/tenant"]),
        (Operator, "PUT", "/v1/tenants/be%20ta", json!({}), 422, invalid, &["/path/tenant"]),
        (Operator, "PUT", "/v1/tenants/%00", json!({}), 422, invalid, &["/path/tenant"]),
        (Operator, "PUT", "/v1/tenants/beta", settings.clone(), 422, invalid, all_settings),
        (Operator, "PUT", "/v1/tenants/beta", json!({"name": 1}), 422, invalid, &["/name"]),
        (Operator, "PUT", "/v1/tenants/beta", json!({"name": long()}), 422, invalid, &["/name"]),
        (Operator, "PUT", "/v1/tenants/beta", json!({"name": "a\u{0}b"}), 422, invalid, &["/name"]),
        (Operator, "PUT", "/v1/tenants/beta", json!({"tenant_key": 1}), 422, unknown, &["/tenant_key"]),
        (Operator, "PUT", "/v1/tenants/beta", json!([]), 422, invalid, &[""]),
        (Operator, "PATCH", "/v1/tenants/acme", settings.clone(), 422, invalid, all_settings),
        (Operator, "PATCH", "/v1/tenants/acme", json!({"retention": "36h"}), 422, invalid, &["/retention"]),
        (
            Operator,
            "PATCH",
            "/v1/tenants/acme",
            json!({"default_timezone": "a\u{0}"}),
            422,
            invalid,
            &["/default_timezone"],
        ),
        (Operator, "GET", "/v1/tenants/absent", json!(null), 404, "not_found", &[]),
        (Operator, "GET", "/v1/tenants/%F0%9F%94%94", json!(null), 404, "not_found", &[]),
        (Operator, "PATCH", "/v1/tenants/absent", json!({}), 404, "not_found", &[]),
        (Operator, "DELETE", "/v1/tenants/absent", json!(null), 404, "not_found", &[]),
        // Keys.
        (Operator, "POST", "/v1/tenants/acme/keys", json!({}), 422, invalid, &["/scopes"]),
        (Operator, "POST", "/v1/tenants/acme/keys", json!({"scopes": []}), 422, invalid, &["/scopes"]),
        (Operator, "POST", "/v1/tenants/acme/keys", json!({"scopes": "read"}), 422, invalid, &["/scopes"]),
        (
            Operator,
            "POST",
            "/v1/tenants/acme/keys",
            json!({"scopes": ["read", "root", 7, "read"]}),
            422,
            invalid,
            &["/scopes/1", "/scopes/2", "/scopes/3"],
        ),
        (Operator, "POST", "/v1/tenants/acme/keys", json!({"scopes": ["read"], "apps": []}), 422, invalid, &["/apps"]),
        (
            Operator,
            "POST",
            "/v1/tenants/acme/keys",
            json!({"scopes": ["read"], "apps": ["A", 1], "name": {}, "expires_at": "soon", "role": "x"}),
            422,
            invalid,
            &["/apps/0", "/apps/1", "/expires_at", "/name", "/role"],
        ),
        (
            Operator,
            "POST",
            "/v1/tenants/acme/keys",
            json!({"scopes": ["read"], "apps": vec!["a"; 101]}),
            422,
            invalid,
            &["/apps"],
        ),
        (Operator, "POST", "/v1/tenants/absent/keys", json!({"scopes": ["read"]}), 404, "not_found", &[]),
        (Operator, "GET", "/v1/tenants/acme/keys?limit=x", json!(null), 422, invalid, &["/query/limit"]),
        (Operator, "GET", "/v1/tenants/acme/keys?cursor=MSB4", json!(null), 422, invalid, &["/query/cursor"]),
        (Operator, "GET", "/v1/tenants/absent/keys", json!(null), 404, "not_found", &[]),
        (Operator, "POST", "/v1/tenants/acme/keys/not-an-id/rotate", json!({}), 404, "not_found", &[]),
        (
            Operator,
            "POST",
            "/v1/tenants/acme/keys/00000000-0000-7000-8000-000000000000/rotate",
            json!({}),
            404,
            "not_found",
            &[],
        ),
        (
            Operator,
            "POST",
            "/v1/tenants/acme/keys/00000000-0000-7000-8000-000000000000/rotate",
            json!({"overlap": "5w"}),
            422,
            invalid,
            &["/overlap"],
        ),
        (
            Operator,
            "POST",
            "/v1/tenants/acme/keys/00000000-0000-7000-8000-000000000000/rotate",
            json!({"overlap": -1, "x": 1}),
            422,
            invalid,
            &["/overlap", "/x"],
        ),
        (Operator, "DELETE", "/v1/tenants/acme/keys/not-an-id", json!(null), 404, "not_found", &[]),
        (
            Operator,
            "DELETE",
            "/v1/tenants/acme/keys/00000000-0000-7000-8000-000000000000",
            json!(null),
            404,
            "not_found",
            &[],
        ),
        // Users of the broker.
        (Operator, "PUT", "/v1/tenants/acme/amqp-users/u", json!({}), 422, invalid, &["/scopes"]),
        (
            Operator,
            "PUT",
            "/v1/tenants/acme/amqp-users/u",
            json!({"scopes": ["fly"], "apps": {}, "y": null}),
            422,
            invalid,
            &["/apps", "/scopes/0", "/y"],
        ),
        (
            Operator,
            "PUT",
            "/v1/tenants/acme/amqp-users/a%00b",
            json!({"scopes": ["send"]}),
            422,
            invalid,
            &["/path/user"],
        ),
        (Operator, "PUT", "/v1/tenants/absent/amqp-users/u", json!({"scopes": ["send"]}), 404, "not_found", &[]),
        (Operator, "DELETE", "/v1/tenants/acme/amqp-users/absent", json!(null), 404, "not_found", &[]),
        (Operator, "DELETE", "/v1/tenants/acme/amqp-users/a%00b", json!(null), 404, "not_found", &[]),
        // The account.
        (Server, "PATCH", "/v1/account", settings, 422, invalid, all_settings),
        (
            Server,
            "PATCH",
            "/v1/account",
            json!({"retention": 1.5, "push_enabled": 1}),
            422,
            invalid,
            &["/push_enabled", "/retention"],
        ),
        (Server, "PATCH", "/v1/account", json!("text"), 422, invalid, &[""]),
        // Apps.
        (Server, "GET", "/v1/apps?limit=501", json!(null), 422, invalid, &["/query/limit"]),
        (Server, "GET", "/v1/apps?limit=1&limit=2", json!(null), 422, invalid, &["/query/limit"]),
        (Server, "PUT", "/v1/apps/-x", json!({}), 422, invalid, &["/path/app"]),
        (Server, "PUT", "/v1/apps/a%00b", json!({}), 422, invalid, &["/path/app"]),
        (
            Server,
            "PUT",
            "/v1/apps/new",
            json!({"name": [], "icon_url": "http://x", "push_enabled": null, "identity": "maybe",
            "allowed_origins": ["https://ok.example", "https://x/y", 3], "default_locale": 5, "public_key": "cpk_mine"}),
            422,
            invalid,
            &[
                "/allowed_origins/1",
                "/allowed_origins/2",
                "/default_locale",
                "/icon_url",
                "/identity",
                "/name",
                "/public_key",
            ],
        ),
        (
            Server,
            "PUT",
            "/v1/apps/new",
            json!({"allowed_origins": vec!["https://a"; 51]}),
            422,
            invalid,
            &["/allowed_origins"],
        ),
        (
            Server,
            "PUT",
            "/v1/apps/new",
            json!({"icon_url": format!("https://a/{}", long())}),
            422,
            invalid,
            &["/icon_url"],
        ),
        (Server, "PUT", "/v1/apps/new", json!({"a/b~c": 1}), 422, unknown, &["/a~1b~0c"]),
        (Server, "GET", "/v1/apps/absent", json!(null), 404, "not_found", &[]),
        (Server, "GET", "/v1/apps/theirs", json!(null), 404, "not_found", &[]),
        (Server, "DELETE", "/v1/apps/theirs", json!(null), 404, "not_found", &[]),
        (Server, "GET", "/v1/apps/shop/client", json!(null), 403, "forbidden", &[]),
        (App, "GET", "/v1/apps/theirs/client", json!(null), 403, "forbidden", &[]),
        // What stands beside the body is not read, and must not pass for read.
        (Server, "POST", "/v1/notifications?dry_run=true", json!({}), 422, unknown, &["/query/dry_run"]),
        (Server, "PUT", "/v1/apps/shop?name=x", json!({}), 422, unknown, &["/query/name"]),
        (App, "PUT", "/v1/apps/shop", json!({}), 403, "forbidden", &[]),
        // Credentials; broken contents are in `credentials.rs`.
        (Server, "PUT", "/v1/apps/shop/credentials/pigeon", json!({}), 404, "not_found", &[]),
        (Server, "GET", "/v1/apps/shop/credentials/pigeon", json!(null), 404, "not_found", &[]),
        (Server, "GET", "/v1/apps/shop/credentials/apns", json!(null), 404, "not_found", &[]),
        (Server, "DELETE", "/v1/apps/shop/credentials/apns", json!(null), 404, "not_found", &[]),
        (Server, "PUT", "/v1/apps/theirs/credentials/apns", apns(), 404, "not_found", &[]),
        (Server, "PUT", "/v1/apps/absent/credentials/fcm", fcm(), 404, "not_found", &[]),
        (Server, "PUT", "/v1/apps/shop/credentials/apns", json!({}), 422, invalid, &["/auth"]),
        (
            Server,
            "PUT",
            "/v1/apps/shop/credentials/apns",
            json!({"auth": "token"}),
            422,
            invalid,
            &["/bundle_id", "/key_id", "/private_key", "/team_id"],
        ),
        (Server, "PUT", "/v1/apps/shop/credentials/apns", json!({"auth": "magic"}), 422, invalid, &["/auth"]),
        (Server, "PUT", "/v1/apps/shop/credentials/fcm", json!({}), 422, invalid, &["/service_account"]),
        (
            Server,
            "PUT",
            "/v1/apps/shop/credentials/fcm",
            json!({"service_account": "text", "x": 1}),
            422,
            invalid,
            &["/service_account", "/x"],
        ),
        (
            Server,
            "PUT",
            "/v1/apps/shop/credentials/webpush",
            json!({"subject": 1, "public_key": [], "z": 0}),
            422,
            invalid,
            &["/public_key", "/subject", "/z"],
        ),
        (Server, "PUT", "/v1/apps/shop/credentials/webpush", json!({}), 422, invalid, &["/subject"]),
    ]
}

#[tokio::test]
async fn bad_input_is_answered_with_every_place_that_is_wrong_and_never_with_a_failure() {
    let world = World::new().await;
    let other = world.tenant("beta2").await;
    world.app(&other, "theirs").await;
    for (who, method, path, body, status, code, pointers) in rows() {
        let key = match who {
            Operator => OPERATOR,
            Server => &world.key,
            App => &world.public_key,
        };
        let call = world.call(method, path).key(key);
        let call = if body.is_null() { call } else { call.json(body.clone()) };
        let shown = body.to_string();
        let answer = call.send().await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path} {shown}: {:#}", answer.body);
        let answer = answer.must_be_problem(status, code);
        assert_eq!(answer.pointers(), pointers, "{method} {path} {shown}: {:#}", answer.body);
    }
}

#[tokio::test]
async fn every_endpoint_that_reads_a_body_refuses_what_no_endpoint_can_read() {
    let world = World::new().await;
    let document = world.get("/openapi.json").send().await.must(200).body;
    let mut tried = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation.get("requestBody").is_none() {
                continue;
            }
            tried += 1;
            let needs = operation["x-carillon-needs"].as_str().unwrap();
            let key = if needs.contains("cak_") { OPERATOR } else { &world.key };
            let path = path.replace("{tenant}", "acme").replace("{app}", "shop").replace("{platform}", "apns");
            let path = path.replace("{key}", "00000000-0000-7000-8000-000000000000").replace("{user}", "u");
            let send = async |kind: &'static str, body: String| {
                let call = world.call(&method.to_uppercase(), &path).key(key).header("content-type", kind);
                call.bytes(body).send().await
            };
            let json = "application/json";
            let shown = format!("{method} {path}");
            let too_large = if path.ends_with(":batch") { 8 } else { 1 } * 1024 * 1024;
            for (kind, body, status) in [
                ("text/plain", "{}".to_owned(), 415),
                (json, "{".to_owned(), 400),
                (json, "{\"a\": 1, \"a\": 2}".to_owned(), 400),
                (json, "[".repeat(40), 400),
                (json, format!("\"{}\"", "x".repeat(too_large)), 413),
                (json, "null".to_owned(), 422),
                (json, "{\"no-field-of-any-resource\": 1}".to_owned(), 422),
            ] {
                let answer = send(kind, body).await;
                assert_eq!(answer.status.as_u16(), status, "{shown}: {:#}", answer.body);
            }
        }
    }
    assert!(tried >= 9, "only {tried} endpoints read a body");
}
