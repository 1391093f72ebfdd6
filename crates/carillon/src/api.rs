//! The public API, as a caller's backend uses it.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::Http;
use crate::waiting::until;

/// How long a caller puts up with 429 and 503 before it gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Items of one page.
const PAGE: usize = 500;

/// A caller with its key.
#[derive(Clone)]
pub(crate) struct Api {
    http: Http,
}

/// An accepted notification.
#[derive(Debug, Deserialize)]
pub(crate) struct Accepted {
    pub(crate) id: String,
    pub(crate) state: String,
}

impl fmt::Display for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.state)
    }
}

/// What became of one message, as `/deliveries` tells it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Delivery {
    pub(crate) channel: String,
    pub(crate) device: Option<String>,
    pub(crate) user_id: Option<String>,
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    pub(crate) history: Vec<Step>,
}

/// One piece of a delivery's history.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Step {
    pub(crate) status: String,
}

impl Delivery {
    /// Whether a provider or gateway took it.
    pub(crate) fn is_accepted(&self) -> bool {
        let accepted = ["sent", "undelivered", "delivered", "displayed", "dismissed", "opened", "clicked"];
        accepted.contains(&self.status.as_str())
    }
}

impl Api {
    /// Over a client that holds the key.
    pub(crate) fn new(http: Http) -> Self {
        Self { http }
    }

    /// A call that has to succeed; 429 and 503 are obeyed and tried again, as a good caller does. All calls of this crate are
    /// idempotent or carry a key.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Result<Value> {
        let began = Instant::now();
        loop {
            let answer = self.http.call(method.clone(), path, body, headers).await?;
            let passing = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&answer.status);
            if !passing || began.elapsed() > PATIENCE {
                return answer.success(&format!("{method} {path}"));
            }
            tokio::time::sleep(Duration::from_secs(answer.retry_after().unwrap_or(1).clamp(1, 5))).await;
        }
    }

    /// `GET`.
    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        self.call(Method::GET, path, None, &[]).await
    }

    /// `PUT`.
    pub(crate) async fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(Method::PUT, path, Some(body), &[]).await
    }

    /// `POST`.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(Method::POST, path, Some(body), &[]).await
    }

    /// Sends a notification under a key of its own, so that trying again is safe.
    pub(crate) async fn send(&self, body: &Value) -> Result<Accepted> {
        self.send_as(body, None).await
    }

    /// Sends a notification under the caller's idempotency key.
    pub(crate) async fn send_as(&self, body: &Value, key: Option<&str>) -> Result<Accepted> {
        let made = uuid::Uuid::new_v4().to_string();
        let headers = [("idempotency-key", key.unwrap_or(&made))];
        let answer = self.call(Method::POST, "/v1/notifications", Some(body), &headers).await?;
        serde_json::from_value(answer).context("the answer to a send")
    }

    /// A notification with its counts.
    pub(crate) async fn notification(&self, id: &str) -> Result<Value> {
        self.get(&format!("/v1/notifications/{id}")).await
    }

    /// Waits until nothing of it is queued and no cascade waits, or it is cancelled.
    pub(crate) async fn finished(&self, id: &str, limit: Duration) -> Result<Value> {
        self.watched(id, limit, |_| {}).await
    }

    /// As [`Api::finished`]; `seen` gets every state on the way.
    pub(crate) async fn watched(&self, id: &str, limit: Duration, mut seen: impl FnMut(&Value)) -> Result<Value> {
        let mut last = Value::Null;
        let what = format!("the end of notification {id}");
        let ended = until(&what, limit, async || {
            last = self.notification(id).await?;
            seen(&last);
            let ended = ["finished", "cancelled"].contains(&last["state"].as_str().unwrap_or_default());
            let open = last["counts"]["push"]["pending"].as_i64().unwrap_or(0)
                + last["counts"]["sms"]["pending"].as_i64().unwrap_or(0);
            Ok((ended && open == 0).then(|| last.clone()))
        });
        let ended = ended.await;
        ended.with_context(|| format!("its last state: {} {}", last["state"], last["counts"]))
    }

    /// Every delivery of a notification.
    pub(crate) async fn deliveries(&self, id: &str, filter: &str) -> Result<Vec<Delivery>> {
        let mut all = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/v1/notifications/{id}/deliveries?limit={PAGE}{filter}{cursor}");
            let mut page = self.get(&path).await?;
            let items: Vec<Delivery> = serde_json::from_value(page["items"].take()).context("deliveries")?;
            all.extend(items);
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(all),
            }
        }
    }

    /// One device.
    pub(crate) async fn device(&self, app: &str, device: &str) -> Result<Value> {
        self.get(&format!("/v1/apps/{app}/devices/{device}")).await
    }

    /// Reports receipts, at most 1,000 a call, and gives back what became of each.
    pub(crate) async fn receipts(&self, receipts: &[Value]) -> Result<Vec<Value>> {
        let mut results = Vec::with_capacity(receipts.len());
        for some in receipts.chunks(1_000) {
            let mut answer = self.post("/v1/receipts", &json!({"receipts": some})).await?;
            match answer["results"].take() {
                Value::Array(list) if list.len() == some.len() => results.extend(list),
                _ => bail!("POST /v1/receipts answered for another number of receipts"),
            }
        }
        Ok(results)
    }
}

/// The first text in an answer that begins with `prefix`, wherever it stands: a key that is shown once.
pub(crate) fn find_key(answer: &Value, prefix: &str) -> Option<String> {
    match answer {
        Value::String(text) => text.starts_with(prefix).then(|| text.clone()),
        Value::Array(list) => list.iter().find_map(|value| find_key(value, prefix)),
        Value::Object(fields) => fields.values().find_map(|value| find_key(value, prefix)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_wherever_it_stands() {
        let answer = json!({"id": "x", "made": {"key": "csk_abc"}});
        assert_eq!(find_key(&answer, "csk_").as_deref(), Some("csk_abc"));
        assert_eq!(find_key(&answer, "cpk_"), None);
    }

    #[test]
    fn what_a_provider_took_is_accepted_whatever_came_after() {
        let status = |status: &str| Delivery { status: status.to_owned(), ..Delivery::default() };
        assert!(status("sent").is_accepted() && status("clicked").is_accepted() && status("undelivered").is_accepted());
        assert!(!status("queued").is_accepted() && !status("failed").is_accepted());
    }
}
