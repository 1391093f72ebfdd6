//! `/v1/notifications/{id}/deliveries`.

use axum::Json;
use axum::extract::{Path, State};
use carillon_domain::delivery_status::Status;
use carillon_store::{DeliveryFilter, DeliveryRow};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::super::authorize::TenantCaller;
use super::super::devices::parsed;
use super::super::query::{Page, Query};
use super::{Problem, only, read_id};
use crate::bodies::draft::one_of;
use crate::deliveries;
use crate::ingest::Shared;
use crate::refusal::Refusal;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list))
}

/// What became of one notification for one device, or of its text message for one person.
#[derive(Serialize, ToSchema)]
struct Delivery {
    id: Uuid,
    /// push, sms.
    channel: &'static str,
    /// 0 = the notification's own pushes, 1 = its cascade's first link.
    link: i16,
    /// Of a device that was named and is not there too.
    device: Option<String>,
    user_id: Option<String>,
    /// Masked.
    phone: Option<String>,
    platform: Option<&'static str>,
    os: Option<&'static str>,
    gateway: Option<String>,
    status: &'static str,
    /// Why it ended as it did; of a queued one `credential`, while the app has none for its platform.
    reason: Option<&'static str>,
    /// provider, device, operator, none.
    evidence: &'static str,
    provider_id: Option<String>,
    history: Vec<Step>,
}

/// What is known since when.
#[derive(Serialize, ToSchema)]
struct Step {
    status: &'static str,
    at: Timestamp,
    reason: Option<&'static str>,
    /// The button of the first click, with `clicked` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<String>,
}

impl Delivery {
    fn of(row: DeliveryRow) -> Self {
        let status = row.evidence.status();
        Self {
            id: deliveries::id(&row),
            channel: deliveries::channel(&row),
            link: row.id.link,
            evidence: deliveries::evidence(&row),
            history: row.steps.iter().map(|(of, at)| step(&row, *of, *at)).collect(),
            device: row.device,
            user_id: row.user_id,
            phone: row.phone.map(|phone| phone.masked()),
            platform: row.platform.map(|platform| platform.as_str()),
            os: row.os.map(|os| os.as_str()),
            gateway: row.gateway,
            status: status.as_str(),
            reason: row.reason.map(|reason| reason.as_str()),
            provider_id: row.provider_id,
        }
    }
}

fn step(row: &DeliveryRow, of: Status, at: Timestamp) -> Step {
    let reason = row.reason.filter(|_| of == row.evidence.status()).map(|reason| reason.as_str());
    Step { status: of.as_str(), at, reason, action: deliveries::action(row, of).map(str::to_owned) }
}

/// Deliveries of a notification, those still queued too.
#[utoipa::path(
    get, path = "/v1/notifications/{id}/deliveries", tag = "notifications",
    params(
        ("id" = String, Path), ("status" = Option<String>, Query), ("channel" = Option<String>, Query, description = "push, sms"),
        ("user_id" = Option<String>, Query), ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = Page<Delivery>), (status = 404, description = "not_found"))
)]
async fn list(
    State(ingest): State<Shared>,
    TenantCaller { caller, tenant }: TenantCaller,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<Json<Page<Delivery>>, Problem> {
    let filter = DeliveryFilter {
        status: parsed(&mut query, "status", &one_of(&Status::texts()), Status::from_text),
        push: parsed(&mut query, "channel", "must be one of push, sms", deliveries::is_push),
        user_id: query.filter("user_id"),
    };
    let page = query.page();
    let nothing = query.fits_nothing();
    query.finish()?;
    let id = read_id(&id)?;
    if nothing {
        let known = ingest.store.has_notification(tenant.key, id, only(&caller)).await?;
        return if known { Ok(Json(Page::empty())) } else { Err(Refusal::not_found().into()) };
    }
    let listed = ingest.store.list_deliveries(tenant.key, id, only(&caller), &filter, &page).await?;
    if listed.items.is_empty() && !ingest.store.has_notification(tenant.key, id, only(&caller)).await? {
        return Err(Refusal::not_found().into());
    }
    Ok(Json(Page::of(listed, Delivery::of)))
}
