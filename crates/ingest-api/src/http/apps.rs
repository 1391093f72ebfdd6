//! `/v1/apps`.

use axum::Json;
use axum::extract::{Path, State};
use carillon_domain::fault::Faults;
use carillon_domain::ids::check_slug;
use carillon_domain::limits;
use carillon_domain::platform::Platform;
use carillon_store::{App, AppSettings, Changed};
use carillon_vault::{ApiKey, ApiKeyKind};
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
use super::{settings, tenants};
use crate::auth::Caller;
use crate::ingest::Shared;
use crate::json::{FromJson, Object};
use crate::refusal::Refusal;

/// Web origins of one app.
const ORIGINS: usize = 50;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(put, get, delete)).routes(routes!(client))
}

/// An app's settings. A PUT replaces all of them: what is absent gets its default.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "the form of the document; it is read into AppSettings")]
struct AppBody {
    /// A name for people.
    name: Option<String>,
    /// https URL of its icon.
    icon_url: Option<String>,
    /// Off refuses registrations and sends, and deactivates the devices; on without.
    push_enabled: Option<bool>,
    /// `required` (default): naming a person takes a signed identity. `optional` is for development.
    identity: Option<String>,
    /// Web origins that may call with the app's public key, such as `https://shop.example`; any without.
    allowed_origins: Option<Vec<String>>,
    /// BCP 47 locale of its base texts.
    default_locale: Option<String>,
}

#[derive(Debug)]
struct AppForm(AppSettings);

impl FromJson for AppForm {
    const MAY_BE_ABSENT: bool = true;

    fn from_json(object: &mut Object<'_>) -> Option<Self> {
        Some(Self(AppSettings {
            name: object.opt_text("name", limits::DEVICE_TEXT_BYTES),
            icon_url: object.parsed("icon_url", "must be an https URL of at most 2048 characters", |text| {
                is_https(text).then(|| text.to_owned())
            }),
            push_enabled: object.boolean("push_enabled").unwrap_or(true),
            identity_required: object
                .parsed("identity", "must be required or optional", |text| match text {
                    "required" => Some(true),
                    "optional" => Some(false),
                    _ => None,
                })
                .unwrap_or(true),
            allowed_origins: origins(object).unwrap_or_default(),
            default_locale: settings::locale(object, "default_locale"),
        }))
    }
}

fn origins(object: &mut Object<'_>) -> Option<Vec<String>> {
    let items = object.list("allowed_origins", ORIGINS)?;
    let origin = |item: &crate::json::Item<'_>| {
        let text = item.text(limits::SHORT_TEXT_BYTES)?;
        if !is_origin(&text) {
            item.fault("must be scheme://host or scheme://host:port in lower case, without a path");
        }
        Some(text)
    };
    items.iter().map(origin).collect()
}

fn is_https(text: &str) -> bool {
    let uri = text.parse::<http::Uri>().ok();
    text.len() <= limits::URL_BYTES
        && uri.is_some_and(|uri| uri.scheme_str() == Some("https") && uri.host().is_some_and(|host| !host.is_empty()))
}

/// As browsers write it into the header `Origin` (RFC 6454, section 6.2).
fn is_origin(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let host_only = rest.parse::<http::uri::Authority>().is_ok_and(|a| a.as_str() == rest && !a.host().is_empty());
    let plain = !rest.contains(['@', '/', '?', '#', '*']) && text.bytes().all(|b| !b.is_ascii_uppercase());
    matches!(scheme, "https" | "http") && host_only && plain
}

/// An app.
#[derive(Debug, Serialize, ToSchema)]
struct AppAnswer {
    /// Its id.
    app: String,
    /// A name for people.
    name: Option<String>,
    /// URL of its icon.
    icon_url: Option<String>,
    /// The switch.
    push_enabled: bool,
    /// `required` or `optional`.
    identity: &'static str,
    /// Web origins that may call with its public key; any if empty.
    allowed_origins: Vec<String>,
    /// Locale of its base texts.
    default_locale: Option<String>,
    /// The key for the app's copies (`cpk_...`). No secret.
    public_key: String,
    /// When it was made.
    created_at: Timestamp,
}

impl From<App> for AppAnswer {
    fn from(app: App) -> Self {
        Self {
            identity: identity(&app.settings),
            app: app.app,
            name: app.settings.name,
            icon_url: app.settings.icon_url,
            push_enabled: app.settings.push_enabled,
            allowed_origins: app.settings.allowed_origins,
            default_locale: app.settings.default_locale,
            public_key: app.public_key,
            created_at: app.created_at,
        }
    }
}

fn identity(settings: &AppSettings) -> &'static str {
    if settings.identity_required { "required" } else { "optional" }
}

/// What an app's copies need to know.
#[derive(Debug, Serialize, ToSchema)]
struct ClientAnswer {
    /// The app's id.
    app: String,
    /// A name for people.
    name: Option<String>,
    /// URL of its icon.
    icon_url: Option<String>,
    /// `applicationServerKey` for browsers (base64url of an uncompressed P-256 point); null without a Web Push credential.
    vapid_public_key: Option<String>,
    /// Subscriptions that the app may offer.
    topics: Vec<serde_json::Value>,
    /// Locales of the app's texts.
    locales: Vec<String>,
    /// `required` or `optional`.
    identity: &'static str,
}

/// A tenant's apps, newest first.
#[utoipa::path(get, path = "/v1/apps", tag = "apps",
    params(("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<AppAnswer>)))]
async fn list(
    State(ingest): State<Shared>,
    caller: TenantCaller,
    mut query: Query,
) -> Result<Json<Page<AppAnswer>>, Problem> {
    let page = query.page();
    query.finish()?;
    let only = match &caller.caller {
        Caller::Server { apps, .. } => apps.as_deref(),
        _ => None,
    };
    Ok(Json(Page::of(ingest.store.list_apps(caller.tenant.key, only, &page).await?, AppAnswer::from)))
}

/// Makes an app, or replaces its settings; its public key stays.
#[utoipa::path(put, path = "/v1/apps/{app}", tag = "apps", params(("app" = String, Path)), request_body = AppBody,
    responses((status = 201, body = AppAnswer, description = "made"), (status = 200, body = AppAnswer)))]
async fn put(
    State(ingest): State<Shared>,
    caller: TenantCaller,
    Path(app): Path<String>,
    Body(AppForm(settings)): Body<AppForm>,
) -> Result<(StatusCode, Json<AppAnswer>), Problem> {
    let mut faults = Faults::new();
    check_slug(&mut faults, "/path/app", &app);
    faults.into_result(())?;
    let public_key = ApiKey::mint(ApiKeyKind::Public).map_err(Refusal::from)?;
    let (app, new) = ingest.store.put_app(caller.tenant.key, &app, &settings, public_key.expose()).await?;
    ingest.forget(Changed::Table("apps"));
    Ok((if new { StatusCode::CREATED } else { StatusCode::OK }, Json(app.into())))
}

/// One app.
#[utoipa::path(get, path = "/v1/apps/{app}", tag = "apps", params(("app" = String, Path)),
    responses((status = 200, body = AppAnswer)))]
async fn get(
    State(ingest): State<Shared>,
    caller: TenantCaller,
    Path(app): Path<String>,
) -> Result<Json<AppAnswer>, Problem> {
    Ok(Json(App::clone(&*ingest.app(caller.tenant.key, &app).await?).into()))
}

/// Deletes an app with its devices and credentials. A large one takes several calls: each but the last is answered 503.
#[utoipa::path(delete, path = "/v1/apps/{app}", tag = "apps", params(("app" = String, Path)),
    responses((status = 204, description = "deleted")))]
async fn delete(
    State(ingest): State<Shared>,
    caller: TenantCaller,
    Path(app): Path<String>,
) -> Result<StatusCode, Problem> {
    let found = ingest.app(caller.tenant.key, &app).await?;
    tenants::erase_devices(&ingest.store, caller.tenant.key, found.app_key).await?;
    let deleted = ingest.store.delete_app(caller.tenant.key, &app).await?;
    ingest.forget(Changed::Table("apps"));
    if deleted { Ok(StatusCode::NO_CONTENT) } else { Err(Refusal::not_found().into()) }
}

/// What an app's copies need to know, read with the app's public key.
#[utoipa::path(get, path = "/v1/apps/{app}/client", tag = "apps", params(("app" = String, Path)),
    responses((status = 200, body = ClientAnswer)))]
async fn client(
    State(ingest): State<Shared>,
    caller: TenantCaller,
    Path(app): Path<String>,
) -> Result<Json<ClientAnswer>, Problem> {
    let app = ingest.app(caller.tenant.key, &app).await?;
    let vapid = ingest.store.current_credential(caller.tenant.key, app.app_key, Platform::Webpush).await?;
    let vapid_public_key = vapid.and_then(|found| Some(found.facts.get("public_key")?.as_str()?.to_owned()));
    Ok(Json(ClientAnswer {
        app: app.app.clone(),
        name: app.settings.name.clone(),
        icon_url: app.settings.icon_url.clone(),
        vapid_public_key,
        topics: Vec::new(),
        locales: app.settings.default_locale.iter().cloned().collect(),
        identity: identity(&app.settings),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_a_browser_sends() {
        for good in ["https://shop.example", "http://localhost:3000", "https://[::1]:8443"] {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "shop.example",
            "https://",
            "https://Shop.example",
            "https://a/",
            "https://a/b",
            "https://u@a",
            "null",
            "*",
            "ftp://a",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }

    #[test]
    fn an_icon_is_fetched_over_https_only() {
        assert!(is_https("https://cdn.example/i.png?x=1"));
        for bad in ["http://a/i.png", "https:///i.png", "javascript:1", "//a/b", "https://a b"] {
            assert!(!is_https(bad), "{bad}");
        }
    }
}
