//! A whole platform, one replica of each service, made ready through its public API.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::database::Database;
use crate::fixture::{APP, BUNDLE, INTERNAL, MASTER, PROJECT, TEAM, TENANT};
use crate::processes::{Process, Settings};
use crate::queues::{self, Bare};
use crate::simulators::Simulators;
use crate::stack::Stack;
use crate::{cpu, http1};

const OPERATOR: &str = "cak_0123456789abcdefghijklmnopqrstuvwxyz";
const KEY_ID: &str = "BENCHKEY01";

/// Which services run, the collector before those who ask it.
pub(crate) const ALL: &[&str] = &["status-collector", "segmenter", "dispatcher-apns", "dispatcher-fcm", "ingest-api"];

/// A platform with one tenant and one app.
pub(crate) struct Platform {
    pub(crate) simulators: Simulators,
    pub(crate) database: Database,
    pub(crate) http: String,
    pub(crate) key: String,
    pub(crate) services: Vec<(&'static str, Process)>,
    /// As Google hands it out.
    pub(crate) service_account: Value,
    broker_pid: u32,
    postgres_pid: u32,
}

/// CPU of everything at one moment.
pub(crate) struct Spent {
    pub(crate) services: Vec<(&'static str, Duration)>,
    pub(crate) postgres: Duration,
    pub(crate) broker: Duration,
    pub(crate) at: Instant,
}

impl Platform {
    pub(crate) async fn start(stack: &Stack, name: &str, services: &[&'static str], devices: usize) -> Result<Self> {
        let simulators = Simulators::start(&stack.directory, 1000).await?;
        let database = Database::empty(stack, name).await?;
        drop(queues::broker(&stack.amqp).await?);
        let bare = Bare::open(&stack.amqp).await?;
        for queue in queues::ALL {
            bare.purge(queue).await?;
        }
        let authority = |url: &str| url.split('/').nth(2).unwrap_or_default().to_owned();
        let mut settings: Settings = [
            ("AMQP__URL", stack.amqp.clone()),
            ("DATABASE__URL", database.url.clone()),
            ("SECRETS__KEY", MASTER.into()),
            ("OPERATOR__KEY", OPERATOR.into()),
            ("INTERNAL__TOKEN", INTERNAL.into()),
            ("TLS__EXTRA_CA", simulators.ca.display().to_string()),
            ("APNS__PRODUCTION_URL", simulators.url("apns")?.to_owned()),
            ("APNS__SANDBOX_URL", simulators.url("apns_sandbox")?.to_owned()),
            ("FCM__URL", simulators.url("fcm")?.to_owned()),
            ("FCM__ALLOW_HOSTS", authority(simulators.url("fcm_token")?)),
            // The bench asks for more than Google lets one project send.
            ("FCM__MESSAGES_PER_MINUTE", "100000000".into()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        let (mut running, mut http) = (Vec::new(), String::new());
        for service in services {
            let process = Process::service(&stack.directory, service, &settings).await?;
            match *service {
                "status-collector" => {
                    settings.insert("LEDGER__URL".into(), format!("http://{}", process.said("address").await?));
                }
                "ingest-api" => http = format!("http://{}", process.said("http.address").await?),
                _ => {}
            }
            running.push((*service, process));
        }
        let mut platform = Self {
            simulators,
            database,
            http,
            key: String::new(),
            services: running,
            service_account: Value::Null,
            broker_pid: stack.broker_pid,
            postgres_pid: stack.postgres_pid,
        };
        platform.onboard().await?;
        platform.database.devices(devices).await?;
        Ok(platform)
    }

    async fn onboard(&mut self) -> Result<()> {
        let operator = |method: &'static str, path: String, body: Value| {
            let base = self.http.clone();
            async move { http1::call(&base, method, &path, Some(OPERATOR), Some(&body)).await }
        };
        operator("PUT", format!("/v1/tenants/{TENANT}"), json!({})).await?;
        let key = json!({"name": "bench", "scopes": ["send", "devices", "read", "admin"]});
        let made = operator("POST", format!("/v1/tenants/{TENANT}/keys"), key).await?;
        let text = made.to_string();
        let found = text.split('"').find(|word| word.starts_with("csk_")).context("no key in the answer")?;
        self.key = found.to_owned();
        self.call("PUT", &format!("/v1/apps/{APP}"), Some(&json!({"name": APP}))).await?;
        let private_key = self.simulators.apns_key(TEAM, KEY_ID, BUNDLE).await?;
        let apns = json!({"auth": "token", "key_id": KEY_ID, "team_id": TEAM, "bundle_id": BUNDLE, "private_key": private_key});
        self.call("PUT", &format!("/v1/apps/{APP}/credentials/apns"), Some(&apns)).await?;
        self.service_account = self.simulators.fcm_project(PROJECT, None).await?;
        let fcm = json!({"service_account": self.service_account});
        self.call("PUT", &format!("/v1/apps/{APP}/credentials/fcm"), Some(&fcm)).await?;
        self.database.read_keys().await
    }

    /// A call of the tenant's backend.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        http1::call(&self.http, method, path, Some(&self.key), body).await
    }

    pub(crate) fn spent(&self) -> Result<Spent> {
        let mut services = Vec::new();
        for (name, process) in &self.services {
            process.check()?;
            services.push((*name, cpu::of(process.pid)?));
        }
        Ok(Spent {
            services,
            postgres: cpu::of_family(self.postgres_pid)?,
            broker: cpu::of(self.broker_pid)?,
            at: Instant::now(),
        })
    }

    /// Memory of each service, now and at its peak, in MiB.
    pub(crate) fn memory(&self) -> Result<Value> {
        let mut all = serde_json::Map::new();
        for (name, process) in &self.services {
            let (now, peak) = cpu::memory(process.pid)?;
            all.insert((*name).to_owned(), json!({"now": now >> 20, "peak": peak >> 20}));
        }
        Ok(Value::Object(all))
    }

    /// Waits until a notification is finished; its counts, as its caller reads them.
    pub(crate) async fn finished(&self, id: &str, limit: Duration) -> Result<Value> {
        let began = Instant::now();
        loop {
            let seen = self.call("GET", &format!("/v1/notifications/{id}"), None).await?;
            if seen["state"] == "finished" {
                return Ok(seen["counts"]["push"].clone());
            }
            ensure!(began.elapsed() < limit, "not finished: {}", seen["counts"]["push"]);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Spent {
    /// What was spent since then, by service.
    pub(crate) fn since(&self, earlier: &Self) -> Vec<(&'static str, Duration)> {
        let pairs = self.services.iter().zip(&earlier.services);
        pairs.map(|((name, now), (_, then))| (*name, now.saturating_sub(*then))).collect()
    }
}
