//! `/v1/tenants`: the operator's.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Path, State};
use carillon_domain::fault::Faults;
use carillon_domain::ids::{AppKey, TenantKey, check_slug, is_slug};
use carillon_store::{PageRequest, Store, Tenant};
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::Body;
use super::problem::Problem;
use super::query::{Page, Query};
use super::settings::{OperatorChange, TenantAnswer, TenantBody};
use crate::ingest::Shared;
use crate::refusal::Refusal;

/// Devices that are deleted in one transaction.
const ERASED_AT_ONCE: u32 = 2_000;
/// How long one request goes on deleting; a repetition goes on where it ended.
const ERASING: Duration = Duration::from_secs(10);

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(put, get, patch, delete))
}

/// The tenant of a path.
pub(super) async fn find(store: &Store, tenant: &str) -> Result<Tenant, Problem> {
    let found = if is_slug(tenant) { store.tenant(tenant).await? } else { None };
    Ok(found.ok_or_else(Refusal::not_found)?)
}

/// All tenants, newest first.
#[utoipa::path(get, path = "/v1/tenants", tag = "operator",
    params(("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<TenantAnswer>)))]
async fn list(State(ingest): State<Shared>, mut query: Query) -> Result<Json<Page<TenantAnswer>>, Problem> {
    let page = query.page();
    query.finish()?;
    Ok(Json(Page::of(ingest.store.list_tenants(&page).await?, TenantAnswer::from)))
}

/// Makes a tenant; of one that is there, changes the given fields.
#[utoipa::path(put, path = "/v1/tenants/{tenant}", tag = "operator", params(("tenant" = String, Path)),
    request_body = TenantBody,
    responses((status = 201, body = TenantAnswer, description = "made"), (status = 200, body = TenantAnswer)))]
async fn put(
    State(ingest): State<Shared>,
    Path(tenant): Path<String>,
    Body(OperatorChange(change)): Body<OperatorChange>,
) -> Result<(StatusCode, Json<TenantAnswer>), Problem> {
    let mut faults = Faults::new();
    check_slug(&mut faults, "/path/tenant", &tenant);
    faults.into_result(())?;
    let (tenant, new) = ingest.store.put_tenant(&tenant, &change).await?;
    Ok((if new { StatusCode::CREATED } else { StatusCode::OK }, Json(tenant.into())))
}

/// One tenant.
#[utoipa::path(get, path = "/v1/tenants/{tenant}", tag = "operator", params(("tenant" = String, Path)),
    responses((status = 200, body = TenantAnswer)))]
async fn get(State(ingest): State<Shared>, Path(tenant): Path<String>) -> Result<Json<TenantAnswer>, Problem> {
    Ok(Json(find(&ingest.store, &tenant).await?.into()))
}

/// Changes the given fields of a tenant.
#[utoipa::path(patch, path = "/v1/tenants/{tenant}", tag = "operator", params(("tenant" = String, Path)),
    request_body = TenantBody, responses((status = 200, body = TenantAnswer)))]
async fn patch(
    State(ingest): State<Shared>,
    Path(tenant): Path<String>,
    Body(OperatorChange(change)): Body<OperatorChange>,
) -> Result<Json<TenantAnswer>, Problem> {
    let tenant = find(&ingest.store, &tenant).await?.tenant;
    let changed = ingest.store.change_tenant(&tenant, &change).await?;
    Ok(Json(changed.ok_or_else(Refusal::not_found)?.into()))
}

/// Deletes a tenant with everything that is its own. A large one takes several calls: each but the last is answered 503.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}", tag = "operator", params(("tenant" = String, Path)),
    responses((status = 204, description = "deleted")))]
async fn delete(State(ingest): State<Shared>, Path(tenant): Path<String>) -> Result<StatusCode, Problem> {
    let found = find(&ingest.store, &tenant).await?;
    let mut page = PageRequest { limit: 100, after: None };
    loop {
        let apps = ingest.store.list_apps(found.tenant_key, None, &page).await?;
        for app in &apps.items {
            erase_devices(&ingest.store, found.tenant_key, app.app_key).await?;
        }
        match apps.next {
            Some(next) => page.after = Some(next),
            None => break,
        }
    }
    ingest.store.delete_tenant(&found.tenant).await?;
    ingest.forget(carillon_store::Changed::Table("tenants"));
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes the devices of an app, page by page.
///
/// # Errors
/// `unavailable` when the time of one request does not suffice.
pub(super) async fn erase_devices(store: &Store, tenant: TenantKey, app: AppKey) -> Result<(), Problem> {
    let began = Instant::now();
    while store.erase_devices(tenant, app, ERASED_AT_ONCE).await? > 0 {
        if began.elapsed() > ERASING {
            return Err(Refusal::unavailable().into());
        }
    }
    Ok(())
}
