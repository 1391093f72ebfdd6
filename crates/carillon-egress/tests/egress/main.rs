//! The ways out against servers of their own: HTTP/2 frame by frame where the peer misbehaves, the h2 crate's server
//! where it behaves, plain sockets for HTTP/1.1.
#![allow(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]
#![allow(clippy::disallowed_methods, reason = "the servers of these tests are tasks of the test itself")]

mod cache;
mod certificates;
mod faults;
mod gateway;
mod graceful;
mod load;
mod plain;
mod tls;

use bytes::Bytes;
use carillon_egress::{Http2Pool, PoolConfig, Request, RequestError, Response};
use http::HeaderMap;
use http::uri::PathAndQuery;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpSocket;

/// Longer than anything here should take, and shorter than what ends a connection that is stuck while it drains.
const PATIENCE: Duration = Duration::from_secs(10);

/// One connection and short times, so that a test sees one cause and one effect.
fn config() -> PoolConfig {
    PoolConfig {
        connections: 1,
        connect_timeout: Duration::from_secs(5),
        backoff_first: Duration::from_millis(10),
        backoff_ceiling: Duration::from_millis(100),
        ..PoolConfig::default()
    }
}

fn pool(gateway: &gateway::Gateway, config: PoolConfig) -> Http2Pool {
    Http2Pool::new(gateway.origin(), config, certificates::trust()).unwrap()
}

async fn post(pool: &Http2Pool, body: &str) -> Result<Response, RequestError> {
    let (path, headers) = (PathAndQuery::from_static("/3/device/00"), HeaderMap::new());
    pool.request(Request::post(&path, &headers, Bytes::copy_from_slice(body.as_bytes()))).await
}

/// A port of our own that refuses connections, until its socket listens.
fn closed_port() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Waits until `holds`, and fails loudly if it never does.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(waited.await.is_ok(), "never happened: {what}");
}
