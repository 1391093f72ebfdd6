//! Whom we believe, and who believes us.

use crate::certificates::{Authority, PemFile, authority, trust};
use crate::gateway::{Act, Gateway, OK, Seen};
use crate::{config, pool, post};
use carillon_egress::{ClientIdentity, ConnectError, Http2Pool, RequestError, TlsConfig, Trust, TrustError};

fn fails_in_tls(answer: Result<carillon_egress::Response, RequestError>) -> bool {
    matches!(answer, Err(RequestError::Connect(ConnectError::Tls(_))))
}

#[tokio::test]
async fn a_server_of_an_extra_authority_is_believed() {
    let gateway = Gateway::start_tls(10, |_| Act::Answer(OK, b"hello".to_vec())).await;
    let answer = post(&pool(&gateway, config()), "x").await.unwrap();
    assert_eq!(&answer.body[..], b"hello");
}

#[tokio::test]
async fn a_server_of_an_unknown_authority_is_refused() {
    let stranger = Authority::new("somebody else");
    let gateway = Gateway::start_with(stranger.server("localhost", &[b"h2"], false)).await;
    assert!(fails_in_tls(post(&pool(&gateway, config()), "x").await));
    assert_eq!(Seen::count(&gateway.seen.connections), 1, "that is no hiccup: it is reported at once");
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let gateway = Gateway::start_with(authority().server("other.example", &[b"h2"], false)).await;
    assert!(fails_in_tls(post(&pool(&gateway, config()), "x").await));
}

#[tokio::test]
async fn a_server_without_http2_is_refused_by_name() {
    let gateway = Gateway::start_with(authority().server("localhost", &[], false)).await;
    let refused = post(&pool(&gateway, config()), "x").await;
    assert!(matches!(refused, Err(RequestError::Connect(ConnectError::NoHttp2))), "{refused:?}");
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_is_shown_the_pools() {
    let gateway = Gateway::start_with(authority().server("localhost", &[b"h2"], true)).await;
    let known = Http2Pool::with_identity(gateway.origin(), config(), trust(), authority().client_identity()).unwrap();
    assert_eq!(post(&known, "x").await.unwrap().status, 200);
    // TLS 1.3 lets the client finish first, so the refusal may show one step later.
    let unknown = post(&pool(&gateway, config()), "x").await.unwrap_err();
    assert!(matches!(unknown, RequestError::Connect(ConnectError::Tls(_) | ConnectError::Http2(_))), "{unknown:?}");
}

#[test]
fn a_key_that_does_not_belong_to_its_certificate_is_refused() {
    assert!(matches!(ClientIdentity::from_pem(b"", b""), Err(TrustError::Identity(_))));
    let own = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&own).unwrap();
    let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let identity = ClientIdentity::from_pem(certificate.pem().as_bytes(), other.as_bytes()).unwrap();
    let origin = "https://localhost:1".parse().unwrap();
    assert!(Http2Pool::with_identity(origin, config(), trust(), identity).is_err());
}

#[test]
fn an_extra_file_without_a_certificate_stops_the_start() {
    let empty = PemFile::new("no certificate here\n");
    let missing = "/nonexistent/authority.pem".into();
    let of = |path: &std::path::PathBuf| Trust::load(&TlsConfig { extra_ca: vec![path.clone()] });
    assert!(matches!(of(&empty.0), Err(TrustError::Empty(path)) if path == empty.0));
    assert!(matches!(of(&missing), Err(TrustError::File { path, .. }) if path == missing));
}

#[test]
fn the_extra_files_are_a_list_or_one_text_with_commas() {
    let expected: Vec<std::path::PathBuf> = vec!["/a.pem".into(), "/b.pem".into()];
    for text in [r#"{"extra_ca": ["/a.pem", "/b.pem"]}"#, r#"{"extra_ca": "/a.pem, /b.pem,"}"#] {
        assert_eq!(serde_json::from_str::<TlsConfig>(text).unwrap().extra_ca, expected);
    }
    assert!(serde_json::from_str::<TlsConfig>("{}").unwrap().extra_ca.is_empty());
    assert!(serde_json::from_str::<TlsConfig>(r#"{"extra": []}"#).is_err(), "unknown keys are refused");
}
