//! Clients of the tests' own: nothing here comes from the simulators or from whoever will be judged by them.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test ends where its client cannot go on")]
#![allow(unreachable_pub, reason = "every test file is a crate of its own")]
#![allow(clippy::disallowed_methods, reason = "a client's connection runs beside the test")]

pub mod apns;
pub mod fcm;
pub mod plain;
pub mod webpush;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Nothing in a test may take longer.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A compact token signed by `sign`.
pub fn jwt(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
    let signature = sign(signed.as_bytes());
    format!("{signed}.{}", base64(signature))
}

/// A key pair of ES256.
pub struct Signer {
    pair: ring::signature::EcdsaKeyPair,
    random: ring::rand::SystemRandom,
}

impl Signer {
    pub fn generate() -> Self {
        use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING as ALGORITHM, EcdsaKeyPair};
        let random = ring::rand::SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ALGORITHM, &random).unwrap();
        Self { pair: EcdsaKeyPair::from_pkcs8(&ALGORITHM, document.as_ref(), &random).unwrap(), random }
    }

    /// From the PEM of a .p8 file.
    pub fn from_p8(pem: &str) -> Self {
        use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING as ALGORITHM, EcdsaKeyPair};
        let random = ring::rand::SystemRandom::new();
        let document = rustls::pki_types::PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ALGORITHM, document.secret_pkcs8_der(), &random).unwrap();
        Self { pair, random }
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(&self.random, message).unwrap().as_ref().to_vec()
    }

    /// Uncompressed point.
    pub fn point(&self) -> Vec<u8> {
        use ring::signature::KeyPair;
        self.pair.public_key().as_ref().to_vec()
    }

    /// SubjectPublicKeyInfo, PEM.
    pub fn public_pem(&self) -> String {
        use p256::pkcs8::EncodePublicKey;
        p256::PublicKey::from_sec1_bytes(&self.point()).unwrap().to_public_key_pem(p256::pkcs8::LineEnding::LF).unwrap()
    }
}

/// Host and port of a URL.
pub fn authority(url: &str) -> String {
    let rest = url.split_once("://").unwrap().1;
    rest.split('/').next().unwrap().to_owned()
}

/// TLS to a simulator, trusting its authority alone, with these protocols offered by ALPN.
pub async fn tls(url: &str, ca_pem: &str, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
    tls_as(url, ca_pem, protocols, None).await
}

/// The same with a client certificate and its key, both PEM.
pub async fn tls_as(
    url: &str,
    ca_pem: &str,
    protocols: &[&str],
    own: Option<(&str, &str)>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(authority(url)).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_default().to_owned()
    }
}

pub const NOTIFICATION: &str = "0190b0a8-0000-7000-8000-000000000001";

/// The reserved key as the contract has it.
pub fn carillon() -> Value {
    json!({"v": 1, "n": NOTIFICATION, "r": "run-1", "d": "d1", "l": 0})
}
