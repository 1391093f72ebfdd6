//! What the floors show to the providers: tokens of their own, made once and outside of what is measured.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::fixture::TEAM;

/// Whom a push service may write to.
const SUBJECT: &str = "mailto:push@shop.example";

/// A provider token ("Establishing a token-based connection").
pub(crate) fn apns(private_key: &str, key_id: &str) -> Result<String> {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der(private_key)?, &random)
        .map_err(|error| anyhow::anyhow!("the key does not read: {error}"))?;
    let claims = json!({"iss": TEAM, "iat": jiff::Timestamp::now().as_second()});
    let signed = format!("{}.{}", part(&json!({"alg": "ES256", "kid": key_id})), part(&claims));
    let signature = key.sign(&random, signed.as_bytes()).ok().context("the token cannot be signed")?;
    Ok(format!("bearer {signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// A bearer token for a service account (RFC 7523).
pub(crate) async fn fcm(account: &Value, ca: &Path) -> Result<String> {
    let text = |name: &str| account[name].as_str().with_context(|| format!("the account has no {name}"));
    let key = RsaKeyPair::from_pkcs8(&der(text("private_key")?)?).map_err(|e| anyhow::anyhow!("the key: {e}"))?;
    let now = jiff::Timestamp::now().as_second();
    let claims = json!({"iss": text("client_email")?, "aud": text("token_uri")?, "iat": now, "exp": now + 3600,
        "scope": "https://www.googleapis.com/auth/firebase.messaging"});
    let signed = format!("{}.{}", part(&json!({"alg": "RS256", "typ": "JWT"})), part(&claims));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).ok().context("not signed")?;
    let assertion = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    let form = format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
    let answer = post(text("token_uri")?, ca, &form).await?;
    Ok(format!("Bearer {}", answer["access_token"].as_str().context("no access token")?))
}

/// A key pair that an application server shows to push services (RFC 8292).
pub(crate) struct VapidPair {
    pair: EcdsaKeyPair,
    private: String,
}

impl VapidPair {
    pub(crate) fn generate() -> Result<Self> {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).ok().context("no key")?;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).ok().context("no key")?;
        // RFC 5915: the scalar is an octet string of 32 bytes, the first of that length in the document.
        let at = document.as_ref().windows(2).position(|bytes| bytes == [4, 32]).context("a key without a scalar")?;
        let private = URL_SAFE_NO_PAD.encode(&document.as_ref()[at + 2..at + 34]);
        Ok(Self { pair, private })
    }

    fn public(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.pair.public_key())
    }

    /// As a tenant uploads it.
    pub(crate) fn credential(&self) -> Value {
        json!({"subject": SUBJECT, "public_key": self.public(), "private_key": self.private})
    }

    /// The header for a push service.
    pub(crate) fn authorization(&self, origin: &str) -> Result<String> {
        let now = jiff::Timestamp::now().as_second();
        let claims = json!({"aud": origin, "exp": now + 20 * 3600, "sub": SUBJECT});
        let signed = format!("{}.{}", part(&json!({"typ": "JWT", "alg": "ES256"})), part(&claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).ok().context("not signed")?;
        Ok(format!("vapid t={signed}.{}, k={}", URL_SAFE_NO_PAD.encode(signature), self.public()))
    }
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn der(pem: &str) -> Result<Vec<u8>> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(body).map_err(Into::into)
}

/// A form over TLS and HTTP/1.1.
async fn post(url: &str, ca: &Path, form: &str) -> Result<Value> {
    let (authority, path) =
        url.strip_prefix("https://").and_then(|rest| rest.split_once('/')).context("an https URL")?;
    let tls = tls(ca, b"http/1.1")?;
    let stream = TcpStream::connect(authority).await?;
    let host = authority.split(':').next().unwrap_or_default().to_owned();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
    let mut stream = connector.connect(ServerName::try_from(host)?, stream).await?;
    let head = format!(
        "POST /{path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n",
        form.len()
    );
    stream.write_all(format!("{head}{form}").as_bytes()).await?;
    let mut answer = Vec::new();
    // A server that closes without TLS' goodbye has said everything before.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a head")?;
    ensure!(head.contains(" 200 "), "the token endpoint: {body}");
    serde_json::from_str(body).map_err(Into::into)
}

/// A client's TLS that trusts the simulators alone.
pub(crate) fn tls(ca: &Path, protocol: &[u8]) -> Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(config)
}
