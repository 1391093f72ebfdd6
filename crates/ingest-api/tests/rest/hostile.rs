//! What no table of bad input thinks of: every field, parameter and path of the OpenAPI document, given what does not belong there. A
//! fault is named with its place, nothing is half done, and nothing of it is a failure of ours.

use serde_json::{Map, Value, json};

use crate::client::Answer;
use crate::credentials::apns;
use crate::world::{OPERATOR, World};

/// An operation of the document.
struct Operation {
    method: String,
    path: String,
    key: String,
    parameters: Vec<Value>,
    body: Option<Value>,
}

async fn operations(world: &World) -> (Value, Vec<Operation>) {
    let document = world.get("/openapi.json").send().await.must(200).body;
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let needs = operation["x-carillon-needs"].as_str().unwrap_or_default();
            let key = match needs {
                needs if needs.contains("cak_") => OPERATOR.to_owned(),
                needs if needs.contains("csk_") => world.key.clone(),
                _ => world.public_key.clone(),
            };
            let body = operation["requestBody"]["content"]["application/json"]["schema"].clone();
            all.push(Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                key,
                parameters: operation["parameters"].as_array().cloned().unwrap_or_default(),
                body: (!body.is_null()).then_some(body),
            });
        }
    }
    (document, all)
}

/// What is there, by the names in the paths.
fn filled(path: &str) -> String {
    [
        ("{tenant}", "acme"),
        ("{app}", "shop"),
        ("{platform}", "apns"),
        ("{device}", "d1"),
        ("{gateway}", "main"),
        ("{sender}", "shop"),
        ("{user}", "u"),
        ("{key}", "00000000-0000-7000-8000-000000000000"),
        ("{id}", "00000000-0000-7000-8000-000000000000"),
        ("{secret}", "none"),
    ]
    .iter()
    .fold(path.to_owned(), |path, (name, value)| path.replace(name, value))
}

/// A body without a fault, so that the only fault is the one that is put in.
fn valid(path: &str) -> Value {
    match path {
        "/v1/notifications" => json!({"app": "shop", "to": {"users": ["u"]}, "content": {"title": "x"}}),
        "/v1/apps/{app}/devices/{device}" => json!({"platform": "apns", "token": "ab".repeat(32)}),
        "/v1/receipts" => json!({"receipts": [{"run": "x", "event": "opened"}]}),
        "/v1/sms/gateways/{gateway}" => json!({"kind": "smsapi", "token": "t"}),
        "/v1/sms/senders/{sender}" => json!({"gateways": ["main"]}),
        "/v1/tenants/{tenant}/keys" | "/v1/tenants/{tenant}/amqp-users/{user}" => json!({"scopes": ["read"]}),
        "/v1/apps/{app}/credentials/{platform}" => apns(),
        _ => json!({}),
    }
}

/// A schema behind references; of what may be null, the other one.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(name) = schema["$ref"].as_str() {
        return resolved(document, document.pointer(&name[1..]).expect("a schema"));
    }
    let choices = ["oneOf", "anyOf", "allOf"].iter().find_map(|kind| schema[*kind].as_array());
    match choices.and_then(|choices| choices.iter().find(|choice| choice["type"] != "null")) {
        Some(choice) => resolved(document, choice),
        None => schema,
    }
}

/// Every field of a schema with its place, lists by their first item, and what it is.
fn fields(document: &Value, schema: &Value, at: &str, depth: usize, all: &mut Vec<(String, Value)>) {
    let schema = resolved(document, schema);
    if depth > 6 {
        return;
    }
    for (name, field) in schema["properties"].as_object().unwrap_or(&Map::new()) {
        let at = format!("{at}/{name}");
        let field = resolved(document, field);
        all.push((at.clone(), field["type"].clone()));
        fields(document, field, &at, depth + 1, all);
        if !field["items"].is_null() {
            fields(document, &field["items"], &format!("{at}/0"), depth + 1, all);
        }
    }
}

fn allows(kind: &Value, name: &str) -> bool {
    kind.is_null() || kind == name || kind.as_array().is_some_and(|kinds| kinds.iter().any(|one| one == name))
}

/// Puts a value at a place, with objects and lists made on the way.
fn put_at(body: &mut Value, place: &str, value: Value) {
    let mut here = body;
    for part in place[1..].split('/') {
        if part == "0" {
            if !here.is_array() {
                *here = json!([]);
            }
            let list = here.as_array_mut().unwrap();
            if list.is_empty() {
                list.push(Value::Null);
            }
            here = &mut list[0];
        } else {
            if !here.is_object() {
                *here = json!({});
            }
            here = here.as_object_mut().unwrap().entry(part).or_insert(Value::Null);
        }
    }
    *here = value;
}

#[track_caller]
fn check(answer: &Answer, what: &str) {
    assert!(answer.status.as_u16() < 500, "{what}: {} {:#}", answer.status, answer.body);
    if answer.status.as_u16() < 400 {
        return;
    }
    assert_eq!(answer.header("content-type"), "application/problem+json", "{what}");
    assert!(answer.body["code"].is_string() && answer.body["request_id"].is_string(), "{what}: {:#}", answer.body);
    if answer.status.as_u16() == 422 {
        let errors = answer.body["errors"].as_array().unwrap_or_else(|| panic!("{what}: {:#}", answer.body));
        let said = |error: &Value| error["pointer"].is_string() && !error["detail"].as_str().unwrap_or("").is_empty();
        assert!(!errors.is_empty() && errors.iter().all(said), "{what}: {:#}", answer.body);
    }
}

#[tokio::test]
async fn every_field_of_every_body_given_another_type_is_named_and_nothing_is_done() {
    let world = World::new().await;
    let (document, operations) = operations(&world).await;
    let (mut tried, mut accepted) = (0, Vec::new());
    for operation in &operations {
        let Some(schema) = &operation.body else { continue };
        let mut places = Vec::new();
        fields(&document, schema, "", 0, &mut places);
        let batch = operation.path.ends_with(":batch");
        for (place, kind) in places {
            // A duration is a text or whole seconds; data and overrides are the caller's own.
            let name = place.rsplit('/').next().unwrap_or_default();
            let seconds = ["ttl", "within", "retention", "overlap"].contains(&name);
            for (wrong, of) in [
                (json!({"a": 1}), "object"),
                (json!([[]]), "array"),
                (json!(true), "boolean"),
                (json!(-7.5), "number"),
                (json!("a\u{0}b"), "nothing at all"),
            ] {
                if allows(&kind, of) || (of == "number" && (allows(&kind, "integer") && !allows(&kind, "string"))) {
                    continue;
                }
                let mut body = valid(&operation.path);
                put_at(&mut body, &place, wrong.clone());
                let what = format!("{} {} {place} = {wrong}", operation.method, operation.path);
                let call = world.call(&operation.method, &filled(&operation.path)).key(&operation.key).json(body);
                let answer = call.send().await;
                check(&answer, &what);
                tried += 1;
                // Each item of a batch has its own answer; what stands in a path is looked up first where that costs nothing.
                if batch || [401, 403, 404].contains(&answer.status.as_u16()) || seconds && of == "number" {
                    continue;
                }
                if answer.status.as_u16() < 400 {
                    accepted.push(what);
                    continue;
                }
                let touches = |pointer: &&str| place.starts_with(*pointer) || pointer.starts_with(&place);
                assert!(answer.pointers().iter().any(touches), "{what}: {:#}", answer.body);
            }
        }
    }
    assert_eq!(accepted, Vec::<String>::new(), "taken for something");
    assert!(tried > 300, "only {tried} were tried");
    for table in ["notifications", "devices", "sms_gateways", "sms_senders", "credentials", "amqp_users"] {
        let left = world.database.texts(&format!("SELECT count(*)::text FROM {table}")).await;
        assert_eq!(left, ["0"], "a refused request left something in {table}");
    }
}

#[tokio::test]
async fn every_path_and_parameter_given_anything_is_answered() {
    let world = World::new().await;
    let other = world.tenant("other").await;
    world.app(&other, "theirs").await;
    let (_, operations) = operations(&world).await;
    let long = "a".repeat(4_000);
    let strange = ["%00", "..%2F..%2Fetc", "%F0%9F%94%94", "a%20b", "'%22%3B--", "-1", "theirs", "%ff", &long];
    for operation in &operations {
        let names = operation.path.split('/').filter(|part| part.starts_with('{'));
        let body = operation.body.as_ref().map(|_| valid(&operation.path));
        let call = |path: &str| {
            let call = world.call(&operation.method, path).key(&operation.key);
            body.clone().map_or(call, |body| world.call(&operation.method, path).key(&operation.key).json(body))
        };
        for name in names {
            // A suffix belongs to the route, not to the name.
            let name = format!("{}}}", name.split('}').next().unwrap_or_default());
            for value in strange {
                // A platform or a secret that is none is like any other; a tenant's operator makes what is missing.
                let path = filled(&operation.path.replace(&name, value));
                let answer = call(&path).send().await;
                check(&answer, &format!("{} {path}", operation.method));
            }
        }
        for parameter in operation.parameters.iter().filter(|parameter| parameter["in"] == "query") {
            for value in strange {
                let path = format!("{}?{}={value}", filled(&operation.path), parameter["name"].as_str().unwrap());
                check(&call(&path).send().await, &format!("{} {path}", operation.method));
            }
        }
        if operation.path.starts_with("/v1/") && !operation.path.contains("callbacks") {
            let path = format!("{}?nobody_knows_this=1", filled(&operation.path));
            let answer = call(&path).send().await;
            check(&answer, &path);
            // An app may be newer than the server: it is told what was left out.
            let noted = answer.header("carillon-ignored-fields") == "/query/nobody_knows_this";
            let refused = [422, 403, 404].contains(&answer.status.as_u16());
            assert!(refused || noted, "{} {path}: {}", operation.method, answer.status);
        }
    }
}
