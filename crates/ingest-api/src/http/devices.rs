//! `/v1/apps/{app}/devices`: installations.

mod view;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use carillon_domain::device::DeviceState;
use carillon_domain::phone::Phone;
use carillon_domain::platform::{Os, Platform};
use carillon_store::DeviceFilter;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::authorize::TenantCaller;
use super::body::Body;
use super::problem::Problem;
use super::query::{Page, Query};
use crate::bodies::device::DeviceBody;
use crate::bodies::draft::one_of;
use crate::ingest::Shared;
use crate::registering::{self, Mode, Registration};
use view::{Device, DeviceRequest};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(put, get, patch, delete)).routes(routes!(list)).routes(routes!(unlink))
}

/// Registers a device or changes it: absent fields stay, null clears (RFC 7396).
///
/// With the app's public key only a device that does not exist is made, and the answer carries its own key, once.
#[utoipa::path(
    put, path = "/v1/apps/{app}/devices/{device}", tag = "devices",
    params(("app" = String, Path), ("device" = String, Path, description = "1-128 of A-Za-z0-9._:@+-")),
    request_body = DeviceRequest,
    responses((status = 200, body = Device), (status = 201, body = Device),
              (status = 409, description = "device_exists, push_disabled"), (status = 422, description = "invalid_request"))
)]
async fn put(
    State(ingest): State<Shared>,
    TenantCaller { caller, .. }: TenantCaller,
    Path((app, device)): Path<(String, String)>,
    headers: HeaderMap,
    Body(body): Body<DeviceBody>,
) -> Result<Response, Problem> {
    let key = key_hash(&headers);
    let done = registering::register(&ingest, &caller, (&app, &device), body, Mode::Put, key).await?;
    Ok(answer(done, &app))
}

/// Changes a device that exists: absent fields stay, null clears (RFC 7396).
#[utoipa::path(
    patch, path = "/v1/apps/{app}/devices/{device}", tag = "devices",
    params(("app" = String, Path), ("device" = String, Path)),
    request_body = DeviceRequest,
    responses((status = 200, body = Device), (status = 404, description = "not_found"),
              (status = 409, description = "push_disabled"), (status = 422, description = "invalid_request"))
)]
async fn patch(
    State(ingest): State<Shared>,
    TenantCaller { caller, .. }: TenantCaller,
    Path((app, device)): Path<(String, String)>,
    headers: HeaderMap,
    Body(body): Body<DeviceBody>,
) -> Result<Response, Problem> {
    let key = key_hash(&headers);
    let done = registering::register(&ingest, &caller, (&app, &device), body, Mode::Change, key).await?;
    Ok(answer(done, &app))
}

/// One device; an invalid one too.
#[utoipa::path(
    get, path = "/v1/apps/{app}/devices/{device}", tag = "devices",
    params(("app" = String, Path), ("device" = String, Path)),
    responses((status = 200, body = Device), (status = 404, description = "not_found"))
)]
async fn get(
    State(ingest): State<Shared>,
    TenantCaller { caller, .. }: TenantCaller,
    Path((app, device)): Path<(String, String)>,
) -> Result<Json<Device>, Problem> {
    let found = registering::find(&ingest, &caller, (&app, &device)).await?;
    Ok(Json(Device::of(found, &app)))
}

/// Forgets a device. Its token stays valid at its provider.
#[utoipa::path(
    delete, path = "/v1/apps/{app}/devices/{device}", tag = "devices",
    params(("app" = String, Path), ("device" = String, Path)),
    responses((status = 204), (status = 404, description = "not_found"))
)]
async fn delete(
    State(ingest): State<Shared>,
    TenantCaller { caller, .. }: TenantCaller,
    Path((app, device)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    registering::forget(&ingest, &caller, (&app, &device)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Logs out: the device stays, the person is taken off it.
#[utoipa::path(
    post, path = "/v1/apps/{app}/devices/{device}/unlink", tag = "devices",
    params(("app" = String, Path), ("device" = String, Path)),
    responses((status = 200, body = Device), (status = 404, description = "not_found"))
)]
async fn unlink(
    State(ingest): State<Shared>,
    TenantCaller { caller, .. }: TenantCaller,
    Path((app, device)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Device>, Problem> {
    let done = registering::unlink(&ingest, &caller, (&app, &device), key_hash(&headers)).await?;
    Ok(Json(Device::of(done, &app)))
}

/// Devices of an app, the newest first. Invalid ones are listed only when asked for. While `push_enabled` is off on the app or the account, active
/// ones are inactive (`push_disabled`). A page that is narrowed by platform, os or tag may be short and still have a `next_cursor`.
#[utoipa::path(
    get, path = "/v1/apps/{app}/devices", tag = "devices",
    params(
        ("app" = String, Path), ("user_id" = Option<String>, Query), ("phone" = Option<String>, Query),
        ("platform" = Option<String>, Query), ("os" = Option<String>, Query), ("state" = Option<String>, Query),
        ("tag" = Option<Vec<String>>, Query, description = "repeated: all of them"),
        ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = Page<Device>))
)]
async fn list(
    State(ingest): State<Shared>,
    TenantCaller { caller, .. }: TenantCaller,
    Path(app): Path<String>,
    mut query: Query,
) -> Result<Json<Page<Device>>, Problem> {
    let filter = filter(&mut query);
    let page = query.page();
    let nothing = query.fits_nothing();
    query.finish()?;
    let (tenant, found) = registering::find_app(&ingest, &caller, &app).await?;
    if nothing {
        return Ok(Json(Page::empty()));
    }
    let listed = ingest.store.list_devices(tenant.key, found.app_key, &filter, &page).await?;
    Ok(Json(Page::of(listed, |device| Device::of(device, &app))))
}

fn filter(query: &mut Query) -> DeviceFilter {
    DeviceFilter {
        user_id: query.filter("user_id"),
        phone: parsed(query, "phone", "must be a phone number in E.164", Phone::parse),
        platform: parsed(query, "platform", &one_of(&Platform::texts()), Platform::from_text),
        os: parsed(query, "os", &one_of(&Os::texts()), Os::from_text),
        state: parsed(query, "state", "must be one of active, inactive, invalid", listed_state),
        tags: query.all("tag"),
    }
}

/// What is forgotten is not there.
pub(crate) fn listed_state(text: &str) -> Option<DeviceState> {
    DeviceState::from_text(text).filter(|state| *state != DeviceState::Forgotten)
}

/// A filter of one value that `parse` understands.
pub(super) fn parsed<T>(query: &mut Query, name: &str, must: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    let text = query.filter(name)?;
    let value = parse(&text);
    if value.is_none() {
        query.fault(name, must);
    }
    value
}

/// The hash of the key that the request was authorized with.
pub(super) fn key_hash(headers: &HeaderMap) -> [u8; 32] {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    carillon_vault::hash_key(header.split_once(' ').map_or("", |(_, key)| key.trim()))
}

fn answer(done: Registration, app: &str) -> Response {
    let status = if done.created { StatusCode::CREATED } else { StatusCode::OK };
    let mut device = Device::of(done.device, app);
    device.device_secret = done.secret.map(|secret| secret.expose().to_owned());
    let mut response = (status, Json(device)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
