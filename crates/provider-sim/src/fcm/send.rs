//! `POST /v1/projects/{project}/messages:send`.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use super::error::{self, Violation, encode};
use super::message;
use super::projects::Project;
use crate::device;
use crate::exchange::{Answer, Decision, decide};
use crate::ledger::{Entry, fingerprint};
use crate::reply::Provider;
use crate::serve::Application;
use crate::state::State;

/// The FCM HTTP v1 host.
pub(crate) struct Send {
    state: Arc<State>,
}

impl Send {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self { state }
    }

    fn judge(&self, parts: &Parts, body: Option<&Value>) -> Answer {
        let Some(project) = project_of(parts.uri.path()) else { return error::no_such_page() };
        if parts.method != Method::POST {
            return error::no_such_page();
        }
        let project = match self.authenticate(parts, project) {
            Ok(project) => project,
            Err(answer) => return answer,
        };
        let kind = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if kind.split(';').next().map(str::trim) != Some("application/json") {
            return error::invalid(&[Violation::new("", "The body is application/json.")]);
        }
        let Some(body) = body else {
            return error::invalid(&[Violation::new("", "Invalid JSON payload received.")]);
        };
        self.send(&project, body)
    }

    fn authenticate(&self, parts: &Parts, project: &str) -> Result<Arc<Project>, Answer> {
        let bearer = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer =
            bearer.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let owner = bearer.and_then(|(_, token)| self.state.fcm.of_bearer(token, self.state.clock.seconds()));
        let owner = owner.ok_or_else(error::unauthenticated)?;
        if owner.id == project { Ok(owner) } else { Err(error::permission_denied()) }
    }

    fn send(&self, project: &Project, body: &Value) -> Answer {
        // Refused messages count against the quota too (throttling and quotas).
        if let Err(seconds) = project.take(Instant::now()) {
            return error::quota_exceeded(Some(seconds));
        }
        let sound = match message::check(body.clone()) {
            Ok(sound) => sound,
            Err(violations) => return error::invalid(&violations),
        };
        if let Some(token) = &sound.token {
            match self.state.fcm.owns(&project.id, token) {
                Some(false) => return error::fcm_error("SENDER_ID_MISMATCH", "SenderId mismatch"),
                None if self.state.known_tokens_only() => {
                    return error::fcm_error("UNREGISTERED", "Requested entity was not found.");
                }
                _ => {}
            }
        }
        let id = if sound.validate_only { "fake_message_id".to_owned() } else { message_id(project) };
        let mut answer = Answer::accepted(StatusCode::OK)
            .with(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
        answer.accepted = !sound.validate_only;
        answer.body = json!({"name": format!("projects/{}/messages/{id}", project.id)}).to_string().into();
        answer
    }
}

fn message_id(project: &Project) -> String {
    format!("0:{:016}%{:016x}", project.next_message(), uuid::Uuid::new_v4().as_u64_pair().0)
}

fn project_of(path: &str) -> Option<&str> {
    let project = path.strip_prefix("/v1/projects/")?.strip_suffix("/messages:send")?;
    (!project.is_empty() && !project.contains('/')).then_some(project)
}

impl Application for Send {
    const PROVIDER: Provider = Provider::Fcm;

    fn state(&self) -> &Arc<State> {
        &self.state
    }

    fn decide(&self, parts: &Parts, bytes: &Bytes) -> Decision {
        let state = &self.state;
        let body = serde_json::from_slice::<Value>(bytes).ok();
        let token = body.as_ref().map(message::target).unwrap_or_default();
        let judge = || self.judge(parts, body.as_ref());
        let decision = decide(state.weather(Self::PROVIDER), &state.scripts, Self::PROVIDER, token, judge, encode);
        let content = body.as_ref().and_then(|body| body.get("message"));
        let mut violations = Vec::new();
        if state.check_devices && decision.answer.accepted {
            violations = content.map(device::check_fcm).unwrap_or_default();
        }
        let authorization = parts.headers.get(AUTHORIZATION).map(|value| fingerprint(value.as_bytes()));
        state.ledger.append(&mut Entry {
            provider: Self::PROVIDER,
            token,
            at_ms: state.clock.millis(),
            status: decision.answer.status.as_u16(),
            reason: decision.answer.reason.as_deref(),
            accepted: decision.answer.accepted,
            answered: decision.disposition.fate.answers(),
            identity: device::identity(content.and_then(device::of_fcm).as_ref()),
            headers: &parts.headers,
            fingerprint: authorization.as_deref().unwrap_or_default(),
            body: bytes,
            violations,
        });
        decision
    }
}
