//! `/v1/sms/senders`: under which names a tenant's text messages go, and through which gateways.

use axum::Json;
use axum::extract::{Path, State};
use carillon_domain::cascade::{SMS_SENDER, is_sms_sender};
use carillon_domain::fault::{ErrorCode, Faults};
use carillon_domain::ids::is_slug;
use carillon_store::{Changed, PutSmsSender, SmsSender};
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::authorize::TenantCaller;
use super::body::Body;
use super::problem::Problem;
use super::query::{Page, Query};
use crate::ingest::Shared;
use crate::json::{FromJson, Object};
use crate::refusal::Refusal;

/// Gateways of one sender.
const GATEWAYS: usize = 10;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(put, get, delete))
}

/// Who sends for a name.
#[derive(Debug, ToSchema)]
struct SmsSenderBody {
    /// Gateways of the tenant, 1-10, the first one first. The next one gets what the one before surely did not take.
    gateways: Vec<String>,
}

impl FromJson for SmsSenderBody {
    fn from_json(object: &mut Object<'_>) -> Option<Self> {
        let items = object.need("gateways", |object, name| object.list(name, GATEWAYS))?;
        if items.is_empty() {
            object.fault("gateways", "must name at least one gateway");
        }
        let mut gateways: Vec<String> = Vec::with_capacity(items.len());
        for item in &items {
            match item.text(63) {
                Some(name) if !is_slug(&name) => item.fault("must match [a-z0-9][a-z0-9_-]{0,62}"),
                Some(name) if gateways.contains(&name) => item.fault("stands twice in the list"),
                Some(name) => gateways.push(name),
                None => {}
            }
        }
        Some(Self { gateways })
    }
}

/// A sender.
#[derive(Debug, Serialize, ToSchema)]
struct SmsSenderAnswer {
    /// The name; a notification's `from` finds it whatever the case of its letters.
    sender: String,
    /// Its gateways, the first one first.
    gateways: Vec<String>,
    /// When it was made.
    created_at: Timestamp,
}

impl From<SmsSender> for SmsSenderAnswer {
    fn from(sender: SmsSender) -> Self {
        Self { sender: sender.sender, gateways: sender.gateways, created_at: sender.created_at }
    }
}

/// A tenant's senders, newest first.
#[utoipa::path(get, path = "/v1/sms/senders", tag = "sms",
    params(("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<SmsSenderAnswer>)))]
async fn list(
    State(ingest): State<Shared>,
    caller: TenantCaller,
    mut query: Query,
) -> Result<Json<Page<SmsSenderAnswer>>, Problem> {
    let page = query.page();
    query.finish()?;
    Ok(Json(Page::of(ingest.store.list_sms_senders(caller.tenant.key, &page).await?, SmsSenderAnswer::from)))
}

/// Makes a sender, or replaces its gateways.
#[utoipa::path(put, path = "/v1/sms/senders/{sender}", tag = "sms", params(("sender" = String, Path)),
    request_body = SmsSenderBody,
    responses((status = 201, body = SmsSenderAnswer, description = "made"), (status = 200, body = SmsSenderAnswer)))]
async fn put(
    State(ingest): State<Shared>,
    caller: TenantCaller,
    Path(sender): Path<String>,
    Body(body): Body<SmsSenderBody>,
) -> Result<(StatusCode, Json<SmsSenderAnswer>), Problem> {
    if !is_sms_sender(&sender) {
        return Err(Refusal::fault(ErrorCode::InvalidRequest, "/path/sender", SMS_SENDER).into());
    }
    let kept = ingest.store.put_sms_sender(caller.tenant.key, &sender, &body.gateways).await?;
    ingest.forget(Changed::Table("sms_senders"));
    match kept {
        PutSmsSender::Kept(kept, new) => {
            Ok((if new { StatusCode::CREATED } else { StatusCode::OK }, Json(kept.into())))
        }
        PutSmsSender::UnknownGateways(unknown) => {
            let mut faults = Faults::new();
            for (i, _) in body.gateways.iter().enumerate().filter(|(_, gateway)| unknown.contains(gateway)) {
                faults.add(format!("/gateways/{i}"), "is no SMS gateway of the tenant");
            }
            Err(faults.into())
        }
    }
}

/// One sender.
#[utoipa::path(get, path = "/v1/sms/senders/{sender}", tag = "sms", params(("sender" = String, Path)),
    responses((status = 200, body = SmsSenderAnswer)))]
async fn get(
    State(ingest): State<Shared>,
    caller: TenantCaller,
    Path(sender): Path<String>,
) -> Result<Json<SmsSenderAnswer>, Problem> {
    known(&sender)?;
    let found = ingest.store.sms_sender(caller.tenant.key, &sender).await?;
    Ok(Json(found.ok_or_else(Refusal::not_found)?.into()))
}

/// Deletes a sender.
#[utoipa::path(delete, path = "/v1/sms/senders/{sender}", tag = "sms", params(("sender" = String, Path)),
    responses((status = 204, description = "deleted")))]
async fn delete(
    State(ingest): State<Shared>,
    caller: TenantCaller,
    Path(sender): Path<String>,
) -> Result<StatusCode, Problem> {
    known(&sender)?;
    let deleted = ingest.store.delete_sms_sender(caller.tenant.key, &sender).await?;
    ingest.forget(Changed::Table("sms_senders"));
    if deleted { Ok(StatusCode::NO_CONTENT) } else { Err(Refusal::not_found().into()) }
}

/// What cannot be a sender is none, and never reaches the database.
fn known(sender: &str) -> Result<(), Refusal> {
    if is_sms_sender(sender) { Ok(()) } else { Err(Refusal::not_found()) }
}
