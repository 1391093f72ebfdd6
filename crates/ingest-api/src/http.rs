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
mod surround;
mod tenants;

use std::net::SocketAddr;

use axum::Router;
use axum::middleware::from_fn_with_state;
use carillon_runtime::{Scope, StartError};
use utoipa_axum::router::OpenApiRouter;

pub(crate) use problem::Problem;

use crate::config::Http;
use crate::ingest::Shared;
use surround::{Surroundings, surround};

/// Every resource. A new file adds its line here.
fn resources(document: &openapi::Document) -> OpenApiRouter<Shared> {
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
        .merge(openapi::routes(document))
}

/// The whole public surface.
fn router(config: &Http, ingest: Shared) -> Router {
    let document = openapi::Document::new(config.public_url.clone());
    Router::from(resources(&document))
        .fallback(async || Problem::unknown_route())
        .layer(from_fn_with_state(Surroundings::new(config, ingest.clone()), surround))
        .with_state(ingest)
}

/// Binds the port and serves.
pub(crate) async fn start(config: &Http, ingest: Shared, scope: &Scope) -> Result<SocketAddr, StartError> {
    server::start(config, router(config, ingest), scope).await
}
