//! Asks for every routed request who calls and whether they may, before anything of the body is read.

use axum::RequestExt as _;
use axum::extract::{FromRequestParts, MatchedPath, RawPathParams, Request};
use carillon_domain::fault::{ErrorCode, Faults};
use http::request::Parts;
use http::{HeaderValue, Method, header};

use super::frame::Notes;
use super::problem::Problem;
use super::routes;
use crate::auth::{Caller, TenantRef};
use crate::ingest::Shared;
use crate::refusal::Refusal;

/// Parameters that are named in one answer.
const MOST_PARAMETERS: usize = 20;

/// Puts the caller into the request, where the route has any.
///
/// # Errors
/// Whoever calls may not, or the request names what this key is not for. Where no route matched there is nobody to ask for a key.
pub(super) async fn authorize(ingest: &Shared, request: &mut Request) -> Result<(), Problem> {
    let Some(path) = request.extensions().get::<MatchedPath>().cloned() else { return Ok(()) };
    let access = find(path.as_str(), request.method())?;
    if access.is_public() {
        return Ok(());
    }
    let header = request.headers().get(header::AUTHORIZATION).cloned();
    let caller = ingest.keyring.bearer(header.as_ref().map(HeaderValue::as_bytes)).await?;
    tracing::Span::current().record("caller.kind", caller.kind());
    if !access.admits(&caller) {
        return Err(Problem::new(ErrorCode::Forbidden, format!("This call needs {}.", access.needs())));
    }
    check_path(request, &caller).await?;
    let origin = request.headers().get(header::ORIGIN).cloned();
    check_origin(ingest, origin.as_ref(), &caller).await?;
    check_query(request, path.as_str(), &caller)?;
    request.extensions_mut().insert(caller);
    Ok(())
}

fn find(path: &str, method: &Method) -> Result<routes::Access, Problem> {
    let wanted = if method == Method::HEAD { &Method::GET } else { method };
    if let Some(route) = routes::of_path(path).find(|route| route.method == *wanted) {
        return Ok(route.access);
    }
    let allowed: Vec<&str> = routes::of_path(path).map(|route| route.method.as_str()).collect();
    if allowed.is_empty() {
        tracing::error!(path, "a route is not in the table of who may call what");
        return Err(Refusal::internal().into());
    }
    Err(Problem::method_not_allowed(&allowed.join(", ")))
}

/// The app and the device that the path names must be ones the key is for, whether they exist or not.
async fn check_path(request: &mut Request, caller: &Caller) -> Result<(), Problem> {
    let Ok(parameters) = request.extract_parts::<RawPathParams>().await else {
        return Err(Refusal::not_found().into());
    };
    for (name, value) in &parameters {
        match name {
            "app" => caller.check_app(value)?,
            "device" => caller.check_device(value)?,
            _ => {}
        }
    }
    Ok(())
}

/// Only listings have parameters, and know their own. What stands in the query of any other call was meant for its body, where a `dry_run`
/// that is not read would send, or for an answer that it would not get.
fn check_query(request: &Request, path: &str, caller: &Caller) -> Result<(), Problem> {
    let reads = request.method() == Method::GET || request.method() == Method::HEAD;
    if reads && is_listing(path) {
        return Ok(());
    }
    let names = form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes());
    let pointers = names.take(MOST_PARAMETERS).map(|(name, _)| format!("/query/{}", crate::json::escape(&name)));
    if caller.is_on_a_device() {
        if let Some(notes) = request.extensions().get::<Notes>() {
            notes.ignored(pointers.collect());
        }
        return Ok(());
    }
    let mut faults = Faults::new();
    pointers.for_each(|at| faults.add_code(ErrorCode::UnknownField, at, "is no parameter: this call has none"));
    Ok(faults.into_result(())?)
}

/// Whether a path names many things: its last part is the name of a collection.
fn is_listing(path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    !last.starts_with('{') && !["account", "client"].contains(&last)
}

/// A page in a browser must be one of the app's own, if the app says which those are.
async fn check_origin(ingest: &Shared, origin: Option<&HeaderValue>, caller: &Caller) -> Result<(), Problem> {
    let (Caller::App { tenant, app } | Caller::Device { tenant, app, .. }) = caller else { return Ok(()) };
    let Some(origin) = origin else { return Ok(()) };
    let app = ingest.app(tenant.key, &app.id).await?;
    let allowed = &app.settings.allowed_origins;
    if allowed.is_empty() || allowed.iter().any(|one| one.as_bytes() == origin.as_bytes()) {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::Forbidden, "This web origin is not one of the app's."))
}

/// A caller that works on a tenant's things: its backend, a copy of an app, an installation.
#[derive(Clone, Debug)]
pub(crate) struct TenantCaller {
    pub(crate) caller: Caller,
    pub(crate) tenant: TenantRef,
}

impl<S: Send + Sync> FromRequestParts<S> for TenantCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Caller>().cloned().ok_or_else(Refusal::internal)?;
        let tenant = caller.tenant().cloned().ok_or_else(Refusal::internal)?;
        Ok(Self { caller, tenant })
    }
}

impl From<TenantCaller> for Caller {
    fn from(caller: TenantCaller) -> Self {
        caller.caller
    }
}
