//! TLS to the database. `prefer`, the default of the protocol's own clients, is not offered: it encrypts without knowing to whom.

use crate::{Error, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

/// What connections are made with: verified TLS where the URL says `sslmode=require`, plain text where it does not.
///
/// # Errors
/// [`Error::Refused`] when the file with the authority cannot be read.
pub(crate) fn connector(config: &mut tokio_postgres::Config, ca: Option<&Path>) -> Result<MakeRustlsConnect> {
    let mut roots = RootCertStore::empty();
    if config.get_ssl_mode() == SslMode::Require {
        // Single certificates of the system that do not read are nobody's fault here; none at all shows at the first connection.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = ca {
            add_authority(&mut roots, path)?;
        }
    } else {
        config.ssl_mode(SslMode::Disable);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::Refused(e.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(tls))
}

fn add_authority(roots: &mut RootCertStore, path: &Path) -> Result<()> {
    let unreadable = |why: String| Error::Refused(format!("CARILLON_DATABASE__CA ({}): {why}", path.display()));
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|e| unreadable(e.to_string()))?;
    if certificates.is_empty() {
        return Err(unreadable("holds no certificate".into()));
    }
    for certificate in certificates {
        roots.add(certificate).map_err(|e| unreadable(e.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    fn config(url: &str) -> tokio_postgres::Config {
        tokio_postgres::Config::from_str(url).unwrap()
    }

    #[test]
    fn encryption_is_verified_or_absent_and_never_in_between() {
        let mut plain = config("postgres://u@localhost/d");
        connector(&mut plain, None).unwrap();
        assert_eq!(plain.get_ssl_mode(), SslMode::Disable);
        let mut encrypted = config("postgres://u@localhost/d?sslmode=require");
        connector(&mut encrypted, None).unwrap();
        assert_eq!(encrypted.get_ssl_mode(), SslMode::Require);
    }

    #[test]
    fn an_authority_that_does_not_read_is_named() {
        let mut encrypted = config("postgres://u@localhost/d?sslmode=require");
        let error = connector(&mut encrypted, Some(Path::new("/nowhere/ca.pem"))).err().unwrap().to_string();
        assert!(error.contains("CARILLON_DATABASE__CA") && error.contains("/nowhere/ca.pem"), "{error}");
    }
}
