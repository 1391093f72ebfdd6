//! What a platform's credential must look like. Checked before it is sealed, so that a dispatcher never meets a broken one.
//!
//! What is sealed is the body of the contract (section 4) as compact JSON; dispatchers read exactly that.

mod apns;
mod fcm;
mod host_port;
mod webpush;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use carillon_telemetry::Secret;
use serde_json::Value;

pub(crate) use apns::Apns;
pub(crate) use fcm::Fcm;
pub(crate) use host_port::HostPort;
pub(crate) use webpush::{KeyPair, WebPush};

/// Bytes of a key in PEM: a 4096-bit RSA key takes 3.3 KB.
const PEM_BYTES: usize = 8 * 1024;

/// A credential that was found good.
#[derive(Debug)]
pub(crate) struct Checked {
    /// What is sealed.
    pub(crate) secret: Secret,
    /// What may be shown.
    pub(crate) facts: Value,
    /// SHA-256 of the public half of the key: tells two keys apart and nothing about them.
    pub(crate) fingerprint: String,
}

impl Checked {
    fn new(body: &Value, facts: Value, public: &[u8]) -> Self {
        Self { secret: Secret::new(body.to_string()), facts, fingerprint: fingerprint(public) }
    }
}

fn fingerprint(public: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, public);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// The content of a PEM block (RFC 7468) with this label.
fn pem(text: &str, label: &str) -> Option<Vec<u8>> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let (_, rest) = text.split_once(&begin)?;
    let (inner, _) = rest.split_once(&end)?;
    let packed: String = inner.split_ascii_whitespace().collect();
    BASE64_STANDARD.decode(packed).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pem_block_is_found_by_its_label() {
        let text = "junk\n-----BEGIN PRIVATE KEY-----\nAAEC\r\nAwQ=\n-----END PRIVATE KEY-----\n";
        assert_eq!(pem(text, "PRIVATE KEY"), Some(vec![0, 1, 2, 3, 4]));
        assert_eq!(pem(text, "CERTIFICATE"), None);
        assert_eq!(pem("-----BEGIN PRIVATE KEY-----\nAAE", "PRIVATE KEY"), None);
    }

    #[test]
    fn a_fingerprint_is_the_hash_of_the_public_half() {
        assert!(fingerprint(b"abc").starts_with("sha256:ba7816bf8f01cfea"));
    }
}
