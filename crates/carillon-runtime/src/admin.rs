//! The admin port: `/livez`, `/readyz`, `/metrics`. Never public.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::readiness::Readiness;

/// Section `admin`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub(crate) struct AdminConfig {
    /// Address and port; port 0 lets the system choose, the chosen one is logged.
    pub(crate) listen: SocketAddr,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([0, 0, 0, 0], 9600)) }
    }
}

/// Binds and serves for as long as the process lives: the drain is watched through it.
pub(crate) async fn open(config: &AdminConfig, readiness: Readiness) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(config.listen).await?;
    let address = listener.local_addr()?;
    let router = router(readiness);
    #[allow(clippy::disallowed_methods, reason = "this is the runtime itself; it must outlive the drain")]
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the admin port ended");
        }
    });
    Ok(address)
}

fn router(readiness: Readiness) -> Router {
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(readiness)
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    let report = readiness.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}

async fn metrics() -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], carillon_telemetry::exposition())
        .into_response()
}
