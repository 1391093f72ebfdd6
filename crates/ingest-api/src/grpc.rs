//! gRPC: the same calls as REST, on a port of their own, with reflection and health.

mod call;
mod devices;
mod limit;
mod listing;
mod notifications;
mod refuse;
mod time;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use carillon_domain::limits;
use carillon_runtime::{Scope, StartError};
use carillon_wire::public::devices_server::DevicesServer;
use carillon_wire::public::notifications_server::NotificationsServer;
use tokio::net::TcpListener;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tower::util::MapResponseLayer;

use crate::config::Grpc;
use crate::ingest::Shared;
use devices::Devices;
use limit::Limit;
use notifications::Notifications;

/// How long open calls may take when the process stops.
const GRACE: Duration = Duration::from_secs(10);
/// Streams of one connection.
const STREAMS: u32 = 128;
/// Bytes of a call's metadata.
const HEADER_BYTES: u32 = 16 * 1024;

/// Binds the port and serves until the process stops.
pub(crate) async fn start(config: &Grpc, ingest: Shared, scope: &Scope) -> Result<SocketAddr, StartError> {
    let listener = TcpListener::bind(config.listen).await.map_err(|error| {
        let setting = format!("grpc.listen = {} cannot be bound; CARILLON_GRPC__LISTEN chooses another", config.listen);
        StartError::because(setting, error)
    })?;
    let address = listener.local_addr()?;
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(carillon_wire::PUBLIC_DESCRIPTOR)
    };
    // Tools of some age ask for the version before.
    let (reflection, older_reflection) = (described().build_v1()?, described().build_v1alpha()?);
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<NotificationsServer<Notifications>>().await;
    health.set_serving::<DevicesServer<Devices>>().await;
    let limit = Limit(Arc::clone(&ingest.rate));
    let notifications =
        NotificationsServer::new(Notifications(ingest.clone())).max_decoding_message_size(limits::BATCH_BODY_BYTES);
    let notifications = InterceptedService::new(notifications, limit.clone());
    let devices = DevicesServer::new(Devices(ingest)).max_decoding_message_size(limits::BODY_BYTES);
    let devices = InterceptedService::new(devices, limit);
    let server = Server::builder()
        .max_concurrent_streams(STREAMS)
        .http2_max_header_list_size(HEADER_BYTES)
        .http2_max_pending_accept_reset_streams(Some(20))
        .http2_max_local_error_reset_streams(Some(1024))
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .layer(MapResponseLayer::new(refuse::said_by_transport))
        .add_service(health_service)
        .add_service(reflection)
        .add_service(older_reflection)
        .add_service(notifications)
        .add_service(devices);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let stopping = scope.stopping();
    scope.spawn_helper("grpc health", async move {
        stopping.cancelled().await;
        health.set_not_serving::<NotificationsServer<Notifications>>().await;
        health.set_not_serving::<DevicesServer<Devices>>().await;
    });
    scope.serve("grpc", GRACE, |stopping| server.serve_with_incoming_shutdown(incoming, stopping.cancelled_owned()));
    Ok(address)
}
