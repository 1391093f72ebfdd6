//! Delivery reports: `GET notify_url?MsgId=...`, tried again until the answer's body is `OK`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::Config;
use crate::listener::Wire;
use crate::reply::{Outcome, Report};
use crate::tasks::Tasks;

/// One try of a callback.
const DEADLINE: Duration = Duration::from_secs(5);
/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read.
const MOST_ANSWER: usize = 1024;
/// Reports that are remembered for [`crate::Sim::sms_reports`].
const MOST_REMEMBERED: usize = 100_000;

/// A delivery report and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReportRecord {
    /// The message.
    pub msg_id: String,
    /// Its `idx`.
    pub idx: Option<String>,
    /// The recipient.
    pub to: String,
    /// What was reported.
    pub outcome: Outcome,
    /// Callbacks made.
    pub attempts: u32,
    /// The last one was answered `OK`.
    pub acknowledged: bool,
}

/// A message whose reports are due.
#[derive(Debug, Clone)]
pub(crate) struct Reported {
    pub(crate) msg_id: String,
    pub(crate) idx: Option<String>,
    pub(crate) to: String,
    pub(crate) from: String,
    pub(crate) username: String,
    pub(crate) points: String,
    pub(crate) notify_url: String,
}

/// Makes the callbacks.
pub(crate) struct Reports {
    tls: Arc<rustls::ClientConfig>,
    attempts: u32,
    pause: Duration,
    done: Mutex<VecDeque<ReportRecord>>,
}

/// SMSAPI's number and name of an outcome.
fn status(outcome: Outcome) -> (u16, &'static str) {
    match outcome {
        Outcome::NotFound => (401, "NOT_FOUND"),
        Outcome::Expired => (402, "EXPIRED"),
        Outcome::Sent => (403, "SENT"),
        Outcome::Delivered => (404, "DELIVERED"),
        Outcome::Undelivered => (405, "UNDELIVERED"),
        Outcome::Failed => (406, "FAILED"),
        Outcome::Rejected => (407, "REJECTED"),
        Outcome::Unknown => (408, "UNKNOWN"),
    }
}

impl Reports {
    pub(crate) fn new(config: &Config, tls: Arc<rustls::ClientConfig>) -> Self {
        Self {
            tls,
            attempts: config.report_attempts.max(1),
            pause: Duration::from_millis(config.report_retry_ms),
            done: Mutex::default(),
        }
    }

    /// What became of the reports that are through, oldest first.
    pub(crate) fn done(&self) -> Vec<ReportRecord> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Makes a message's reports one after the other.
    pub(crate) fn follow(self: &Arc<Self>, tasks: &Tasks, message: Reported, reports: Vec<Report>, now: i64) {
        let this = Arc::clone(self);
        tasks.spawn(async move {
            for report in reports {
                tokio::time::sleep(Duration::from_millis(report.after_ms)).await;
                this.make(&message, report.outcome, now).await;
            }
        });
    }

    async fn make(&self, message: &Reported, outcome: Outcome, now: i64) {
        let (mut attempts, mut acknowledged, mut pause) = (0, false, self.pause);
        while attempts < self.attempts && !acknowledged {
            if attempts > 0 {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            attempts += 1;
            let call = self.call(message, outcome, now);
            acknowledged =
                matches!(tokio::time::timeout(DEADLINE, call).await, Ok(Some(body)) if body.trim_ascii() == b"OK");
        }
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if done.len() >= MOST_REMEMBERED {
            done.pop_front();
        }
        let Reported { msg_id, idx, to, .. } = message.clone();
        done.push_back(ReportRecord { msg_id, idx, to, outcome, attempts, acknowledged });
    }

    async fn call(&self, message: &Reported, outcome: Outcome, now: i64) -> Option<Bytes> {
        let uri: Uri = message.notify_url.parse().ok()?;
        let authority = uri.authority()?.clone();
        let secure = uri.scheme_str() == Some("https");
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = TcpStream::connect((authority.host().trim_matches(['[', ']']), port)).await.ok()?;
        let request = Request::get(target(&uri, message, outcome, now))
            .header(HOST, HeaderValue::from_str(authority.as_str()).ok()?)
            .header("user-agent", "provider-sim")
            .body(Empty::<Bytes>::new())
            .ok()?;
        if !secure {
            return fetch(stream, request).await;
        }
        let name = ServerName::try_from(authority.host().to_owned()).ok()?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await.ok()?;
        fetch(stream, request).await
    }
}

fn target(uri: &Uri, message: &Reported, outcome: Outcome, now: i64) -> String {
    let (number, name) = status(outcome);
    let mut query = form_urlencoded::Serializer::new(uri.query().unwrap_or_default().to_owned());
    query.append_pair("MsgId", &message.msg_id);
    query.append_pair("status", &number.to_string());
    query.append_pair("status_name", name);
    query.append_pair("idx", message.idx.as_deref().unwrap_or_default());
    query.append_pair("donedate", &now.to_string());
    query.append_pair("username", &message.username);
    query.append_pair("points", &message.points);
    query.append_pair("from", &message.from);
    query.append_pair("to", &message.to);
    format!("{}?{}", uri.path(), query.finish())
}

async fn fetch<W: Wire>(wire: W, request: Request<Empty<Bytes>>) -> Option<Bytes> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(wire)).await.ok()?;
    let exchange = async move {
        let response = sender.send_request(request).await.ok()?;
        let fine = response.status().is_success();
        let body = Limited::new(response.into_body(), MOST_ANSWER).collect().await.ok()?.to_bytes();
        fine.then_some(body)
    };
    tokio::select! {
        body = exchange => body,
        _ = connection => None,
    }
}
