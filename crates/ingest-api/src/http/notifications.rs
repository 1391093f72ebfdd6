//! `/v1/notifications`: sending, and what became of it.

mod body;
mod deliveries;
mod request;
mod view;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use carillon_domain::fault::ErrorCode;
use carillon_domain::ids::NotificationId;
use carillon_domain::notification::State as Stands;
use carillon_store::NotificationFilter;
use http::{HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::authorize::TenantCaller;
use super::devices::parsed;
use super::idempotency::IdempotencyKey;
use super::problem::Problem;
use super::query::{Page, Query};
use super::request_id::RequestId;
use crate::accept::{self, Accepted, Api, Wish};
use crate::auth::{Caller, TenantRef};
use crate::bodies::draft::{self, one_of};
use crate::ingest::{Ingest, Shared};
use crate::json::parse;
use crate::refusal::Refusal;
use body::{Batch, RawJson, Single};
use request::{BatchRequest, NotificationRequest};
use view::{Answer, BatchAnswer, Notification, Receipt};

const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(send, list))
        .routes(routes!(send_batch))
        .routes(routes!(get))
        .routes(routes!(cancel))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .merge(deliveries::routes())
}

/// Accepts a notification: 202 means that it is committed.
#[utoipa::path(
    post, path = "/v1/notifications", tag = "notifications",
    params(("Idempotency-Key" = Option<String>, Header, description = "1-255 printable ASCII characters, kept 30 days")),
    request_body = NotificationRequest,
    responses((status = 202, body = Receipt), (status = 200, body = Receipt, description = "dry_run"),
              (status = 409, description = "push_disabled, idempotency_in_progress"),
              (status = 422, description = "invalid_request, unknown_field, payload_too_large, idempotency_conflict"))
)]
async fn send(
    State(ingest): State<Shared>,
    TenantCaller { caller, .. }: TenantCaller,
    IdempotencyKey(key): IdempotencyKey,
    body: RawJson<Single>,
) -> Result<Response, Problem> {
    let sent = draft::read(&body.bytes, ingest.clock.now())?;
    if sent.dry_run {
        let rehearsed = accept::rehearse(&ingest, &caller, &sent.notification).await?;
        return Ok(Json(Receipt::rehearsed(&rehearsed)).into_response());
    }
    let accepted = accept::send(&ingest, Api::Rest, &caller, sent.notification, key).await?;
    let mut response = (StatusCode::ACCEPTED, Json(Receipt::of(&accepted))).into_response();
    if accepted.replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Accepts up to 1,000 notifications, each by itself: each has its own idempotency key and its own answer.
#[utoipa::path(
    post, path = "/v1/notifications:batch", tag = "notifications",
    request_body = BatchRequest,
    responses((status = 200, body = BatchAnswer), (status = 422, description = "invalid_request"))
)]
async fn send_batch(
    State(ingest): State<Shared>,
    TenantCaller { caller, .. }: TenantCaller,
    axum::Extension(RequestId(request_id)): axum::Extension<RequestId>,
    IdempotencyKey(key): IdempotencyKey,
    body: RawJson<Batch>,
) -> Result<Json<BatchAnswer>, Problem> {
    if key.is_some() {
        let each = "is each item's own: give `idempotency_key` in the items";
        return Err(Refusal::fault(ErrorCode::InvalidRequest, "/headers/Idempotency-Key", each).into());
    }
    let items = body::read_batch(&parse(&body.bytes)?, ingest.clock.now())?;
    let answers = accept::send_all(&ingest, Api::Rest, &caller, items).await;
    let answers = answers.into_iter().map(|answer| Answer::of(answer, &request_id)).collect();
    Ok(Json(BatchAnswer { answers }))
}

/// Notifications, the newest first.
#[utoipa::path(
    get, path = "/v1/notifications", tag = "notifications",
    params(
        ("app" = Option<String>, Query), ("state" = Option<String>, Query), ("reference" = Option<String>, Query),
        ("user_id" = Option<String>, Query), ("from" = Option<String>, Query, description = "RFC 3339, accepted then or later"),
        ("to" = Option<String>, Query, description = "RFC 3339, accepted before"),
        ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = Page<Notification>))
)]
async fn list(
    State(ingest): State<Shared>,
    TenantCaller { caller, tenant }: TenantCaller,
    mut query: Query,
) -> Result<Json<Page<Notification>>, Problem> {
    let app = query.filter("app");
    let filter = NotificationFilter {
        apps: apps_of(&caller, app.as_deref())?,
        state: parsed(&mut query, "state", &one_of(&Stands::texts()), Stands::from_text),
        reference: query.filter("reference"),
        user_id: query.filter("user_id"),
        from: bound(&mut query, "from"),
        to: bound(&mut query, "to"),
    };
    let page = query.page();
    let nothing = query.fits_nothing();
    query.finish()?;
    if nothing {
        return Ok(Json(Page::empty()));
    }
    let listed = ingest.store.list_notifications(tenant.key, &filter, &page).await?;
    Ok(Json(Page::of(listed, Notification::of)))
}

fn bound(query: &mut Query, name: &str) -> Option<Timestamp> {
    let bound = query.one(name)?.parse().ok();
    if bound.is_none() {
        query.fault(name, "must be an RFC 3339 time with its offset, such as 2026-12-01T09:00:00Z");
    }
    bound
}

/// One notification with its counts, all of one moment.
#[utoipa::path(
    get, path = "/v1/notifications/{id}", tag = "notifications", params(("id" = String, Path)),
    responses((status = 200, body = Notification), (status = 404, description = "not_found"))
)]
async fn get(
    State(ingest): State<Shared>,
    TenantCaller { caller, tenant }: TenantCaller,
    Path(id): Path<String>,
) -> Result<Json<Notification>, Problem> {
    let found = ingest.store.get_notification(tenant.key, read_id(&id)?, only(&caller)).await?;
    Ok(Json(Notification::of(found.ok_or_else(Refusal::not_found)?)))
}

/// Stops what was not sent yet. What is at a provider already arrives.
#[utoipa::path(
    post, path = "/v1/notifications/{id}/cancel", tag = "notifications", params(("id" = String, Path)),
    responses((status = 200, body = Notification), (status = 404, description = "not_found"),
              (status = 409, description = "invalid_state: it is finished"))
)]
async fn cancel(
    State(ingest): State<Shared>,
    TenantCaller { caller, tenant }: TenantCaller,
    Path(id): Path<String>,
) -> Result<Json<Notification>, Problem> {
    steered(&ingest, Wish::Cancel, &caller, &tenant, &id).await
}

/// Stops sending for a while, within 2 seconds: what is at a provider already arrives, nothing else goes out, and cascades neither fire nor
/// count down. The time to live runs on. What is scheduled may be paused too, and keeps its time. Pausing twice is fine.
#[utoipa::path(
    post, path = "/v1/notifications/{id}/pause", tag = "notifications", params(("id" = String, Path)),
    responses((status = 200, body = Notification), (status = 404, description = "not_found"),
              (status = 409, description = "invalid_state: it is finished or cancelled"))
)]
async fn pause(
    State(ingest): State<Shared>,
    TenantCaller { caller, tenant }: TenantCaller,
    Path(id): Path<String>,
) -> Result<Json<Notification>, Problem> {
    steered(&ingest, Wish::Pause, &caller, &tenant, &id).await
}

/// Goes on where a pause stopped it. What is scheduled waits for its time; what missed it goes out at once; what outlived its time to live
/// ends as expired. Resuming what is not paused changes nothing.
#[utoipa::path(
    post, path = "/v1/notifications/{id}/resume", tag = "notifications", params(("id" = String, Path)),
    responses((status = 200, body = Notification), (status = 404, description = "not_found"),
              (status = 409, description = "invalid_state: it is finished or cancelled"))
)]
async fn resume(
    State(ingest): State<Shared>,
    TenantCaller { caller, tenant }: TenantCaller,
    Path(id): Path<String>,
) -> Result<Json<Notification>, Problem> {
    steered(&ingest, Wish::Resume, &caller, &tenant, &id).await
}

/// Does what is wished, and shows the notification as it stands then.
async fn steered(
    ingest: &Ingest,
    wish: Wish,
    caller: &Caller,
    tenant: &TenantRef,
    id: &str,
) -> Result<Json<Notification>, Problem> {
    let id = read_id(id)?;
    accept::steer(ingest, wish, tenant, id, only(caller)).await?;
    let found = ingest.store.get_notification(tenant.key, id, only(caller)).await?;
    Ok(Json(Notification::of(found.ok_or_else(Refusal::not_found)?)))
}

/// What is no id names nothing.
fn read_id(text: &str) -> Result<NotificationId, Problem> {
    Ok(Uuid::parse_str(text).map(NotificationId).map_err(|_| Refusal::not_found())?)
}

/// The apps that a caller's key is for, where it is not for all.
pub(crate) fn only(caller: &Caller) -> Option<&[String]> {
    match caller {
        Caller::Server { apps, .. } => apps.as_deref(),
        _ => None,
    }
}

/// The apps of a listing: the one asked for, else all that the key is for.
pub(crate) fn apps_of(caller: &Caller, asked: Option<&str>) -> Result<Option<Vec<String>>, Refusal> {
    match asked {
        Some(app) => {
            caller.check_app(app)?;
            Ok(Some(vec![app.to_owned()]))
        }
        None => Ok(only(caller).map(<[String]>::to_vec)),
    }
}
