//! `/v1/sms/gateways`: through whom a tenant's text messages go.

use axum::Json;
use axum::extract::{Path, State};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use carillon_domain::fault::{ErrorCode, Faults};
use carillon_domain::ids::{check_slug, is_slug};
use carillon_store::{Changed, DeletedSmsGateway, NewSmsGateway, SmsGateway};
use carillon_telemetry::Secret;
use carillon_vault::Context;
use http::StatusCode;
use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::authorize::TenantCaller;
use super::body::Body;
use super::problem::Problem;
use super::query::{Page, Query};
use crate::auth::{Grant, TenantRef};
use crate::ingest::{Ingest, Shared};
use crate::json::{FromJson, Object};
use crate::refusal::Refusal;

/// The kind of secret that tokens are sealed as.
pub(crate) const VAULT_KIND: &str = "sms";
/// The one kind of gateway there is.
const SMSAPI: &str = "smsapi";
/// Bytes of a gateway's token.
const TOKEN_BYTES: usize = 512;
/// Random bytes in the path of a callback.
const CALLBACK_BYTES: usize = 32;
/// Two that put a gateway at the same time want the same version number; one of them tries again.
const TRIES: usize = 3;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(put, get, delete))
}

/// A gateway to be kept.
#[derive(ToSchema)]
#[allow(dead_code, reason = "the form of the document; it is read into a SmsGatewayForm")]
struct SmsGatewayBody {
    /// `smsapi`.
    kind: String,
    /// The account's API token; never shown again.
    token: String,
}

/// The body, as it is read.
struct SmsGatewayForm {
    token: Secret,
}

impl FromJson for SmsGatewayForm {
    fn from_json(object: &mut Object<'_>) -> Option<Self> {
        let kind = object.need("kind", |object, name| {
            object.parsed(name, "must be smsapi, the one kind of gateway that this version speaks to", |text| {
                (text == SMSAPI).then_some(())
            })
        });
        let token = object.need("token", |object, name| {
            object.parsed(name, "must be the account's API token: 1-512 visible ASCII characters", |text| {
                let fits = (1..=TOKEN_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
                fits.then(|| Secret::new(text))
            })
        });
        kind.zip(token).map(|((), token)| Self { token })
    }
}

/// A gateway, of which the token is never shown again.
#[derive(Debug, Serialize, ToSchema)]
struct SmsGatewayAnswer {
    /// Its id.
    gateway: String,
    /// `smsapi`.
    kind: String,
    /// Where it reports deliveries to. Whoever knows it may report: it is shown to keys with the scope `admin`, null to others and while
    /// the service does not know its own public URL.
    callback_url: Option<String>,
    /// When it was made.
    created_at: Timestamp,
}

impl SmsGatewayAnswer {
    fn new(gateway: SmsGateway, ingest: &Ingest, caller: &TenantCaller) -> Self {
        let url = ingest.public_url.as_deref().filter(|_| caller.caller.holds(Grant::Admin));
        let callback_url =
            url.map(|url| format!("{}/v1/callbacks/sms/{}", url.trim_end_matches('/'), gateway.callback_secret));
        Self { gateway: gateway.gateway, kind: gateway.kind, callback_url, created_at: gateway.created_at }
    }
}

/// A tenant's SMS gateways, newest first.
#[utoipa::path(get, path = "/v1/sms/gateways", tag = "sms",
    params(("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<SmsGatewayAnswer>)))]
async fn list(
    State(ingest): State<Shared>,
    caller: TenantCaller,
    mut query: Query,
) -> Result<Json<Page<SmsGatewayAnswer>>, Problem> {
    let page = query.page();
    query.finish()?;
    let listed = ingest.store.list_sms_gateways(caller.tenant.key, &page).await?;
    Ok(Json(Page::of(listed, |gateway| SmsGatewayAnswer::new(gateway, &ingest, &caller))))
}

/// Makes a gateway, or changes its token; the callback's URL stays.
#[utoipa::path(put, path = "/v1/sms/gateways/{gateway}", tag = "sms", params(("gateway" = String, Path)),
    request_body = SmsGatewayBody,
    responses((status = 201, body = SmsGatewayAnswer, description = "made"), (status = 200, body = SmsGatewayAnswer)))]
async fn put(
    State(ingest): State<Shared>,
    caller: TenantCaller,
    Path(gateway): Path<String>,
    Body(form): Body<SmsGatewayForm>,
) -> Result<(StatusCode, Json<SmsGatewayAnswer>), Problem> {
    let mut faults = Faults::new();
    check_slug(&mut faults, "/path/gateway", &gateway);
    faults.into_result(())?;
    let (kept, new) = keep(&ingest, &caller.tenant, &gateway, &form).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(SmsGatewayAnswer::new(kept, &ingest, &caller))))
}

/// One gateway.
#[utoipa::path(get, path = "/v1/sms/gateways/{gateway}", tag = "sms", params(("gateway" = String, Path)),
    responses((status = 200, body = SmsGatewayAnswer)))]
async fn get(
    State(ingest): State<Shared>,
    caller: TenantCaller,
    Path(gateway): Path<String>,
) -> Result<Json<SmsGatewayAnswer>, Problem> {
    known(&gateway)?;
    let found = ingest.store.sms_gateway(caller.tenant.key, &gateway).await?;
    let found = found.ok_or_else(Refusal::not_found)?;
    Ok(Json(SmsGatewayAnswer::new(found, &ingest, &caller)))
}

/// Deletes a gateway that no sender names. Its callback ends with it.
#[utoipa::path(delete, path = "/v1/sms/gateways/{gateway}", tag = "sms", params(("gateway" = String, Path)),
    responses((status = 204, description = "deleted")))]
async fn delete(
    State(ingest): State<Shared>,
    caller: TenantCaller,
    Path(gateway): Path<String>,
) -> Result<StatusCode, Problem> {
    known(&gateway)?;
    let deleted = ingest.store.delete_sms_gateway(caller.tenant.key, &gateway).await?;
    ingest.forget(Changed::Table("sms_gateways"));
    match deleted {
        DeletedSmsGateway::Deleted => Ok(StatusCode::NO_CONTENT),
        DeletedSmsGateway::Absent => Err(Refusal::not_found().into()),
        DeletedSmsGateway::InUse => Err(Problem::new(
            ErrorCode::InvalidState,
            "A sender names this gateway. Change or delete the sender first.",
        )),
    }
}

/// What cannot be the id of a gateway is none, and never reaches the database.
fn known(gateway: &str) -> Result<(), Refusal> {
    if is_slug(gateway) { Ok(()) } else { Err(Refusal::not_found()) }
}

/// Seals for the next version and keeps it; whether the gateway is new.
async fn keep(
    ingest: &Ingest,
    tenant: &TenantRef,
    gateway: &str,
    form: &SmsGatewayForm,
) -> Result<(SmsGateway, bool), Problem> {
    let secret = Secret::new(json!({ "token": form.token.expose() }).to_string());
    for _ in 0..TRIES {
        let current = ingest.store.sms_gateway(tenant.key, gateway).await?;
        let version = current.map_or(0, |gateway| gateway.version) + 1;
        let of_version = u64::from(version.unsigned_abs());
        let context = Context { tenant: &tenant.id, app: None, kind: VAULT_KIND, version: of_version };
        let sealed = ingest.sms_vault.seal(&context, secret.expose().as_bytes()).map_err(Refusal::from)?;
        let callback_secret = callback_secret()?;
        let new = NewSmsGateway {
            gateway,
            kind: SMSAPI,
            sealed: &sealed,
            facts: &json!({}),
            callback_secret: callback_secret.expose(),
            version,
        };
        if let Some(kept) = ingest.store.put_sms_gateway(tenant.key, &new).await? {
            ingest.forget(Changed::Table("sms_gateways"));
            return Ok(kept);
        }
    }
    Err(Problem::new(ErrorCode::InvalidState, "Another request was faster."))
}

/// 256 random bits in base64url: long enough for the log's scrubber to know it for a secret.
fn callback_secret() -> Result<Secret, Refusal> {
    let mut bytes = [0; CALLBACK_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Refusal::from(carillon_vault::Error::Random))?;
    Ok(Secret::new(BASE64_URL_SAFE_NO_PAD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_s_secret_is_not_to_be_guessed_and_scrubbed_from_logs() {
        let (one, other) = (callback_secret().unwrap(), callback_secret().unwrap());
        assert_ne!(one.expose(), other.expose());
        let line = format!("GET /v1/callbacks/sms/{}?MsgId=1", one.expose());
        assert_eq!(carillon_telemetry::scrub(&line), "GET /v1/callbacks/sms/***?MsgId=1");
    }
}
