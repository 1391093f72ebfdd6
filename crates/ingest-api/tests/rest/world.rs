//! A running service with a tenant and an app.

use std::net::SocketAddr;
use std::ops::Deref;

use carillon_runtime::TestScope;
use ingest_api::Config;
use serde_json::{Value, json};

use crate::client::Client;
use crate::database::Database;

pub(crate) const OPERATOR: &str = "cak_the-operator-of-these-tests";
const SECRETS: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// A service in this process; ended when dropped.
pub(crate) struct Service {
    pub(crate) scope: TestScope,
    pub(crate) client: Client,
    pub(crate) grpc: SocketAddr,
}

impl Service {
    /// Starts one on this database, with further settings.
    pub(crate) async fn start(database_url: &str, more: &[(&str, &str)]) -> Self {
        let settings = [
            ("CARILLON_DATABASE__URL", database_url),
            ("CARILLON_DATABASE__CONNECTIONS", "4"),
            // No broker: what is tested here needs none.
            ("CARILLON_AMQP__URL", "amqp://x:x@127.0.0.1:1/x"),
            ("CARILLON_SECRETS__KEY", SECRETS),
            ("CARILLON_OPERATOR__KEY", OPERATOR),
            ("CARILLON_HTTP__LISTEN", "127.0.0.1:0"),
            ("CARILLON_GRPC__LISTEN", "127.0.0.1:0"),
            ("CARILLON_FCM__ALLOW_HOSTS", "127.0.0.1:9"),
        ];
        let settings: Vec<_> = settings.into_iter().chain(more.iter().copied()).collect();
        let config: Config = carillon_runtime::config::load(None, settings).unwrap();
        let scope = TestScope::new("ingest-api");
        let ports = ingest_api::start_on(config, scope.scope()).await.unwrap();
        Self { scope, client: Client::new(ports.http), grpc: ports.grpc }
    }
}

/// A service, its database, a tenant `acme` with a key that may do everything, and its app `shop`.
pub(crate) struct World {
    pub(crate) service: Service,
    pub(crate) key: String,
    pub(crate) public_key: String,
    pub(crate) database: Database,
}

impl Deref for World {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.service.client
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        let database = Database::new().await;
        let service = Service::start(&database.url, settings).await;
        let mut world = Self { service, key: String::new(), public_key: String::new(), database };
        world.key = world.tenant("acme").await;
        world.public_key = world.app(&world.key, "shop").await;
        world
    }

    /// A tenant with a key that may do everything.
    pub(crate) async fn tenant(&self, tenant: &str) -> String {
        self.put(&format!("/v1/tenants/{tenant}"), json!({})).key(OPERATOR).send().await.must(201);
        self.new_key(tenant, json!({"scopes": ["send", "devices", "read", "admin"]})).await.1
    }

    /// A key of a tenant: its id and itself.
    pub(crate) async fn new_key(&self, tenant: &str, body: Value) -> (String, String) {
        let made = self.post(&format!("/v1/tenants/{tenant}/keys"), body).key(OPERATOR).send().await.must(201);
        (text(&made.body["key"]), text(&made.body["secret"]))
    }

    /// An app; its public key.
    pub(crate) async fn app(&self, key: &str, app: &str) -> String {
        text(&self.put(&format!("/v1/apps/{app}"), json!({})).key(key).send().await.must(201).body["public_key"])
    }

    /// An installation of `acme`'s `shop` that is in the database already; its own key.
    pub(crate) async fn device(&self, device: &str) -> String {
        let key = carillon_vault::ApiKey::mint(carillon_vault::ApiKeyKind::Device).unwrap();
        let hash: String = key.hash().iter().map(|byte| format!("{byte:02x}")).collect();
        let sql = format!(
            "INSERT INTO devices (tenant_key, app_key, device, person, platform, os, token, token_hash, secret_hash)
             SELECT tenant_key, app_key, '{device}', 'd:{device}', 2, 2, 't', decode('{hash}', 'hex'), decode('{hash}', 'hex')
             FROM apps WHERE app = 'shop'"
        );
        self.database.execute(&sql).await;
        key.expose().to_owned()
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}")).to_owned()
}
