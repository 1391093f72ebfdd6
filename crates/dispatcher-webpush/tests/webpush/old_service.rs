//! A push service that speaks HTTP/1.1 only.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use carillon_dispatch::Verdict;
use carillon_dispatch::conformance::Device;
use carillon_egress::TlsConfig;
use carillon_runtime::{Clock, TestScope};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

use crate::browser::{Browsers, key, open, provider, send};

type Seen = Arc<Mutex<Vec<(String, HeaderMap, usize)>>>;

struct OldService {
    /// Its end is the listener's.
    _scope: TestScope,
    seen: Seen,
    ca: PathBuf,
    port: u16,
}

impl Drop for OldService {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.ca);
    }
}

impl OldService {
    async fn start(alpn: &[&[u8]]) -> Self {
        let scope = TestScope::new("old push service");
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let ca = std::env::temp_dir().join(format!("carillon-old-{}.pem", Uuid::new_v4()));
        std::fs::write(&ca, made.cert.pem()).unwrap();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let mut tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], private)
            .unwrap();
        tls.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Seen::default();
        scope.scope().spawn_helper("listener", listen(listener, TlsAcceptor::from(Arc::new(tls)), Arc::clone(&seen)));
        Self { _scope: scope, seen, ca, port }
    }
}

/// One connection after the other.
async fn listen(listener: TcpListener, tls: TlsAcceptor, seen: Seen) {
    while let Ok((tcp, _)) = listener.accept().await {
        let Ok(wire) = tls.accept(tcp).await else { continue };
        let seen = Arc::clone(&seen);
        let service = service_fn(move |request: Request<Incoming>| {
            let seen = Arc::clone(&seen);
            async move {
                let (head, body) = request.into_parts();
                let length = body.collect().await.unwrap().to_bytes().len();
                seen.lock().unwrap().push((head.uri.to_string(), head.headers, length));
                let mut response = Response::new(Full::new(Bytes::new()));
                *response.status_mut() = StatusCode::CREATED;
                Ok::<_, Infallible>(response)
            }
        });
        let _ended = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(wire), service).await;
    }
}

#[tokio::test]
async fn a_service_without_http2_is_reached_whether_it_says_so_or_breaks_off() {
    let browsers = Browsers::start().await;
    let device = browsers.device().await;
    for alpn in [[].as_slice(), [b"http/1.1".as_slice()].as_slice()] {
        let old = OldService::start(alpn).await;
        let tls = TlsConfig { extra_ca: vec![old.ca.clone()] };
        let webpush = provider(format!("localhost:{}", old.port).parse().unwrap(), tls, Clock::system());
        let device = Device { token: format!("https://localhost:{}/up/7?x=1", old.port), ..device.clone() };
        let key = open(&webpush, &key());
        for _ in 0..3 {
            assert_eq!(send(&webpush, &key, &device).await, Verdict::Sent { provider_id: None }, "{alpn:?}");
        }
        {
            let seen = old.seen.lock().unwrap();
            assert_eq!(seen.len(), 3);
            let (uri, headers, length) = &seen[0];
            assert_eq!(uri, "/up/7?x=1");
            assert_eq!((length - 86 - 16) % 128, 0, "a padded record between header and tag");
            assert_eq!([&headers["ttl"], &headers["content-encoding"]], ["3600", "aes128gcm"]);
            assert!(headers["authorization"].to_str().unwrap().starts_with("vapid t="));
        }
    }
}
