//! The OAuth 2 token endpoint: a signed assertion for a bearer token (RFC 7523, Google's "server to server" flow).

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use serde_json::json;

use super::error::json_answer;
use super::projects::Project;
use crate::exchange::{Answer, Decision, decide};
use crate::jwt::Jwt;
use crate::ledger::{Entry, Identity};
use crate::reply::{Provider, Reply};
use crate::serve::Application;
use crate::state::State;

/// The path of `token_uri`.
pub(crate) const PATH: &str = "/token";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const SCOPES: [&str; 2] =
    ["https://www.googleapis.com/auth/firebase.messaging", "https://www.googleapis.com/auth/cloud-platform"];
/// Seconds between `iat` and `exp`.
const LONGEST: i64 = 60 * 60;
/// Seconds that a client's clock may be off.
const SKEW: i64 = 5 * 60;

/// The endpoint that service accounts name in `token_uri`.
pub(crate) struct TokenEndpoint {
    state: Arc<State>,
}

impl TokenEndpoint {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self { state }
    }

    fn judge(&self, parts: &Parts, assertion: Result<&Jwt<'_>, Answer>) -> Answer {
        if parts.uri.path() != PATH {
            return super::error::no_such_page();
        }
        if parts.method != Method::POST {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", "Only POST.");
        }
        let jwt = match assertion {
            Ok(jwt) => jwt,
            Err(answer) => return answer,
        };
        let now = self.state.clock.seconds();
        let issued = self.verify(jwt, now).and_then(|project| {
            let lifetime = project.lifetime;
            let token = self.state.fcm.issue(project, now).map_err(|_| invalid_grant("No random bytes."))?;
            Ok(json!({"access_token": token, "expires_in": lifetime, "token_type": "Bearer"}))
        });
        match issued {
            Ok(body) => {
                let mut answer = Answer::accepted(StatusCode::OK)
                    .with(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"))
                    .with(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store"));
                answer.body = Bytes::from(body.to_string());
                answer
            }
            Err(answer) => answer,
        }
    }

    fn verify(&self, jwt: &Jwt<'_>, now: i64) -> Result<Arc<Project>, Answer> {
        let account = jwt.text("iss").ok_or_else(|| invalid_grant("Invalid JWT: no iss."))?;
        let project = self.state.fcm.by_client_email(account);
        let project = project.ok_or_else(|| invalid_grant("Invalid grant: account not found"))?;
        if jwt.header.kid.as_deref().is_some_and(|key_id| key_id != project.key_id)
            || !jwt.is_signed_rs256(&project.public_key)
        {
            return Err(invalid_grant("Invalid JWT Signature."));
        }
        if jwt.text("aud") != Some(self.state.fcm.token_uri()) {
            return Err(invalid_grant("Invalid JWT: Failed audience check."));
        }
        if jwt.text("sub").is_some_and(|subject| subject != account) {
            return Err(refusal(StatusCode::UNAUTHORIZED, "unauthorized_client", "No delegation for this subject."));
        }
        let (Some(issued), Some(expires)) = (jwt.seconds("iat"), jwt.seconds("exp")) else {
            return Err(invalid_grant("Invalid JWT: iat and exp are needed."));
        };
        if expires - issued > LONGEST || expires <= issued || issued > now + SKEW || expires < now {
            return Err(invalid_grant(
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.",
            ));
        }
        let scope = jwt.text("scope").unwrap_or_default();
        if !scope.split(' ').any(|scope| SCOPES.contains(&scope)) {
            return Err(refusal(StatusCode::BAD_REQUEST, "invalid_scope", "No scope that may send messages."));
        }
        Ok(project)
    }
}

fn read_assertion(parts: &Parts, body: &[u8]) -> Result<String, Answer> {
    let kind = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().map(str::trim) != Some("application/x-www-form-urlencoded") {
        return Err(refusal(StatusCode::BAD_REQUEST, "invalid_request", "The body is a form."));
    }
    let (mut grant, mut assertion) = (None, None);
    for (name, value) in form_urlencoded::parse(body) {
        match name.as_ref() {
            "grant_type" => grant = Some(value),
            "assertion" => assertion = Some(value.into_owned()),
            _ => {}
        }
    }
    if grant.as_deref() != Some(GRANT) {
        return Err(refusal(StatusCode::BAD_REQUEST, "unsupported_grant_type", "Invalid grant_type."));
    }
    assertion.ok_or_else(|| refusal(StatusCode::BAD_REQUEST, "invalid_request", "Missing parameter: assertion."))
}

fn invalid_grant(description: &str) -> Answer {
    refusal(StatusCode::BAD_REQUEST, "invalid_grant", description)
}

fn refusal(status: StatusCode, error: &'static str, description: &str) -> Answer {
    json_answer(status, error, json!({"error": error, "error_description": description}))
}

/// A scripted answer in OAuth's form.
fn encode(reply: &Reply) -> Answer {
    let status = StatusCode::from_u16(reply.status.unwrap_or(400)).unwrap_or(StatusCode::BAD_REQUEST);
    if status.is_success() {
        return Answer::accepted(status);
    }
    let error = reply.reason.clone().unwrap_or_else(|| "invalid_grant".to_owned());
    let body = json!({"error": error, "error_description": "Scripted refusal."});
    json_answer(status, error, body).retry_after(reply.retry_after)
}

impl Application for TokenEndpoint {
    const PROVIDER: Provider = Provider::FcmToken;

    fn state(&self) -> &Arc<State> {
        &self.state
    }

    fn decide(&self, parts: &Parts, body: &Bytes) -> Decision {
        let assertion = read_assertion(parts, body);
        let jwt = match &assertion {
            Ok(text) => Jwt::parse(text).ok_or_else(|| invalid_grant("Invalid JWT.")),
            Err(answer) => Err(answer.clone()),
        };
        let account = jwt.as_ref().ok().and_then(|jwt| jwt.text("iss")).unwrap_or_default().to_owned();
        let judge = || self.judge(parts, jwt.as_ref().map_err(Clone::clone));
        let state = &self.state;
        let decision = decide(state.weather(Self::PROVIDER), &state.scripts, Self::PROVIDER, &account, judge, encode);
        state.ledger.append(&mut Entry {
            provider: Self::PROVIDER,
            token: &account,
            at_ms: state.clock.millis(),
            status: decision.answer.status.as_u16(),
            reason: decision.answer.reason.as_deref(),
            accepted: decision.answer.accepted,
            answered: decision.disposition.fate.answers(),
            identity: Identity::default(),
            headers: &parts.headers,
            fingerprint: "",
            // The assertion is a credential.
            body: b"",
            violations: Vec::new(),
        });
        decision
    }
}
