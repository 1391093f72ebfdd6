//! The control interface of the provider simulators (its README documents it).

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::Http;

/// Where the simulators listen, as they report it at their start.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Urls {
    pub(crate) control: String,
    pub(crate) ledger: String,
    pub(crate) apns: String,
    pub(crate) apns_sandbox: String,
    pub(crate) fcm: String,
    pub(crate) fcm_token: String,
    pub(crate) webpush: String,
    pub(crate) sms: String,
}

/// One request as its provider saw it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Record {
    pub(crate) provider: String,
    pub(crate) token: String,
    pub(crate) at: Timestamp,
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) accepted: bool,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) body: Value,
    #[serde(default)]
    pub(crate) violations: Vec<String>,
}

impl Record {
    /// The reserved key `carillon` of the message, in whatever form the platform carries it.
    pub(crate) fn carillon(&self) -> Option<Value> {
        match self.provider.as_str() {
            "fcm" => {
                let message = &self.body["message"];
                let places = [&message["data"]["carillon"], &message["android"]["data"]["carillon"]];
                let text = places.into_iter().find_map(Value::as_str)?;
                serde_json::from_str(text).ok()
            }
            _ => self.body.get("carillon").cloned(),
        }
    }
}

/// A simulator that runs.
#[derive(Clone)]
pub(crate) struct Sim {
    http: Http,
    pub(crate) urls: Urls,
}

impl Sim {
    /// By the URLs it reported.
    pub(crate) fn new(urls: Urls) -> Self {
        Self { http: Http::new(&urls.control), urls }
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.http.json(Method::POST, path, Some(body)).await.context("the simulators")
    }

    /// The requests that answer a query of the ledger (`provider=apns&notification_id=...`), oldest first.
    pub(crate) async fn requests(&self, query: &str) -> Result<Vec<Record>> {
        Http::new(&self.urls.ledger).lines(&format!("/requests?{query}")).await
    }

    /// Every request of a notification.
    pub(crate) async fn of_notification(&self, id: &str) -> Result<Vec<Record>> {
        self.requests(&format!("notification_id={id}")).await
    }

    /// Counts by provider.
    pub(crate) async fn summary(&self) -> Result<Value> {
        self.http.json(Method::GET, "/summary", None).await
    }

    /// Makes an APNs token key; its private half, as a .p8 file has it.
    pub(crate) async fn apns_key(&self, team_id: &str, key_id: &str, bundle_id: &str) -> Result<String> {
        let key = json!({"team_id": team_id, "key_id": key_id, "bundle_ids": [bundle_id]});
        let answer = self.post("/apns/keys", &key).await?;
        answer["private_key"].as_str().map(str::to_owned).context("the simulators made no APNs key")
    }

    /// Makes a Firebase project; its service account.
    pub(crate) async fn fcm_project(&self, project_id: &str) -> Result<Value> {
        self.post("/fcm/projects", &json!({"project_id": project_id})).await
    }

    /// Makes Web Push subscriptions, restricted to an application server's key if there is one.
    pub(crate) async fn subscriptions(&self, count: usize, server_key: Option<&str>) -> Result<Vec<Value>> {
        let wanted = json!({"count": count, "application_server_key": server_key});
        let mut answer = self.post("/webpush/subscriptions", &wanted).await?;
        serde_json::from_value(answer["subscriptions"].take()).context("subscriptions")
    }

    /// Makes an account of the SMS gateway known.
    pub(crate) async fn sms_account(&self, token: &str) -> Result<()> {
        self.post("/sms/accounts", &json!({"token": token})).await.map(drop)
    }

    /// Sets scripts, one or many.
    pub(crate) async fn script(&self, scripts: &[Value]) -> Result<()> {
        self.post("/scripts", &json!(scripts)).await.map(drop)
    }

    /// Replaces a provider's conditions; an empty object is fine weather.
    pub(crate) async fn conditions(&self, provider: &str, conditions: &Value) -> Result<()> {
        let path = format!("/conditions/{provider}");
        self.http.json(Method::PUT, &path, Some(conditions)).await.context("the simulators").map(drop)
    }

    /// The delivery reports of text messages that are through.
    pub(crate) async fn sms_reports(&self) -> Result<Vec<Value>> {
        let mut answer = self.http.json(Method::GET, "/sms/reports", None).await?;
        serde_json::from_value(answer["reports"].take()).context("reports")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserved_key_is_found_in_every_platforms_form() {
        let record = |provider: &str, body: Value| -> Record {
            let line = json!({"provider": provider, "token": "t", "notification_id": null,
                              "at": "2026-01-01T00:00:00Z", "status": 200, "body": body});
            serde_json::from_value(line).unwrap()
        };
        let apns = record("apns", json!({"aps": {}, "carillon": {"r": "x"}}));
        let fcm = record("fcm", json!({"message": {"token": "t", "data": {"carillon": "{\"r\": \"x\"}"}}}));
        assert_eq!(apns.carillon().unwrap()["r"], "x");
        assert_eq!(fcm.carillon().unwrap()["r"], "x");
        assert_eq!(record("webpush", Value::Null).carillon(), None);
    }
}
