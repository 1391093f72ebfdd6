//! A push message request (RFC 8030 section 5), judged, then opened as the browser would.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, LOCATION};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use super::encryption::{self, Coded};
use super::subscriptions::Held;
use super::vapid::{self, Refusal};
use crate::device;
use crate::exchange::{Answer, Decision, decide};
use crate::ledger::{Entry, fingerprint};
use crate::reply::{Provider, Reply};
use crate::serve::Application;
use crate::state::State;

const TTL: HeaderName = HeaderName::from_static("ttl");
/// Most seconds of `TTL`: 30 days.
const LONGEST_TTL: u64 = 2_592_000;
/// Most bytes of a body that a push service has to take (RFC 8030 section 7.2).
const MOST_BYTES: usize = 4096;
/// Most characters of a topic (RFC 8030 section 5.4).
const MOST_TOPIC: usize = 32;

/// The Web Push service.
pub(crate) struct Push {
    state: Arc<State>,
}

impl Push {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self { state }
    }

    fn judge(&self, parts: &Parts, body: &Bytes, held: Option<&Held>) -> Answer {
        if parts.method != Method::POST {
            return refusal(405, "MethodNotAllowed", 0);
        }
        if subscription_id(parts.uri.path()).is_none() {
            return refusal(404, "NoSuchEndpoint", 102);
        }
        let Some(held) = held else { return refusal(410, "Gone", 103) };
        let value = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let origin = self.state.webpush.origin();
        match vapid::check(value, origin, held.server_key.as_deref(), self.state.clock.seconds()) {
            Err(Refusal::Unauthorized) => return refusal(401, "Unauthorized", 109),
            Err(Refusal::BadJwtToken) => return refusal(403, "BadJwtToken", 109),
            Err(Refusal::KeyMismatch) => return refusal(403, "VapidPkHashMismatch", 109),
            Ok(()) => {}
        }
        if let Err(answer) = check_headers(&parts.headers, body) {
            return answer;
        }
        if body.len() > MOST_BYTES {
            return refusal(413, "PayloadTooLarge", 104);
        }
        if !body.is_empty() && encryption::parse(body).is_err() {
            return refusal(400, "BadEncryption", 110);
        }
        let id = uuid::Uuid::new_v4().simple().to_string();
        let location = HeaderValue::from_str(&format!("{origin}/message/{id}"));
        let mut answer = Answer::accepted(StatusCode::CREATED);
        if let Ok(location) = location {
            answer = answer.with(LOCATION, location);
        }
        match parts.headers.get(TTL) {
            Some(ttl) => answer.with(TTL, ttl.clone()),
            None => answer,
        }
    }
}

fn check_headers(headers: &HeaderMap, body: &[u8]) -> Result<(), Answer> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("\u{fffd}"));
    let ttl = text("ttl").ok_or_else(|| refusal(400, "MissingTtl", 111))?;
    let number = (1..=10).contains(&ttl.len()) && ttl.bytes().all(|byte| byte.is_ascii_digit());
    if !number || ttl.parse().map_or(true, |seconds: u64| seconds > LONGEST_TTL) {
        return Err(refusal(400, "BadTtl", 112));
    }
    if text("urgency").is_some_and(|urgency| !["very-low", "low", "normal", "high"].contains(&urgency)) {
        return Err(refusal(400, "BadUrgency", 0));
    }
    let fits = |topic: &str| {
        (1..=MOST_TOPIC).contains(&topic.len())
            && topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if text("topic").is_some_and(|topic| !fits(topic)) {
        return Err(refusal(400, "BadTopic", 113));
    }
    if !body.is_empty() && text(CONTENT_ENCODING.as_str()) != Some("aes128gcm") {
        return Err(refusal(400, "BadContentEncoding", 110));
    }
    if ["ttl", "urgency", "topic", "authorization"].iter().any(|name| headers.get_all(*name).iter().nth(1).is_some()) {
        return Err(refusal(400, "DuplicateHeaders", 0));
    }
    Ok(())
}

fn subscription_id(path: &str) -> Option<&str> {
    path.strip_prefix("/push/").filter(|id| !id.is_empty() && !id.contains('/'))
}

fn refusal(status: u16, reason: &'static str, errno: u16) -> Answer {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    Answer::refused(status, reason, body(status, reason, errno))
        .with(CONTENT_TYPE, HeaderValue::from_static("application/json"))
}

fn body(status: StatusCode, reason: &str, errno: u16) -> String {
    let error = status.canonical_reason().unwrap_or("Error");
    json!({"code": status.as_u16(), "errno": errno, "error": error, "reason": reason}).to_string()
}

/// A scripted answer in the service's form.
pub(crate) fn encode(reply: &Reply) -> Answer {
    let (reason, status) = match (reply.reason.as_deref(), reply.status) {
        (reason, Some(status)) => (reason.unwrap_or("Scripted"), status),
        (Some("BadJwtToken"), None) => ("BadJwtToken", 403),
        (reason, None) => (reason.unwrap_or("Scripted"), 410),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    if status.is_success() {
        return Answer::accepted(status);
    }
    let errno = match status.as_u16() {
        404 => 102,
        410 => 103,
        413 => 104,
        401 | 403 => 109,
        429 | 503 => 201,
        _ => 999,
    };
    let body = reply.body.clone().unwrap_or_else(|| body(status, reason, errno));
    Answer::refused(status, reason.to_owned(), body)
        .with(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .retry_after(reply.retry_after)
}

/// What the browser makes of the body.
fn open(coded: &Coded<'_>, held: &Held) -> Result<Vec<u8>, String> {
    coded.decrypt(&held.secret, &held.public, &held.auth).map_err(|fault| fault.to_string())
}

impl Application for Push {
    const PROVIDER: Provider = Provider::Webpush;

    fn state(&self) -> &Arc<State> {
        &self.state
    }

    fn too_large(&self) -> Answer {
        refusal(413, "PayloadTooLarge", 104)
    }

    fn decide(&self, parts: &Parts, bytes: &Bytes) -> Decision {
        let state = &self.state;
        let path = parts.uri.path();
        let id = subscription_id(path);
        let held = id.and_then(|id| state.webpush.get(id));
        let token = format!("{}{path}", state.webpush.origin());
        let judge = || self.judge(parts, bytes, held.as_deref());
        let decision = decide(state.weather(Self::PROVIDER), &state.scripts, Self::PROVIDER, &token, judge, encode);
        let opened = match (&held, encryption::parse(bytes)) {
            (Some(held), Ok(coded)) => open(&coded, held),
            _ => Err("there is nothing to decrypt".to_owned()),
        };
        let plain = opened.as_deref().unwrap_or_default();
        let body = serde_json::from_slice::<Value>(plain).ok();
        let mut violations = Vec::new();
        if state.check_devices && decision.answer.accepted {
            violations = match (&opened, &body) {
                (Err(fault), _) => vec![fault.clone()],
                (Ok(_), None) => vec!["the body is not JSON".to_owned()],
                (Ok(_), Some(body)) => device::check_webpush(body),
            };
        }
        let authorization = parts.headers.get(AUTHORIZATION).map(|value| fingerprint(value.as_bytes()));
        state.ledger.append(&mut Entry {
            provider: Self::PROVIDER,
            token: &token,
            at_ms: state.clock.millis(),
            status: decision.answer.status.as_u16(),
            reason: decision.answer.reason.as_deref(),
            accepted: decision.answer.accepted,
            answered: decision.disposition.fate.answers(),
            identity: device::identity(body.as_ref().and_then(|body| body.get(device::KEY))),
            headers: &parts.headers,
            fingerprint: authorization.as_deref().unwrap_or_default(),
            body: plain,
            violations,
        });
        decision
    }
}
