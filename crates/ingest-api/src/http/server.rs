//! Connections: HTTP/1.1 and HTTP/2, every wait with a deadline, every size with a bound.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use carillon_runtime::{CancellationToken, Scope, StartError};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt as _;

use crate::config::Http;

/// How long open requests may take when the process stops.
const GRACE: Duration = Duration::from_secs(10);
/// The pause after the system refused a connection (out of files).
const AFTER_REFUSAL: Duration = Duration::from_millis(100);
/// Headers of a request.
const HEADERS: usize = 100;
/// Bytes of all headers of a request.
const HEADER_BYTES: usize = 16 * 1024;
/// Streams of one HTTP/2 connection.
const STREAMS: u32 = 128;

/// Binds the port and serves until the process stops.
pub(super) async fn start(config: &Http, router: Router, scope: &Scope) -> Result<SocketAddr, StartError> {
    let listener = TcpListener::bind(config.listen).await.map_err(|error| {
        let setting = format!("http.listen = {} cannot be bound; CARILLON_HTTP__LISTEN chooses another", config.listen);
        StartError::because(setting, error)
    })?;
    let address = listener.local_addr()?;
    let acceptor = Acceptor {
        builder: builder(config),
        router,
        places: Arc::new(Semaphore::new(config.connections.clamp(1, Semaphore::MAX_PERMITS))),
        scope: scope.clone(),
    };
    scope.serve("http", GRACE, |stopping| acceptor.accept(listener, stopping));
    Ok(address)
}

fn builder(config: &Http) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout.get())
        .max_headers(HEADERS)
        .max_buf_size(HEADER_BYTES)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_BYTES as u32)
        .max_pending_accept_reset_streams(Some(20))
        .max_local_error_reset_streams(Some(1024))
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .keep_alive_timeout(Duration::from_secs(10));
    builder
}

struct Acceptor {
    builder: Builder<TokioExecutor>,
    router: Router,
    places: Arc<Semaphore>,
    scope: Scope,
}

impl Acceptor {
    async fn accept(self, listener: TcpListener, stopping: CancellationToken) -> Result<(), Infallible> {
        while let Some(place) = stopping.run_until_cancelled(self.places.clone().acquire_owned()).await {
            let Ok(place) = place else { break };
            let Some(accepted) = stopping.run_until_cancelled(listener.accept()).await else { break };
            match accepted {
                Ok((stream, _)) => self.serve(stream, place),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(AFTER_REFUSAL).await;
                }
            }
        }
        Ok(())
    }

    fn serve(&self, stream: TcpStream, place: OwnedSemaphorePermit) {
        let _ = stream.set_nodelay(true);
        let router = self.router.clone();
        let service = tower::service_fn(move |request: http::Request<hyper::body::Incoming>| {
            router.clone().oneshot(request.map(axum::body::Body::new) as Request)
        });
        let (builder, stopping) = (self.builder.clone(), self.scope.stopping());
        self.scope.spawn_helper("http connection", async move {
            let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                // A connection that ends badly is the caller's affair.
                _ = connection.as_mut() => {}
                () = stopping.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    let _ = tokio::time::timeout(GRACE, connection).await;
                }
            }
            drop(place);
        });
    }
}
