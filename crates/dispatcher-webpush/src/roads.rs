//! The ways to push services: HTTP/2, and HTTP/1.1 for those that speak nothing newer.
//!
//! The big ones all speak HTTP/2. A server of one's own (UnifiedPush) may not; it then either refuses TLS for want of a
//! common protocol, or chooses none.

use carillon_egress::{
    ConnectError, Guard, HttpClient, Origin, PoolCache, Request, RequestError, Response, Trust, TrustError,
};
use http::HeaderMap;
use rustls::AlertDescription::NoApplicationProtocol;

use crate::config::WebpushConfig;
use crate::endpoint::Endpoint;

pub(crate) struct Roads {
    http2: PoolCache,
    http1: HttpClient,
    pub(crate) guard: Guard,
}

impl Roads {
    pub(crate) fn new(config: &WebpushConfig, trust: &Trust) -> Result<Self, TrustError> {
        let guard = Guard::new(config.allow_hosts.clone());
        Ok(Self {
            http2: PoolCache::new(config.origins, config.pool(), trust, guard.clone())?,
            http1: HttpClient::guarded(config.http(), trust, guard.clone())?,
            guard,
        })
    }

    /// Sends one request. `replace` overwrites entries of `headers`.
    pub(crate) async fn request(&self, to: &Endpoint, request: Request<'_>) -> Result<Response, RequestError> {
        match self.over_http2(&to.origin, request.clone()).await {
            Err(RequestError::Connect(error)) if is_old(&error) => self.over_http1(to, request).await,
            answered => answered,
        }
    }

    async fn over_http2(&self, to: &Origin, request: Request<'_>) -> Result<Response, RequestError> {
        let invalid = |_| RequestError::NotSent(carillon_egress::NotSent::Invalid);
        self.http2.get(to).map_err(invalid)?.request(request).await
    }

    async fn over_http1(&self, to: &Endpoint, request: Request<'_>) -> Result<Response, RequestError> {
        let mut headers: HeaderMap = request.headers.clone();
        for (name, value) in request.replace {
            headers.insert(name.clone(), value.clone());
        }
        let mut whole = http::Request::new(request.body);
        *whole.method_mut() = request.method.clone();
        *whole.uri_mut() = to.uri.clone();
        *whole.headers_mut() = headers;
        self.http1.send(whole).await
    }

    /// Connections that are open now, those of HTTP/1.1 not counted.
    pub(crate) fn connections(&self) -> usize {
        self.http2.pools().iter().map(|pool| pool.stats().connections).sum()
    }
}

/// Whether the peer is there, and only too old.
fn is_old(error: &ConnectError) -> bool {
    match error {
        ConnectError::NoHttp2 => true,
        ConnectError::Tls(error) => {
            let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            matches!(tls, Some(rustls::Error::AlertReceived(NoApplicationProtocol)))
        }
        _ => false,
    }
}
