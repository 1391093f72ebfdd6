//! `/v1/tenants/{tenant}/keys`: the keys of a tenant's backends. Secrets are shown once, only their hashes are kept.

use axum::Json;
use axum::extract::{Path, State};
use carillon_domain::ids::is_slug;
use carillon_domain::limits;
use carillon_store::{ApiKeyRecord, Changed, NewApiKey, Rotated};
use carillon_vault::{ApiKey, ApiKeyKind};
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::body::Body;
use super::problem::Problem;
use super::query::{Page, Query};
use super::tenants;
use crate::auth::Grant;
use crate::ingest::Shared;
use crate::json::{FromJson, Object};
use crate::refusal::Refusal;
use carillon_domain::fault::ErrorCode;

/// Apps that one key may be limited to.
const APPS: usize = 100;
/// How long the old key lives on after a rotation, in seconds: a day unless said otherwise, four weeks at most.
const OVERLAP: (u32, u32) = (86_400, 28 * 86_400);

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(revoke)).routes(routes!(rotate))
}

/// A key to be made.
#[derive(Debug, ToSchema)]
struct KeyBody {
    /// A name for people.
    name: Option<String>,
    /// What it may do: `send`, `devices`, `read`, `admin`; at least one.
    scopes: Vec<String>,
    /// The only apps it may touch; all without.
    apps: Option<Vec<String>>,
    /// When it ends by itself; never without.
    expires_at: Option<Timestamp>,
}

impl FromJson for KeyBody {
    fn from_json(object: &mut Object<'_>) -> Option<Self> {
        let name = object.opt_text("name", limits::DEVICE_TEXT_BYTES);
        let (scopes, apps) = (scopes(object), apps(object));
        let expires_at = object.time("expires_at");
        Some(Self { name, scopes: scopes?, apps, expires_at })
    }
}

/// Required grants.
pub(super) fn scopes(object: &mut Object<'_>) -> Option<Vec<String>> {
    let items = object.need("scopes", |o, name| o.list(name, Grant::ALL.len()))?;
    if items.is_empty() {
        object.fault("scopes", "must name at least one of send, devices, read, admin");
    }
    let mut scopes: Vec<String> = Vec::new();
    for item in &items {
        match item.value().as_str().and_then(Grant::from_text) {
            Some(grant) if scopes.iter().any(|s| s == grant.as_str()) => item.fault("stands twice"),
            Some(grant) => scopes.push(grant.as_str().to_owned()),
            None => item.fault("must be one of send, devices, read, admin"),
        }
    }
    Some(scopes)
}

/// The apps a key is limited to. They need not exist yet: keys are made before apps.
pub(super) fn apps(object: &mut Object<'_>) -> Option<Vec<String>> {
    let items = object.list("apps", APPS)?;
    if items.is_empty() {
        object.fault("apps", "must name at least one app, or be left out for all");
    }
    let app = |item: &crate::json::Item<'_>| {
        let app = item.text(limits::DEVICE_TEXT_BYTES)?;
        if !is_slug(&app) {
            item.fault("must match [a-z0-9][a-z0-9_-]{0,62}");
        }
        Some(app)
    };
    items.iter().map(app).collect()
}

/// How to rotate.
#[derive(Debug, ToSchema)]
struct RotateBody {
    /// How long the old key lives on, `0s` to `4w`; a day without.
    #[schema(value_type = Option<String>)]
    overlap: u32,
}

impl FromJson for RotateBody {
    const MAY_BE_ABSENT: bool = true;

    fn from_json(object: &mut Object<'_>) -> Option<Self> {
        let overlap = object.duration("overlap").map_or(OVERLAP.0, |seconds| seconds.0);
        if overlap > OVERLAP.1 {
            object.fault("overlap", "must be at most 4w");
        }
        Some(Self { overlap })
    }
}

/// A key without its secret.
#[derive(Debug, Serialize, ToSchema)]
struct KeyAnswer {
    /// Its id.
    key: Uuid,
    /// A name for people.
    name: Option<String>,
    /// What it may do.
    scopes: Vec<String>,
    /// The only apps it may touch; null for all.
    apps: Option<Vec<String>>,
    /// When it was made.
    created_at: Timestamp,
    /// When it ends by itself.
    expires_at: Option<Timestamp>,
    /// When it was revoked.
    revoked_at: Option<Timestamp>,
}

impl From<ApiKeyRecord> for KeyAnswer {
    fn from(key: ApiKeyRecord) -> Self {
        Self {
            key: key.key_id,
            name: key.name,
            scopes: key.scopes,
            apps: key.apps,
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
        }
    }
}

/// A new key: the only time its secret is shown.
#[derive(Serialize, ToSchema)]
struct NewKeyAnswer {
    #[serde(flatten)]
    key: KeyAnswer,
    /// The key itself (`csk_...`). Shown once.
    secret: String,
    /// When the key that it replaces ends; only after a rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    old_expires_at: Option<Timestamp>,
}

/// Makes a key for a tenant's backend.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/keys", tag = "operator", params(("tenant" = String, Path)),
    request_body = KeyBody, responses((status = 201, body = NewKeyAnswer)))]
async fn create(
    State(ingest): State<Shared>,
    Path(tenant): Path<String>,
    Body(body): Body<KeyBody>,
) -> Result<(StatusCode, Json<NewKeyAnswer>), Problem> {
    let tenant = tenants::find(&ingest.store, &tenant).await?;
    if body.expires_at.is_some_and(|end| end <= ingest.clock.now()) {
        return Err(Refusal::fault(ErrorCode::InvalidRequest, "/expires_at", "must lie ahead").into());
    }
    let secret = ApiKey::mint(ApiKeyKind::Server).map_err(Refusal::from)?;
    let new = NewApiKey {
        key_id: Uuid::now_v7(),
        tenant_key: Some(tenant.tenant_key),
        secret_hash: secret.hash(),
        name: body.name.as_deref(),
        scopes: &body.scopes,
        apps: body.apps.as_deref(),
        expires_at: body.expires_at,
    };
    let key = ingest.store.create_api_key(&new).await?.into();
    let answer = NewKeyAnswer { key, secret: secret.expose().to_owned(), old_expires_at: None };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// A tenant's keys, newest first, the ended ones too.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/keys", tag = "operator",
    params(("tenant" = String, Path), ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<KeyAnswer>)))]
async fn list(
    State(ingest): State<Shared>,
    Path(tenant): Path<String>,
    mut query: Query,
) -> Result<Json<Page<KeyAnswer>>, Problem> {
    let page = query.page();
    query.finish()?;
    let tenant = tenants::find(&ingest.store, &tenant).await?;
    Ok(Json(Page::of(ingest.store.list_api_keys(tenant.tenant_key, &page).await?, KeyAnswer::from)))
}

/// Makes a key that may do what this one may, and lets this one end after `overlap`.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/keys/{key}/rotate", tag = "operator",
    params(("tenant" = String, Path), ("key" = Uuid, Path)),
    request_body = RotateBody, responses((status = 201, body = NewKeyAnswer)))]
async fn rotate(
    State(ingest): State<Shared>,
    Path((tenant, key)): Path<(String, String)>,
    Body(body): Body<RotateBody>,
) -> Result<(StatusCode, Json<NewKeyAnswer>), Problem> {
    let key = key_id(&key)?;
    let tenant = tenants::find(&ingest.store, &tenant).await?;
    let secret = ApiKey::mint(ApiKeyKind::Server).map_err(Refusal::from)?;
    let rotated =
        ingest.store.rotate_api_key(tenant.tenant_key, key, Uuid::now_v7(), secret.hash(), body.overlap).await?;
    ingest.forget(Changed::Table("api_keys"));
    match rotated {
        Rotated::Done { new, old_expires_at } => {
            let secret = secret.expose().to_owned();
            let answer = NewKeyAnswer { key: new.into(), secret, old_expires_at: Some(old_expires_at) };
            Ok((StatusCode::CREATED, Json(answer)))
        }
        Rotated::Ended => Err(Problem::new(ErrorCode::InvalidState, "The key is revoked or expired; make a new one.")),
        Rotated::Unknown => Err(Refusal::not_found().into()),
    }
}

/// Revokes a key: dead everywhere within 5 s.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/keys/{key}", tag = "operator",
    params(("tenant" = String, Path), ("key" = Uuid, Path)), responses((status = 204, description = "revoked")))]
async fn revoke(
    State(ingest): State<Shared>,
    Path((tenant, key)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let key = key_id(&key)?;
    let tenant = tenants::find(&ingest.store, &tenant).await?;
    if !ingest.store.revoke_api_key(tenant.tenant_key, key).await? {
        return Err(Refusal::not_found().into());
    }
    ingest.forget(Changed::Table("api_keys"));
    Ok(StatusCode::NO_CONTENT)
}

fn key_id(text: &str) -> Result<Uuid, Problem> {
    Uuid::try_parse(text).map_err(|_| Refusal::not_found().into())
}
