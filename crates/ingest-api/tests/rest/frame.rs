//! What surrounds every request.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::Client;
use crate::world::{OPERATOR, Service, World};

pub(crate) const SOON: Duration = Duration::from_secs(5);
/// A port nobody listens on: a database that is away.
pub(crate) const NOWHERE: &str = "postgres://x:x@127.0.0.1:1/x";

#[tokio::test]
async fn every_answer_carries_a_request_id() {
    let world = World::new().await;
    let own = world.get("/v1/tenants").key(OPERATOR).header("x-request-id", "mine-1").send().await.must(200);
    assert_eq!(own.header("x-request-id"), "mine-1");
    let minted =
        world.get("/nowhere").header("x-request-id", "not mine\"").send().await.must_be_problem(404, "not_found");
    assert_eq!(minted.header("x-request-id").len(), 36);
}

#[tokio::test]
async fn an_unknown_path_and_an_unknown_method_are_problems() {
    let world = World::new().await;
    for path in ["/", "/v1", "/v2/apps", "/v1/apps/shop/", "/v1/apps/%ff", "/v1/apps/a%00b", "/v1/tenants/%2e%2e"] {
        world.get(path).key(&world.key).send().await.must(if path.contains("tenants") { 403 } else { 404 });
    }
    let method =
        world.call("POST", "/v1/apps/shop").key(&world.key).send().await.must_be_problem(405, "invalid_request");
    assert_eq!(method.header("allow"), "PUT, GET, DELETE");
    world.call("BREW", "/v1/account").key(&world.key).send().await.must_be_problem(405, "invalid_request");
}

#[tokio::test]
async fn a_head_request_is_answered_like_a_get_without_its_body() {
    let world = World::new().await;
    let head = world.call("HEAD", "/v1/account").key(&world.key).send().await.must(200);
    assert_eq!(head.body, Value::Null);
    world.call("HEAD", "/v1/account").send().await.must(401);
}

#[tokio::test]
async fn a_body_of_another_kind_is_415() {
    let world = World::new().await;
    let put = |name: &'static str, value: &'static str| {
        world.call("PUT", "/v1/apps/shop").key(&world.key).header(name, value).bytes("{}").send()
    };
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        put("content-type", kind).await.must_be_problem(415, "invalid_request");
    }
    put("content-type", "application/json; charset=utf-8").await.must(200);
    for encoding in ["gzip", "br", "identity, gzip"] {
        put("content-encoding", encoding).await.must_be_problem(415, "invalid_request");
    }
}

#[tokio::test]
async fn a_body_of_more_than_a_mebibyte_is_413_announced_or_not() {
    let world = World::new().await;
    let name = "x".repeat(1024 * 1024);
    let answer = world.put("/v1/apps/shop", json!({"name": name})).key(&world.key).send().await;
    answer.must_be_problem(413, "body_too_large");
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head = format!(
        "PUT /v1/apps/shop HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\nconnection: close\r\n\r\n",
        world.key
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..20 {
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let mut answer = [0; 64];
    let read = tokio::time::timeout(SOON, stream.read(&mut answer)).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&answer[..read]).starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn what_is_no_json_is_400_with_its_place() {
    let world = World::new().await;
    let deep = format!("{}{}", "[".repeat(33), "]".repeat(33));
    for (body, pointer) in [
        ("{\"a\": 1,}", ""),
        ("", ""),
        ("{\"name\": \"\\ud800\"}", ""),
        ("{\"name\": \"a\", \"name\": \"b\"}", "/name"),
        (deep.as_str(), &"/0".repeat(32)),
    ] {
        let call = world.call("PATCH", "/v1/account").key(&world.key).header("content-type", "application/json");
        let answer = call.bytes(body.to_owned()).send().await.must_be_problem(400, "invalid_request");
        assert_eq!(answer.pointers(), [pointer], "{body}");
    }
}

#[tokio::test]
async fn without_the_database_callers_are_told_soon_to_come_back() {
    let service = Service::start(NOWHERE, &[]).await;
    let began = std::time::Instant::now();
    let answer = service.client.get("/v1/tenants").key(OPERATOR).send().await.must_be_problem(503, "unavailable");
    assert_eq!(answer.header("retry-after"), "1");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let key = carillon_vault::ApiKey::mint(carillon_vault::ApiKeyKind::Server).unwrap();
    let unknown = service.client.get("/v1/account").key(key.expose()).send().await;
    unknown.must_be_problem(503, "unavailable");
    service.client.get("/v1/account").key("csk_malformed").send().await.must_be_problem(401, "unauthenticated");
    assert!(!service.scope.is_ready(), "not migrated, as far as it knows");
    service.scope.stop().await.unwrap();
}

#[tokio::test]
async fn it_is_ready_once_the_schema_has_been_seen_and_stops_in_order() {
    let World { service, database, .. } = World::new().await;
    let ready = async {
        while !service.scope.is_ready() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, ready).await.expect("ready");
    service.scope.stop().await.unwrap();
    let refused = TcpStream::connect(service.client.address).await;
    assert!(refused.is_err(), "the port is closed");
    drop(database);
}

#[tokio::test]
async fn requests_beyond_the_limit_are_turned_away_at_once() {
    let service = Service::start(NOWHERE, &[("CARILLON_HTTP__CONCURRENCY", "1")]).await;
    let mut slow = TcpStream::connect(service.client.address).await.unwrap();
    let head = format!(
        "PUT /v1/tenants/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {OPERATOR}\r\n\
         content-type: application/json\r\ncontent-length: 10\r\n\r\n{{"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let turned_away = async {
        loop {
            let answer = service.client.get("/openapi.json").send().await;
            if answer.status.as_u16() == 503 {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(SOON, turned_away).await.expect("503").must_be_problem(503, "unavailable");
    assert_eq!(answer.header("retry-after"), "1");
    drop(slow);
    let welcome_again = async { while service.client.get("/openapi.json").send().await.status.as_u16() != 200 {} };
    tokio::time::timeout(SOON, welcome_again).await.expect("the slow one is gone, and with it its place");
}

#[tokio::test]
async fn a_caller_that_dawdles_is_cut_off() {
    let settings = [("CARILLON_HTTP__HEADER_TIMEOUT", "100ms"), ("CARILLON_HTTP__BODY_TIMEOUT", "100ms")];
    let service = Service::start(NOWHERE, &settings).await;
    let mut silent = TcpStream::connect(service.client.address).await.unwrap();
    silent.write_all(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(SOON, silent.read_to_end(&mut rest)).await.expect("closed").unwrap();
    assert!(!String::from_utf8_lossy(&rest).contains(" 200 "));
    let mut slow = TcpStream::connect(service.client.address).await.unwrap();
    let head = format!(
        "PUT /v1/tenants/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {OPERATOR}\r\n\
         content-type: application/json\r\ncontent-length: 10\r\nconnection: close\r\n\r\n{{"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(SOON, slow.read_to_end(&mut answer)).await.expect("answered").unwrap();
    assert!(String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 408"));
}

#[tokio::test]
async fn a_refusal_before_the_body_leaves_the_connection_usable_or_says_that_it_ends() {
    let service = Service::start(NOWHERE, &[]).await;
    for (length, usable) in [(2_000, true), (900_000, true), (9_000_000, false)] {
        let mut connection = TcpStream::connect(service.client.address).await.unwrap();
        let head = format!(
            "PATCH /v1/account HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        if usable {
            // The refusal is made before the body is there.
            tokio::task::yield_now().await;
            connection.write_all(&vec![b' '; length]).await.unwrap();
        }
        let refused = read_head(&mut connection).await;
        assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
        assert_eq!(refused.contains("connection: close"), !usable, "{refused}");
        if usable {
            connection.write_all(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            let next = read_head(&mut connection).await;
            assert!(next.contains("HTTP/1.1 200"), "{next}");
        }
    }
}

/// Until a status line and its headers are there; what follows of a body is read along.
pub(crate) async fn read_head(connection: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut buffer = vec![0; 4_096];
    while !text.contains("\r\n\r\n") {
        let read = tokio::time::timeout(SOON, connection.read(&mut buffer)).await;
        let read = read.expect("an answer in time").expect("an open connection");
        assert_ne!(read, 0, "the connection ended after: {text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    text
}

#[tokio::test]
async fn both_versions_of_http_are_spoken() {
    let service = Service::start(NOWHERE, &[]).await;
    Client::http2(service.client.address).get("/openapi.json").send().await.must(200);
    service.client.get("/openapi.json").send().await.must(200);
}

#[tokio::test]
async fn the_openapi_document_says_who_may_call_and_what_refusals_look_like() {
    let service = Service::start(NOWHERE, &[("CARILLON_HTTP__PUBLIC_URL", "https://push.example")]).await;
    let document = service.client.get("/openapi.json").send().await.must(200).body;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert_eq!(document["servers"][0]["url"], "https://push.example");
    let put = &document["paths"]["/v1/apps/{app}"]["put"];
    assert!(put["x-carillon-needs"].as_str().unwrap().contains("`admin`"));
    assert_eq!(put["security"], json!([{"key": []}]));
    let schema = &put["responses"]["default"]["content"]["application/problem+json"]["schema"]["$ref"];
    assert_eq!(schema, "#/components/schemas/Problem");
    assert!(document["components"]["schemas"]["Problem"].is_object());
    assert_eq!(document["paths"]["/openapi.json"]["get"].get("security"), None);
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
    let mut names: Vec<_> = operations.clone().map(|operation| operation["operationId"].as_str().unwrap()).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all, "generators of clients make a function of each: {names:?}");
    for response in operations.flat_map(|operation| operation["responses"].as_object().unwrap().values()) {
        assert!(response["description"].is_string(), "OpenAPI wants words: {response}");
    }
}

#[tokio::test]
async fn durations_are_measured_by_route_and_never_by_path() {
    let world = World::new().await;
    world.get("/v1/apps/a-name-of-its-own").key(&world.key).send().await.must(404);
    let text = carillon_telemetry::exposition();
    let line = text.lines().find(|l| {
        l.starts_with("http_server_request_duration_seconds_count")
            && l.contains("route=\"/v1/apps/{app}\"")
            && l.contains("method=\"GET\"")
            && l.contains("status=\"4xx\"")
    });
    assert!(line.is_some_and(|line| !line.ends_with(" 0")), "{line:?}");
    assert!(!text.contains("a-name-of-its-own"));
}
