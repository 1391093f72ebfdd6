//! Every way out to strangers: HTTP/2 pool, plain HTTP client, the guard against internal addresses.
//!
//! * [`Http2Pool`]: a few long-lived HTTP/2 connections to one provider gateway, many streams on each. It says of
//!   every failure whether the request was surely not taken ([`RequestError::NotSent`], [`RequestError::Connect`])
//!   or may have been ([`RequestError::Unknown`]); repeating the second kind can show a notification twice.
//! * [`PoolCache`]: such pools by origin, for Web Push, where every subscription names a server of its own choice.
//! * [`HttpClient`]: one request, one answer, HTTP/1.1 or HTTP/2, for SMS gateways, OAuth and webhooks.
//! * [`Guard`]: what keeps a URL that a stranger gave us from reaching our own network.
//! * [`Trust`]: whom we believe: the system's roots and the operator's own certificate authorities.
//!
//! Nothing here logs a path, a header or a body: they carry device tokens and credentials.

mod client;
mod dial;
mod error;
mod guard;
mod jitter;
mod origin;
mod pool;
mod response;
mod tasks;
mod trust;

pub use client::{HttpClient, HttpConfig};
pub use error::{ConnectError, NotSent, RequestError, Stage, Unknown};
pub use guard::{AllowHosts, Guard, GuardError, HostPort, HostPortError};
pub use origin::{Origin, OriginError, Scheme};
pub use pool::{ConnectionId, Http2Pool, PoolCache, PoolConfig, PoolError, PoolStats, Request};
pub use response::Response;
pub use trust::{ClientIdentity, TlsConfig, Trust, TrustError};
