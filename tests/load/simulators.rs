//! The provider simulators as a process of their own, so that their CPU is nobody's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::http1;
use crate::processes::Process;

/// Simulators that keep counts and no bodies.
pub(crate) struct Simulators {
    pub(crate) ca: PathBuf,
    urls: Value,
    _process: Process,
}

/// One request.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Seen {
    pub(crate) token: String,
    pub(crate) notification_id: Option<String>,
    /// In whole milliseconds.
    pub(crate) at: jiff::Timestamp,
}

/// What a provider counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) requests: u64,
    pub(crate) accepted: u64,
    /// Different tokens with an accepted request.
    pub(crate) tokens: u64,
    pub(crate) duplicates: u64,
    /// Requests that were answered 429.
    pub(crate) throttled: u64,
}

impl Simulators {
    /// Starts them with so many streams a connection.
    pub(crate) async fn start(directory: &Path, streams: u32) -> Result<Self> {
        let (ca, report) = (directory.join("sim-ca.pem"), directory.join("sim.json"));
        let _ = std::fs::remove_file(&report);
        let words = [
            "--no-device-checks",
            "--keep-bytes",
            "0",
            "--apns-streams",
            &streams.to_string(),
            "--ca",
            &ca.display().to_string(),
            "--report",
            &report.display().to_string(),
        ];
        let process = Process::start(directory, "provider-sim", &words.map(str::to_owned), &Default::default())?;
        for _ in 0..1000 {
            if let Ok(text) = std::fs::read_to_string(&report) {
                return Ok(Self { ca, urls: serde_json::from_str(&text)?, _process: process });
            }
            process.check()?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::bail!("the simulators do not say where they are")
    }

    /// The URL of a listener, as the simulators name it.
    pub(crate) fn url(&self, name: &str) -> Result<&str> {
        self.urls[name].as_str().with_context(|| format!("the simulators have no {name}"))
    }

    async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        http1::call(self.url("control")?, method, path, None, body).await
    }

    /// Makes an APNs key known; its private half as PEM.
    pub(crate) async fn apns_key(&self, team: &str, key: &str, bundle: &str) -> Result<String> {
        let body = json!({"team_id": team, "key_id": key, "bundle_ids": [bundle]});
        let answer = self.call("POST", "/apns/keys", Some(&body)).await?;
        answer["private_key"].as_str().map(str::to_owned).context("no private key")
    }

    /// Makes a Firebase project; its service account.
    pub(crate) async fn fcm_project(&self, project: &str, messages_per_second: Option<u32>) -> Result<Value> {
        let body = json!({"project_id": project, "messages_per_second": messages_per_second});
        self.call("POST", "/fcm/projects", Some(&body)).await
    }

    /// Makes an account of the SMS gateway known.
    pub(crate) async fn sms_account(&self, token: &str) -> Result<()> {
        self.call("POST", "/sms/accounts", Some(&json!({"token": token}))).await.map(drop)
    }

    /// Browsers' subscriptions.
    pub(crate) async fn webpush_subscriptions(&self, count: usize) -> Result<Vec<Value>> {
        let answer = self.call("POST", "/webpush/subscriptions", Some(&json!({"count": count}))).await?;
        answer["subscriptions"].as_array().cloned().context("no subscriptions")
    }

    /// Connections to a provider that are open, and that were ever opened.
    pub(crate) async fn connections(&self, provider: &str) -> Result<(u64, u64)> {
        let answer = self.call("GET", &format!("/connections/{provider}"), None).await?;
        let number = |name: &str| answer[name].as_u64().context("no count of connections");
        Ok((number("open")?, number("opened")?))
    }

    /// Sets the weather at a provider.
    pub(crate) async fn conditions(&self, provider: &str, conditions: &Value) -> Result<()> {
        self.call("PUT", &format!("/conditions/{provider}"), Some(conditions)).await.map(drop)
    }

    /// Forgets all requests.
    pub(crate) async fn clear(&self) -> Result<()> {
        self.call("DELETE", "/requests", None).await.map(drop)
    }

    /// Every accepted request to a provider since the last clearing, as the simulator saw it.
    pub(crate) async fn accepted(&self, provider: &str) -> Result<Vec<Seen>> {
        let path = format!("/requests?provider={provider}&accepted=true");
        let text = http1::text(self.url("control")?, "GET", &path, None, None).await?;
        text.lines().map(|line| serde_json::from_str(line).map_err(Into::into)).collect()
    }

    /// What a provider counted since.
    pub(crate) async fn count(&self, provider: &str) -> Result<Count> {
        let summary = self.call("GET", "/summary", None).await?;
        let one = &summary["providers"][provider];
        ensure!(one.is_object(), "the simulators have no provider {provider}");
        let number = |name: &str| one[name].as_u64().unwrap_or(0);
        Ok(Count {
            requests: number("requests"),
            accepted: number("accepted"),
            tokens: number("accepted_tokens"),
            duplicates: number("duplicates"),
            throttled: one["by_status"]["429"].as_u64().unwrap_or(0),
        })
    }
}
