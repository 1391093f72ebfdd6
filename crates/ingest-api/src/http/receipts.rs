//! `/v1/receipts`: what devices did with pushes.

use axum::Json;
use axum::extract::State;
use carillon_domain::fault::{ErrorCode, Faults};
use carillon_domain::ids::{AppKey, TenantKey};
use carillon_domain::receipt::{CascadeEffect, Recorded};
use carillon_store::{DeviceOwner, ReceiptItem, ReceiptResult};
use http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::authorize::TenantCaller;
use super::body::Body;
use super::devices::key_hash;
use super::problem::Problem;
use crate::auth::Caller;
use crate::bodies::receipt::{Receipt, ReceiptsBody};
use crate::ingest::{Ingest, Shared};
use crate::refusal::Refusal;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(report))
}

/// Up to 1,000 receipts.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of the body for the OpenAPI document; bodies/receipt.rs reads it")]
struct ReceiptsRequest {
    receipts: Vec<ReceiptRequest>,
}

/// One receipt. It names its push by `run`, or by `notification_id` and `device`. What it gives beside `run` must fit: a `run` that is
/// none of ours, or another push's, is `unknown`, whatever stands beside it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of the body for the OpenAPI document; bodies/receipt.rs reads it")]
struct ReceiptRequest {
    notification_id: Option<String>,
    /// `r` of the reserved key `carillon`.
    run: Option<String>,
    device: Option<String>,
    /// delivered, displayed, dismissed, opened, clicked.
    event: String,
    /// The button that was pressed: with `opened` it counts as `clicked`. The first one is kept, and shown with the click.
    action: Option<String>,
    at: Option<jiff::Timestamp>,
}

/// What the receipts did, in their order.
#[derive(Serialize, ToSchema)]
struct ReceiptsAnswer {
    results: Vec<ReceiptAnswer>,
}

/// What one receipt did.
#[derive(Serialize, ToSchema)]
struct ReceiptAnswer {
    /// recorded, duplicate, unknown.
    status: &'static str,
    /// stopped, too_late, none.
    cascade: &'static str,
}

/// Records receipts. A read is effective before the answer: a text message that the answer calls stopped is not sent.
#[utoipa::path(
    post, path = "/v1/receipts", tag = "receipts", request_body = ReceiptsRequest,
    responses((status = 200, body = ReceiptsAnswer), (status = 422, description = "invalid_request"))
)]
async fn report(
    State(ingest): State<Shared>,
    TenantCaller { caller, tenant }: TenantCaller,
    headers: HeaderMap,
    Body(ReceiptsBody(receipts)): Body<ReceiptsBody>,
) -> Result<Json<ReceiptsAnswer>, Problem> {
    let own = own_device(&ingest, &caller, &headers).await?;
    let items = items(own.as_ref(), receipts)?;
    let results = match app_keys(&ingest, &caller).await? {
        None => ingest.store.record_receipts(tenant.key, &items, ingest.slot).await?,
        Some(apps) => record_of_apps(&ingest, tenant.key, &apps, items).await?,
    };
    Ok(Json(ReceiptsAnswer { results: results.iter().map(answer).collect() }))
}

fn answer(result: &ReceiptResult) -> ReceiptAnswer {
    ReceiptAnswer { status: result.recorded.as_str(), cascade: result.cascade.as_str() }
}

/// A key that is for some apps only: what is none of theirs is unknown.
async fn record_of_apps(
    ingest: &Ingest,
    tenant: TenantKey,
    apps: &[AppKey],
    mut items: Vec<ReceiptItem>,
) -> Result<Vec<ReceiptResult>, Refusal> {
    let unknown = ReceiptResult { recorded: Recorded::Unknown, cascade: CascadeEffect::None };
    let mut results = vec![unknown; items.len()];
    for app in apps {
        items.iter_mut().for_each(|item| item.app_scope = Some(*app));
        let found = ingest.store.record_receipts(tenant, &items, ingest.slot).await?;
        for (known, one) in results.iter_mut().zip(found).filter(|(_, one)| one.recorded != Recorded::Unknown) {
            *known = one;
        }
    }
    Ok(results)
}

/// The installation that calls, as it is now: who it belongs to may have changed since its key was last looked up, and a receipt
/// that finds nothing is a read that does not count.
async fn own_device(ingest: &Ingest, caller: &Caller, headers: &HeaderMap) -> Result<Option<DeviceOwner>, Refusal> {
    if !matches!(caller, Caller::Device { .. }) {
        return Ok(None);
    }
    let found = ingest.store.device_by_secret_hash(&key_hash(headers)).await?;
    found.map(Some).ok_or_else(Refusal::not_found)
}

/// The receipts as the store takes them: an installation reports for itself only.
fn items(own: Option<&DeviceOwner>, receipts: Vec<Receipt>) -> Result<Vec<ReceiptItem>, Refusal> {
    let (app_scope, device_scope) = (own.map(|own| own.app.app_key), own.map(|own| own.device_key));
    let own = own.map(|own| own.device.as_str());
    let mut faults = Faults::new();
    let mut items = Vec::with_capacity(receipts.len());
    for (i, receipt) in receipts.into_iter().enumerate() {
        let at = format!("/receipts/{i}/device");
        match (own, receipt.device.as_deref()) {
            (Some(own), Some(device)) if own != device => faults.add(at, "an installation reports for itself only"),
            (None, None) if receipt.run.is_none() => faults.add(at, "is needed beside a notification_id"),
            _ => {}
        }
        // A run that is none of ours names no push; without notification and reference nothing is looked for.
        let foreign = receipt.run == Some(None);
        items.push(ReceiptItem {
            app_scope,
            device_scope,
            notification_id: receipt.notification_id.filter(|_| !foreign),
            reference: receipt.run.flatten(),
            device: receipt.device.or_else(|| own.map(str::to_owned)),
            event: receipt.event,
            at: receipt.at,
            action: receipt.action,
        });
    }
    Ok(faults.into_result(items)?)
}

/// The apps that a server key is limited to; none when it is for all.
async fn app_keys(ingest: &Ingest, caller: &Caller) -> Result<Option<Vec<AppKey>>, Refusal> {
    let Caller::Server { tenant, apps: Some(apps), .. } = caller else { return Ok(None) };
    let mut keys = Vec::with_capacity(apps.len());
    for app in apps {
        match ingest.app(tenant.key, app).await {
            Ok(found) => keys.push(found.app_key),
            Err(refusal) if refusal.code == Some(ErrorCode::NotFound) => {}
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(Some(keys))
}
