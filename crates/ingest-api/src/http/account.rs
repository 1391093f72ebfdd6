//! `/v1/account`: the tenant itself.

use axum::Json;
use axum::extract::State;
use carillon_domain::limits;
use carillon_domain::span::Seconds;
use carillon_store::Changed;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::authorize::TenantCaller;
use super::body::Body;
use super::problem::Problem;
use super::settings::{AccountChange, SettingsBody, TenantAnswer};
use super::tenants;
use crate::ingest::Shared;
use crate::refusal::Refusal;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(get, patch))
}

/// The tenant, its bounds and what it has.
#[derive(Debug, Serialize, ToSchema)]
struct AccountAnswer {
    #[serde(flatten)]
    tenant: TenantAnswer,
    /// Bounds of what one call may ask.
    limits: Limits,
    /// What there is at the moment.
    usage: Usage,
}

/// Bounds of what one call may ask.
#[derive(Debug, Serialize, ToSchema)]
struct Limits {
    /// Bytes of a request body.
    body_bytes: usize,
    /// Bytes of the body of a batch or an import.
    batch_body_bytes: usize,
    /// Nesting of a body.
    json_depth: usize,
    /// Ids over all lists of `to`; more: a group.
    audience_ids: usize,
    /// Devices of one person in one app, dead ones not counted.
    person_devices: usize,
    /// Notifications of one batch.
    batch: usize,
    /// Keys of `metadata`.
    metadata_keys: usize,
    /// Bytes of a key or value of `metadata`.
    metadata_bytes: usize,
    /// Longest time to live.
    ttl: String,
    /// Receipts of one call.
    receipts: usize,
    /// Items of a page: default and most.
    page: [u32; 2],
    /// Bytes of an idempotency key.
    idempotency_key_bytes: usize,
}

fn bounds() -> Limits {
    Limits {
        body_bytes: limits::BODY_BYTES,
        batch_body_bytes: limits::BATCH_BODY_BYTES,
        json_depth: limits::JSON_DEPTH,
        audience_ids: limits::AUDIENCE_IDS,
        person_devices: limits::PERSON_DEVICES,
        batch: limits::BATCH,
        metadata_keys: limits::METADATA_KEYS,
        metadata_bytes: limits::METADATA_BYTES,
        ttl: Seconds(limits::TTL_SECONDS).to_string(),
        receipts: limits::RECEIPTS,
        page: [limits::PAGE.0, limits::PAGE.1],
        idempotency_key_bytes: limits::IDEMPOTENCY_KEY_BYTES,
    }
}

/// What there is at the moment.
#[derive(Debug, Serialize, ToSchema)]
struct Usage {
    /// Apps.
    apps: i64,
    /// Devices that can be sent to.
    devices: i64,
    /// Keys that are alive.
    keys: i64,
}

/// The tenant itself, its limits and its usage.
#[utoipa::path(get, path = "/v1/account", tag = "account", responses((status = 200, body = AccountAnswer)))]
async fn get(State(ingest): State<Shared>, caller: TenantCaller) -> Result<Json<AccountAnswer>, Problem> {
    let tenant = tenants::find(&ingest.store, &caller.tenant.id).await?;
    answer(&ingest, tenant).await
}

/// Changes the given settings.
#[utoipa::path(patch, path = "/v1/account", tag = "account", request_body = SettingsBody,
    responses((status = 200, body = AccountAnswer)))]
async fn patch(
    State(ingest): State<Shared>,
    caller: TenantCaller,
    Body(AccountChange(change)): Body<AccountChange>,
) -> Result<Json<AccountAnswer>, Problem> {
    let changed = ingest.store.change_tenant(&caller.tenant.id, &change).await?;
    ingest.forget(Changed::Table("tenants"));
    answer(&ingest, changed.ok_or_else(Refusal::not_found)?).await
}

async fn answer(ingest: &Shared, tenant: carillon_store::Tenant) -> Result<Json<AccountAnswer>, Problem> {
    let usage = ingest.store.tenant_usage(tenant.tenant_key).await?;
    let usage = Usage { apps: usage.apps, devices: usage.devices, keys: usage.keys };
    Ok(Json(AccountAnswer { tenant: tenant.into(), limits: bounds(), usage }))
}
