//! A service with a database of its own, and a caller.

use carillon_runtime::TestScope;
use carillon_store::{CascadeId, SmsReference};
use carillon_vault::{ApiKey, ApiKeyKind};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// The longest a test waits for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct World {
    pub(crate) http: SocketAddr,
    pub(crate) sql: Client,
    server: String,
    name: String,
    scope: TestScope,
}

/// An answer: status, body as text.
pub(crate) type Reply = (u16, String);

#[allow(clippy::disallowed_methods, reason = "tests are told their broker and database by the environment")]
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `make test`, which starts what is needed"))
}

#[allow(clippy::disallowed_methods, reason = "the connection of a test lives as long as its runtime")]
async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("PostgreSQL answers");
    tokio::spawn(connection);
    client
}

/// A service on this database.
pub(crate) async fn start(database_url: &str) -> (TestScope, SocketAddr) {
    let amqp_url = variable("CARILLON_AMQP__URL");
    let settings = [
        ("CARILLON_DATABASE__URL", database_url),
        ("CARILLON_AMQP__URL", &amqp_url),
        ("CARILLON_SECRETS__KEY", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
        ("CARILLON_HTTP__LISTEN", "127.0.0.1:0"),
        ("CARILLON_HTTP__PUBLIC_URL", "https://push.example/"),
        ("CARILLON_GRPC__LISTEN", "127.0.0.1:0"),
    ];
    let config = carillon_runtime::config::load(None, settings).unwrap_or_else(|faults| panic!("{faults}"));
    let scope = TestScope::new("ingest-api");
    let ports = ingest_api::start_on(config, scope.scope()).await.expect("the service starts");
    (scope, ports.http)
}

impl World {
    pub(crate) async fn new() -> Self {
        let server = variable("CARILLON_DATABASE__URL");
        let name = format!("test_sms_{}", Uuid::now_v7().simple());
        connect(&server).await.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
        let url = format!("{}/{name}", server.rsplit_once('/').expect("the URL ends with a database").0);
        let store = serde_json::json!({ "url": url });
        let store = carillon_store::Store::open(&serde_json::from_value(store).expect("settings"), "test");
        store.expect("a pool").migrate().await.expect("a schema");
        let (scope, http) = start(&url).await;
        Self { http, sql: connect(&url).await, server, name, scope }
    }

    pub(crate) async fn end(self) {
        self.scope.stop().await.expect("a clean drain");
        drop(self.sql);
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        connect(&self.server).await.batch_execute(&drop).await.expect("it goes");
    }

    /// A tenant with a key of these scopes; its number and the key.
    pub(crate) async fn tenant(&self, tenant: &str, scopes: &[&str]) -> (i32, String) {
        let sql = "INSERT INTO tenants (tenant) VALUES ($1) ON CONFLICT (tenant) DO UPDATE SET tenant = $1 RETURNING tenant_key";
        let tenant: i32 = self.sql.query_one(sql, &[&tenant]).await.expect("a tenant").get(0);
        let key = ApiKey::mint(ApiKeyKind::Server).expect("a key");
        let sql = "INSERT INTO api_keys (key_id, tenant_key, secret_hash, scopes) VALUES ($1, $2, $3, $4)";
        let hash = key.hash();
        self.sql.execute(sql, &[&Uuid::now_v7(), &tenant, &hash.as_slice(), &scopes]).await.expect("a key");
        (tenant, key.expose().to_owned())
    }

    /// A text message that was sent; its reference.
    pub(crate) async fn sent(&self, tenant: i32, person_number: i32) -> (Uuid, String) {
        let run = Uuid::now_v7();
        let sql = "
            INSERT INTO cascades (run_id, link, person_number, notification_id, tenant_key, app_key, person, unless, within_seconds,
                state, open_devices, released_at)
            VALUES ($1, 1, $2, $1, $3, 1, 'u:x', 4, 60, 3, 0, now())";
        self.sql.execute(sql, &[&run, &person_number, &tenant]).await.expect("a cascade");
        let id = CascadeId { run: carillon_domain::ids::RunId(run), link: 1, person_number };
        (run, SmsReference(id).to_text())
    }

    /// The evidence about a run's text messages.
    pub(crate) async fn bits(&self, run: Uuid) -> Option<i16> {
        let sql = "SELECT bits FROM deliveries WHERE run_id = $1 AND link = 1";
        self.sql.query_opt(sql, &[&run]).await.expect("deliveries").map(|row| row.get(0))
    }

    pub(crate) async fn call(&self, key: &str, method: &str, path: &str, body: Option<Value>) -> Reply {
        let json = body.map(|body| ("application/json", body.to_string()));
        call(self.http, Some(key), method, path, json).await
    }

    /// As [`World::call`], with the status expected and the answer as JSON.
    pub(crate) async fn expect(&self, key: &str, method: &str, path: &str, body: Option<Value>, status: u16) -> Value {
        let (got, text) = self.call(key, method, path, body).await;
        assert_eq!(got, status, "{method} {path}: {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }
}

/// One request on a connection of its own.
pub(crate) async fn call(
    at: SocketAddr,
    key: Option<&str>,
    method: &str,
    path: &str,
    body: Option<(&str, String)>,
) -> Reply {
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n");
    if let Some(key) = key {
        request += &format!("authorization: Bearer {key}\r\n");
    }
    let (kind, body) = body.unwrap_or(("text/plain", String::new()));
    request += &format!("content-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let exchange = async {
        let mut stream = TcpStream::connect(at).await.expect("the port is open");
        stream.write_all(request.as_bytes()).await.expect("it takes the request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    };
    let answer = tokio::time::timeout(PATIENCE, exchange).await.expect("an answer in time");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}
