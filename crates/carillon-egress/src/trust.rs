//! Whom we believe: the system's certificate authorities and the operator's own.

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// `CARILLON_TLS__*`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// PEM files of certificate authorities that are trusted beside the system's, by every way out. A list, or one
    /// text with commas between the paths.
    #[serde(deserialize_with = "paths")]
    pub extra_ca: Vec<PathBuf>,
}

/// Why the certificate authorities or a client certificate could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A PEM file cannot be read or holds something else.
    #[error("{path}: not a PEM file of certificates")]
    File {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        source: rustls::pki_types::pem::Error,
    },
    /// A PEM file holds no certificate at all.
    #[error("{0}: holds no certificate")]
    Empty(PathBuf),
    /// The system has no certificate authorities and none were configured.
    #[error("no certificate authority: the system has none and extra_ca is empty")]
    NoRoots,
    /// The client certificate or its key is not readable PEM.
    #[error("the client certificate or its key is not PEM")]
    Identity(#[source] rustls::pki_types::pem::Error),
    /// The library refuses a certificate, or a key that does not belong to its certificate.
    #[error("TLS set-up failed")]
    Tls(#[from] rustls::Error),
    /// The certificate verifier cannot be built.
    #[error("certificate verifier failed")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
}

/// The certificate authorities every way out believes. Cheap to clone.
#[derive(Clone)]
pub struct Trust {
    verifier: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
}

/// A certificate chain and key that we show to a server that asks (mutual TLS).
pub struct ClientIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Trust {
    /// Reads the system's roots (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured) and `config.extra_ca`. Blocking: for
    /// the start of a process.
    ///
    /// # Errors
    /// [`TrustError`] when an extra file is unreadable or empty, or when nobody at all would be trusted. Single bad
    /// certificates of the system are skipped, and counted in the log.
    pub fn load(config: &TlsConfig) -> Result<Self, TrustError> {
        let system = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (taken, skipped) = roots.add_parsable_certificates(system.certs);
        if skipped > 0 || !system.errors.is_empty() {
            tracing::warn!(taken, skipped, unreadable = system.errors.len(), "some system certificates were skipped");
        }
        for path in &config.extra_ca {
            add_file(&mut roots, path)?;
        }
        if roots.is_empty() {
            return Err(TrustError::NoRoots);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
        Ok(Trust { verifier, provider })
    }

    /// The client side of TLS 1.2 and 1.3 that offers `alpn`. The provider is named here and nowhere taken from the
    /// process, so that a second provider in the tree cannot change it.
    pub(crate) fn client_config(
        &self,
        alpn: &[&[u8]],
        identity: Option<ClientIdentity>,
    ) -> Result<Arc<ClientConfig>, TrustError> {
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .with_webpki_verifier(self.verifier.clone());
        let mut config = match identity {
            Some(identity) => builder.with_client_auth_cert(identity.chain, identity.key)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

impl ClientIdentity {
    /// Reads a certificate chain, leaf first, and its private key (PKCS#8, PKCS#1 or SEC1), both PEM.
    ///
    /// # Errors
    /// [`TrustError::Identity`] when either is not PEM of its kind.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TrustError> {
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(TrustError::Identity)?;
        if chain.is_empty() {
            return Err(TrustError::Identity(rustls::pki_types::pem::Error::NoItemsFound));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(TrustError::Identity)?;
        Ok(ClientIdentity { chain, key })
    }
}

fn add_file(roots: &mut RootCertStore, path: &PathBuf) -> Result<(), TrustError> {
    let unreadable = |source| TrustError::File { path: path.clone(), source };
    let mut found = false;
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        roots.add(certificate.map_err(unreadable)?)?;
        found = true;
    }
    if found { Ok(()) } else { Err(TrustError::Empty(path.clone())) }
}

/// A sequence of paths, or one text with commas: the environment knows only texts.
fn paths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    let texts = match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => text.split(',').map(str::to_owned).collect(),
        OneOrMany::Many(texts) => texts,
    };
    Ok(texts.iter().map(|t| t.trim()).filter(|t| !t.is_empty()).map(PathBuf::from).collect())
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity").field("chain_len", &self.chain.len()).finish_non_exhaustive()
    }
}
