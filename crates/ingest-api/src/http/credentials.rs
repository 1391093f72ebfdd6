//! `/v1/apps/{app}/credentials/{platform}`: what the providers know an app by.

use axum::Json;
use axum::extract::{FromRequest as _, Path, Request, State};
use carillon_domain::fault::ErrorCode;
use carillon_domain::ids::{AppKey, TenantKey};
use carillon_domain::platform::Platform;
use carillon_store::{App, Changed, Credential, NewCredential};
use carillon_vault::Context;
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::authorize::TenantCaller;
use super::body::Body;
use super::problem::Problem;
use crate::auth::TenantRef;
use crate::credentials::{Apns, Checked, Fcm, KeyPair, WebPush};
use crate::ingest::{Ingest, Shared};
use crate::refusal::Refusal;

/// Two that put a credential at the same time want the same version number; one of them tries again.
const TRIES: usize = 3;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(put, get, delete))
}

/// A credential, of which the secret is never shown again.
#[derive(Debug, Serialize, ToSchema)]
struct CredentialAnswer {
    /// For which platform.
    platform: &'static str,
    /// `ok`, `expiring`, `suspended` or `unverified`.
    status: String,
    /// Why, when it is not `ok`.
    reason: Option<String>,
    /// When it ends by itself.
    expires_at: Option<Timestamp>,
    /// When a provider last told something about it.
    checked_at: Option<Timestamp>,
    /// SHA-256 of the public half of its key.
    fingerprint: String,
    /// What may be shown of it: ids, and for Web Push the public key.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    facts: Map<String, Value>,
}

impl From<Credential> for CredentialAnswer {
    fn from(credential: Credential) -> Self {
        let facts = match credential.facts {
            Value::Object(facts) => facts,
            _ => Map::new(),
        };
        Self {
            platform: credential.platform.as_str(),
            status: credential.status,
            reason: credential.reason,
            expires_at: credential.expires_at,
            checked_at: credential.checked_at,
            fingerprint: credential.fingerprint,
            facts,
        }
    }
}

/// A credential to be kept: the fields of one platform.
#[derive(ToSchema)]
#[allow(dead_code, reason = "the form of the document; each platform reads its own")]
enum CredentialBody {
    /// A p8 key.
    #[schema(title = "apns")]
    Apns {
        /// `token`.
        auth: String,
        /// Ten characters.
        key_id: String,
        /// Ten characters.
        team_id: String,
        /// The app's bundle id.
        bundle_id: String,
        /// The p8 file.
        private_key: String,
    },
    /// A Google service account.
    #[schema(title = "fcm")]
    Fcm {
        /// The service account's file.
        service_account: Value,
    },
    /// A VAPID pair, made when absent.
    #[schema(title = "webpush")]
    WebPush {
        /// `mailto:` or https.
        subject: String,
        /// Base64url, 65 bytes.
        public_key: Option<String>,
        /// Base64url, 32 bytes.
        private_key: Option<String>,
    },
}

/// Keeps a credential, the next version if there is one.
#[utoipa::path(put, path = "/v1/apps/{app}/credentials/{platform}", tag = "apps",
    params(("app" = String, Path), ("platform" = String, Path)), request_body = CredentialBody,
    responses((status = 201, body = CredentialAnswer, description = "the first"), (status = 200, body = CredentialAnswer)))]
async fn put(
    State(ingest): State<Shared>,
    caller: TenantCaller,
    Path((app, platform)): Path<(String, String)>,
    request: Request,
) -> Result<(StatusCode, Json<CredentialAnswer>), Problem> {
    let platform = platform_of(&platform)?;
    let app = ingest.app(caller.tenant.key, &app).await?;
    let wanted = match platform {
        Platform::Apns => Wanted::Checked(Body::<Apns>::from_request(request, &()).await?.0.0),
        Platform::Fcm => {
            let fcm = Body::<Fcm>::from_request(request, &()).await?.0;
            if !fcm.check_token_uri(&ingest.fcm_hosts) {
                let must = "must be https at googleapis.com, or at a host in CARILLON_FCM__ALLOW_HOSTS";
                return Err(Refusal::fault(ErrorCode::CredentialInvalid, "/service_account/token_uri", must).into());
            }
            Wanted::Checked(fcm.checked)
        }
        Platform::Webpush => Wanted::WebPush(Body::<WebPush>::from_request(request, &()).await?.0),
    };
    let kept = keep(&ingest, &caller.tenant, &app, platform, &wanted).await?;
    let status = if kept.version == 1 { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(kept.into())))
}

/// Which credential a platform has.
#[utoipa::path(get, path = "/v1/apps/{app}/credentials/{platform}", tag = "apps",
    params(("app" = String, Path), ("platform" = String, Path)), responses((status = 200, body = CredentialAnswer)))]
async fn get(
    State(ingest): State<Shared>,
    caller: TenantCaller,
    Path((app, platform)): Path<(String, String)>,
) -> Result<Json<CredentialAnswer>, Problem> {
    let (tenant, app, platform) = place(&ingest, &caller, &app, &platform).await?;
    let found = ingest.store.current_credential(tenant, app, platform).await?;
    Ok(Json(found.ok_or_else(Refusal::not_found)?.into()))
}

/// Deletes a platform's credential, all versions of it. With Web Push that is every VAPID pair of the app: a browser's subscription is bound to the
/// pair that it was made with, so all that are registered can never be reached again, unless the pair is put back by who has kept its private key.
/// To change the pair, PUT a new one: the former ones stay in use.
#[utoipa::path(delete, path = "/v1/apps/{app}/credentials/{platform}", tag = "apps",
    params(("app" = String, Path), ("platform" = String, Path)), responses((status = 204, description = "deleted")))]
async fn delete(
    State(ingest): State<Shared>,
    caller: TenantCaller,
    Path((app, platform)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let (tenant, app, platform) = place(&ingest, &caller, &app, &platform).await?;
    let deleted = ingest.store.delete_credential(tenant, app, platform).await?;
    ingest.forget(Changed::Table("credentials"));
    if deleted { Ok(StatusCode::NO_CONTENT) } else { Err(Refusal::not_found().into()) }
}

async fn place(
    ingest: &Ingest,
    caller: &TenantCaller,
    app: &str,
    platform: &str,
) -> Result<(TenantKey, AppKey, Platform), Problem> {
    let platform = platform_of(platform)?;
    let app = ingest.app(caller.tenant.key, app).await?;
    Ok((caller.tenant.key, app.app_key, platform))
}

fn platform_of(text: &str) -> Result<Platform, Refusal> {
    Platform::from_text(text).ok_or_else(Refusal::not_found)
}

/// What a caller wants to be kept.
enum Wanted {
    /// As it is.
    Checked(Checked),
    /// With the pairs that are there.
    WebPush(WebPush),
}

/// Seals for the next version and keeps it.
async fn keep(
    ingest: &Ingest,
    tenant: &TenantRef,
    app: &App,
    platform: Platform,
    wanted: &Wanted,
) -> Result<Credential, Problem> {
    for _ in 0..TRIES {
        let version = ingest.store.last_credential_version(tenant.key, app.app_key, platform).await? + 1;
        let followed;
        let checked = match wanted {
            Wanted::Checked(checked) => checked,
            Wanted::WebPush(webpush) => {
                followed = webpush.after(&pairs(ingest, tenant, app).await?).ok_or_else(Refusal::internal)?;
                &followed
            }
        };
        let context = context(tenant, app, platform, version);
        let secret = checked.secret.expose().as_bytes();
        let sealed = ingest.vault(platform)?.seal(&context, secret).map_err(Refusal::from)?;
        let new = NewCredential {
            platform,
            version,
            sealed: &sealed,
            facts: &checked.facts,
            fingerprint: &checked.fingerprint,
            expires_at: None,
        };
        match ingest.store.insert_credential(tenant.key, app.app_key, &new).await {
            Err(carillon_store::Error::Duplicate(_)) => {}
            kept => {
                let kept = kept?.ok_or_else(Refusal::not_found)?;
                ingest.forget(Changed::Table("credentials"));
                // The credential is kept whatever becomes of this; what it holds up would be tried within a minute anyway.
                if let Err(error) = ingest.store.wake_held(tenant.key, app.app_key, platform).await {
                    tracing::warn!(%error, "what waits for a credential is left to its time");
                }
                return Ok(kept);
            }
        }
    }
    Err(Problem::new(ErrorCode::InvalidState, "Another request was faster."))
}

/// The VAPID pairs of an app, the newest first; none when it has no Web Push credential.
async fn pairs(ingest: &Ingest, tenant: &TenantRef, app: &App) -> Result<Vec<KeyPair>, Refusal> {
    let platform = Platform::Webpush;
    let Some(current) = ingest.store.current_credential(tenant.key, app.app_key, platform).await? else {
        return Ok(Vec::new());
    };
    let context = context(tenant, app, platform, current.version);
    let opened = ingest.vault(platform)?.open(&context, &current.sealed)?;
    KeyPair::all_of_stored(opened.expose()).ok_or_else(Refusal::internal)
}

fn context<'a>(tenant: &'a TenantRef, app: &'a App, platform: Platform, version: i32) -> Context<'a> {
    let version = u64::from(version.unsigned_abs());
    Context { tenant: &tenant.id, app: Some(&app.app), kind: platform.as_str(), version }
}
