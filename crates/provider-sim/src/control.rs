//! The control interface and the ledger over plain HTTP. README.md of this crate is its documentation.

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Query as Parameters, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Error;
use crate::apns::IssuedCertificate;
use crate::conditions::Conditions;
use crate::controls::Controls;
use crate::ledger::Query;
use crate::reply::Provider;
use crate::script::Script;

/// Bulk declarations of tokens are large.
const MOST_BODY: usize = 64 << 20;
/// Records that are written at once; the ledger is not locked longer than that takes.
const PAGE: usize = 500;

/// A refusal of the control interface.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
    }
}

type Answer = Result<Json<Value>, Refusal>;

/// All routes.
pub(crate) fn router(controls: Controls) -> Router {
    Router::new()
        .route("/", get(urls))
        .route("/requests", get(requests).delete(clear_requests))
        .route("/summary", get(summary))
        .route("/scripts", post(add_script).delete(clear_scripts))
        .route("/conditions/{provider}", put(set_conditions).get(conditions))
        .route("/connections/{provider}", post(command_connections).get(connections))
        .route("/clock", post(advance_clock))
        .route("/known_tokens_only", put(require_known_tokens))
        .route("/apns/keys", post(register_apns_key))
        .route("/apns/keys/{team_id}/{key_id}", delete(revoke_apns_key))
        .route("/apns/certificates", post(issue_apns_certificate).delete(revoke_apns_certificates))
        .route("/apns/tokens", post(declare_apns_tokens))
        .route("/fcm/projects", post(create_fcm_project))
        .route("/fcm/projects/{project_id}", delete(remove_fcm_project))
        .route("/fcm/tokens", post(declare_fcm_tokens))
        .route("/fcm/bearers", delete(revoke_fcm_bearers))
        .route("/webpush/subscriptions", post(create_subscriptions).delete(end_subscription))
        .route("/sms/accounts", post(register_sms_account))
        .route("/sms/reports", get(sms_reports))
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .with_state(controls)
}

/// Strict, and with serde's own words about what is wrong.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
}

fn provider(name: &str) -> Result<Provider, Refusal> {
    Provider::from_name(name).ok_or_else(|| Refusal(StatusCode::NOT_FOUND, format!("no provider {name}")))
}

fn done() -> Answer {
    Ok(Json(json!({})))
}

fn found(found: bool) -> Answer {
    if found { done() } else { Err(Refusal(StatusCode::NOT_FOUND, "there is none".to_owned())) }
}

async fn urls(State(controls): State<Controls>) -> Json<Value> {
    Json(json!({"urls": controls.urls(), "ca_pem": controls.ca_pem()}))
}

async fn requests(State(controls): State<Controls>, Parameters(query): Parameters<Query>) -> Response {
    let left = query.limit.unwrap_or(usize::MAX);
    let lines = futures::stream::unfold(Some((query, left)), move |position| {
        let controls = controls.clone();
        async move {
            let (mut query, left) = position?;
            let (records, next) = controls.ledger().page(&query, left.min(PAGE));
            let mut lines = BytesMut::new();
            for record in &records {
                lines.extend_from_slice(&serde_json::to_vec(record).unwrap_or_default());
                lines.extend_from_slice(b"\n");
            }
            let left = left - records.len();
            let further = next.filter(|_| left > 0).map(|after| {
                query.after = after;
                (query, left)
            });
            Some((Ok::<Bytes, std::convert::Infallible>(lines.freeze()), further))
        }
    });
    ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

async fn clear_requests(State(controls): State<Controls>) -> Answer {
    controls.ledger().clear();
    done()
}

async fn summary(State(controls): State<Controls>) -> Response {
    Json(controls.ledger().summary()).into_response()
}

/// One script or a list of them.
async fn add_script(State(controls): State<Controls>, body: Bytes) -> Answer {
    let scripts: Vec<Script> =
        if body.trim_ascii_start().starts_with(b"[") { read(&body)? } else { vec![read(&body)?] };
    for script in scripts {
        controls.add_script(script)?;
    }
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    provider: Option<Provider>,
    token: Option<String>,
}

async fn clear_scripts(State(controls): State<Controls>, Parameters(which): Parameters<Which>) -> Answer {
    controls.clear_scripts(which.provider, which.token.as_deref());
    done()
}

async fn set_conditions(State(controls): State<Controls>, Path(name): Path<String>, body: Bytes) -> Answer {
    controls.set_conditions(provider(&name)?, read(&body)?)?;
    done()
}

async fn conditions(State(controls): State<Controls>, Path(name): Path<String>) -> Result<Json<Conditions>, Refusal> {
    Ok(Json(controls.conditions(provider(&name)?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    action: Action,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Goaway,
    Drop,
}

async fn command_connections(State(controls): State<Controls>, Path(name): Path<String>, body: Bytes) -> Answer {
    let provider = provider(&name)?;
    match read::<Command>(&body)?.action {
        Action::Goaway => controls.go_away(provider),
        Action::Drop => controls.drop_connections(provider),
    }
    done()
}

async fn connections(State(controls): State<Controls>, Path(name): Path<String>) -> Answer {
    let (open, opened) = controls.connections(provider(&name)?);
    Ok(Json(json!({"open": open, "opened": opened})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ahead {
    advance_ms: u64,
}

async fn advance_clock(State(controls): State<Controls>, body: Bytes) -> Answer {
    controls.advance_clock(std::time::Duration::from_millis(read::<Ahead>(&body)?.advance_ms));
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Only {
    only: bool,
}

async fn require_known_tokens(State(controls): State<Controls>, body: Bytes) -> Answer {
    controls.require_known_tokens(read::<Only>(&body)?.only);
    done()
}

async fn register_apns_key(State(controls): State<Controls>, body: Bytes) -> Answer {
    let private_key = controls.register_apns_key(read(&body)?)?;
    Ok(Json(json!({"private_key": private_key})))
}

async fn revoke_apns_key(State(controls): State<Controls>, Path((team_id, key_id)): Path<(String, String)>) -> Answer {
    found(controls.revoke_apns_key(&team_id, &key_id))
}

async fn issue_apns_certificate(
    State(controls): State<Controls>,
    body: Bytes,
) -> Result<Json<IssuedCertificate>, Refusal> {
    Ok(Json(controls.issue_apns_certificate(read(&body)?)?))
}

async fn revoke_apns_certificates(State(controls): State<Controls>) -> Answer {
    controls.revoke_apns_certificates();
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceTokens {
    tokens: Vec<crate::ApnsToken>,
}

async fn declare_apns_tokens(State(controls): State<Controls>, body: Bytes) -> Answer {
    controls.declare_apns_tokens(read::<DeviceTokens>(&body)?.tokens)?;
    done()
}

async fn create_fcm_project(State(controls): State<Controls>, body: Bytes) -> Answer {
    Ok(Json(controls.create_fcm_project(read(&body)?).await?))
}

async fn remove_fcm_project(State(controls): State<Controls>, Path(project_id): Path<String>) -> Answer {
    found(controls.remove_fcm_project(&project_id))
}

async fn declare_fcm_tokens(State(controls): State<Controls>, body: Bytes) -> Answer {
    controls.declare_fcm_tokens(read(&body)?)?;
    done()
}

async fn revoke_fcm_bearers(State(controls): State<Controls>) -> Answer {
    controls.revoke_fcm_bearers();
    done()
}

async fn create_subscriptions(State(controls): State<Controls>, body: Bytes) -> Answer {
    let subscriptions = controls.create_subscriptions(read(&body)?).await?;
    Ok(Json(json!({"subscriptions": subscriptions})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ended {
    endpoint: String,
}

async fn end_subscription(State(controls): State<Controls>, Parameters(which): Parameters<Ended>) -> Answer {
    found(controls.end_subscription(&which.endpoint))
}

async fn register_sms_account(State(controls): State<Controls>, body: Bytes) -> Answer {
    controls.register_sms_account(read(&body)?)?;
    done()
}

async fn sms_reports(State(controls): State<Controls>) -> Answer {
    Ok(Json(json!({"reports": controls.sms_reports()})))
}
