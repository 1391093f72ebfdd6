//! REST: one file per resource under `http/`, and the frame around all of them.

mod account;
mod amqp_users;
mod apps;
mod authorize;
mod body;
mod cors;
mod credentials;
pub(crate) mod devices;
mod frame;
pub(crate) mod idempotency;
mod keys;
mod leftover;
mod limit;
pub(crate) mod notifications;
mod observe;
mod openapi;
mod problem;
pub(crate) mod query;
mod receipts;
mod request_id;
mod routes;
mod server;
mod settings;
mod sms_callbacks;
pub(crate) mod sms_gateways;
mod sms_senders;
mod tenants;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use carillon_runtime::{Scope, StartError};
use utoipa_axum::router::OpenApiRouter;

pub(crate) use problem::Problem;

use crate::config::Http;
use crate::ingest::Shared;

/// Every resource. A new file adds its line here.
fn resources() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(openapi::description())
        .merge(tenants::routes())
        .merge(keys::routes())
        .merge(amqp_users::routes())
        .merge(account::routes())
        .merge(apps::routes())
        .merge(credentials::routes())
        .merge(devices::routes())
        .merge(notifications::routes())
        .merge(receipts::routes())
        .merge(sms_gateways::routes())
        .merge(sms_senders::routes())
        .merge(sms_callbacks::routes())
        .merge(openapi::routes())
}

/// The whole public surface.
fn router(config: &Http, ingest: Shared) -> Router {
    let document = openapi::Document::new(config.public_url.clone());
    Router::from(resources())
        .route_layer(from_fn_with_state(ingest.clone(), authorize::authorize))
        .fallback(async || Problem::unknown_route())
        .layer(axum::Extension(document))
        .layer(from_fn_with_state(frame::Frame::new(config), frame::frame))
        .layer(from_fn(leftover::leftover))
        .layer(from_fn_with_state(Arc::clone(&ingest.rate), limit::limit))
        // Around the limit: a page must be able to read that it is to come back, and a preflight costs no more than its refusal would.
        .layer(from_fn(cors::cors))
        .with_state(ingest)
}

/// Binds the port and serves.
pub(crate) async fn start(config: &Http, ingest: Shared, scope: &Scope) -> Result<SocketAddr, StartError> {
    server::start(config, router(config, ingest), scope).await
}
