//! A small HTTP client for JSON: the public API, admin ports, the simulators' control interface.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One call, from the connection to the last byte.
const DEADLINE: Duration = Duration::from_secs(30);
/// Most bytes of an answer: a ledger of some ten thousand requests with their bodies.
const MOST_BYTES: usize = 256 << 20;

/// Calls one server. Cheap to clone; clones share connections.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    bearer: Option<String>,
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Http {
    /// For `http://host:port`, without a key.
    pub(crate) fn new(base: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        Self { client, base: base.trim_end_matches('/').to_owned(), bearer: None }
    }

    /// The same server, with a key.
    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self { bearer: Some(format!("Bearer {key}")), ..self.clone() }
    }

    /// One call; every answer that arrives whole is `Ok`, whatever its status.
    ///
    /// # Errors
    /// No connection, an answer that broke off, or none within 30 s.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        extra: &[(&str, &str)],
    ) -> Result<Answer> {
        let what = format!("{method} {}{path}", self.base);
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(bearer) = &self.bearer {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        for (name, value) in extra {
            request = request.header(*name, *value);
        }
        let bytes = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        let request = request.body(Full::new(bytes)).context("a request that cannot be written")?;
        match tokio::time::timeout(DEADLINE, self.exchange(request)).await {
            Ok(answer) => answer.with_context(|| what),
            Err(_) => bail!("{what}: no answer within {} s", DEADLINE.as_secs()),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer> {
        let (parts, body) = self.client.request(request).await?.into_parts();
        let body = Limited::new(body, MOST_BYTES).collect().await.map_err(|error| anyhow!(error))?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    /// A call that has to succeed: 2xx, and JSON (or nothing) in the body.
    ///
    /// # Errors
    /// As [`Http::call`], and any other status, with the problem's own words.
    pub(crate) async fn json(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let what = format!("{method} {path}");
        self.call(method, path, body, &[]).await?.success(&what)
    }

    /// `GET` of lines of JSON.
    ///
    /// # Errors
    /// As [`Http::json`], and a line that is not a `T`.
    pub(crate) async fn lines<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>> {
        let answer = self.call(Method::GET, path, None, &[]).await?;
        if !answer.status.is_success() {
            bail!("GET {path}: {} {}", answer.status, answer.words());
        }
        let lines = answer.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).with_context(|| format!("a line of {path}"))).collect()
    }
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// A status other than 2xx, with the problem's own words; a body that is not JSON.
    pub(crate) fn success(&self, what: &str) -> Result<Value> {
        if !self.status.is_success() {
            bail!("{what}: {} {}", self.status, self.words());
        }
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body).with_context(|| format!("{what}: the answer is not JSON"))
    }

    /// What a refusal says: code, detail and every fault of a problem (RFC 9457), else the beginning of the body.
    pub(crate) fn words(&self) -> String {
        let Ok(problem) = serde_json::from_slice::<Value>(&self.body) else {
            return String::from_utf8_lossy(&self.body).chars().take(300).collect();
        };
        let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let mut words = format!("{} {}", text(&problem, "code"), text(&problem, "detail"));
        for fault in problem["errors"].as_array().into_iter().flatten().take(10) {
            words.push_str(&format!("; {} {}", text(fault, "pointer"), text(fault, "detail")));
        }
        if words.trim().is_empty() { problem.to_string().chars().take(300).collect() } else { words }
    }

    /// Seconds of `Retry-After`, if the server asks for patience.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        self.headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Answer {
        let body = Bytes::copy_from_slice(body.as_bytes());
        Answer { status: StatusCode::UNPROCESSABLE_ENTITY, headers: HeaderMap::new(), body }
    }

    #[test]
    fn a_refusal_is_told_in_the_problems_own_words() {
        let body = r#"{"code": "invalid_request", "detail": "Two faults.", "errors": [{"pointer": "/to", "detail": "is required"}]}"#;
        assert_eq!(answer(body).words(), "invalid_request Two faults.; /to is required");
        assert_eq!(answer("<html>").words(), "<html>");
        assert!(answer(body).success("POST /x").unwrap_err().to_string().contains("/to is required"));
    }
}
