//! `/v1/tenants/{tenant}/amqp-users`: which users of the broker may publish events for a tenant.

use axum::Json;
use axum::extract::{Path, State};
use carillon_domain::fault::ErrorCode;
use carillon_store::Changed;
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::Body;
use super::problem::Problem;
use super::{keys, tenants};
use crate::ingest::Shared;
use crate::json::{FromJson, Object};
use crate::refusal::Refusal;

/// Bytes of a user's name: AMQP 0-9-1 carries it in a short string.
const NAME_BYTES: usize = 255;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(put, delete))
}

/// What a user of the broker may do.
#[derive(Debug, ToSchema)]
struct AmqpUserBody {
    /// `send`, `devices`, `read`, `admin`; at least one.
    scopes: Vec<String>,
    /// The only apps it may touch; all without.
    apps: Option<Vec<String>>,
}

impl FromJson for AmqpUserBody {
    fn from_json(object: &mut Object<'_>) -> Option<Self> {
        let (scopes, apps) = (keys::scopes(object), keys::apps(object));
        Some(Self { scopes: scopes?, apps })
    }
}

/// A user of the broker that speaks for a tenant.
#[derive(Debug, Serialize, ToSchema)]
struct AmqpUserAnswer {
    /// Its name in the broker.
    user: String,
    /// What it may do.
    scopes: Vec<String>,
    /// The only apps it may touch; null for all.
    apps: Option<Vec<String>>,
    /// When it was mapped.
    created_at: Timestamp,
}

/// Lets a user of the broker publish events for a tenant.
#[utoipa::path(put, path = "/v1/tenants/{tenant}/amqp-users/{user}", tag = "operator",
    params(("tenant" = String, Path), ("user" = String, Path)), request_body = AmqpUserBody,
    responses((status = 201, body = AmqpUserAnswer, description = "made"), (status = 200, body = AmqpUserAnswer)))]
async fn put(
    State(ingest): State<Shared>,
    Path((tenant, user)): Path<(String, String)>,
    Body(body): Body<AmqpUserBody>,
) -> Result<(StatusCode, Json<AmqpUserAnswer>), Problem> {
    if !is_user(&user) {
        let must = "must be 1-255 bytes of printable characters";
        return Err(Refusal::fault(ErrorCode::InvalidRequest, "/path/user", must).into());
    }
    let tenant = tenants::find(&ingest.store, &tenant).await?;
    let put = ingest.store.put_amqp_user(tenant.tenant_key, &user, &body.scopes, body.apps.as_deref()).await?;
    ingest.forget(Changed::Table("amqp_users"));
    let Some((created_at, new)) = put else {
        return Err(Problem::new(ErrorCode::InvalidState, "This user of the broker speaks for another tenant."));
    };
    let answer = AmqpUserAnswer { user, scopes: body.scopes, apps: body.apps, created_at };
    Ok((if new { StatusCode::CREATED } else { StatusCode::OK }, Json(answer)))
}

/// Takes a user of the broker the right to publish for the tenant.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/amqp-users/{user}", tag = "operator",
    params(("tenant" = String, Path), ("user" = String, Path)), responses((status = 204, description = "forgotten")))]
async fn delete(
    State(ingest): State<Shared>,
    Path((tenant, user)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let tenant = tenants::find(&ingest.store, &tenant).await?;
    if !is_user(&user) || !ingest.store.delete_amqp_user(tenant.tenant_key, &user).await? {
        return Err(Refusal::not_found().into());
    }
    ingest.forget(Changed::Table("amqp_users"));
    Ok(StatusCode::NO_CONTENT)
}

fn is_user(text: &str) -> bool {
    (1..=NAME_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}
