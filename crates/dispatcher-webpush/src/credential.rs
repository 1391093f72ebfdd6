//! How an app shows push services who it is.

use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use carillon_dispatch::Misconfigured;
use serde::Deserialize;

use crate::vapid::Signer;

/// So many subscriptions in a row that refuse the pair, and the pair is to blame.
const REPEATED: u32 = 20;

/// An opened credential.
pub struct Credential {
    pub(crate) signer: Signer,
    mismatches: AtomicU32,
}

/// The JSON of contract section 4, as it is kept: with both halves.
#[derive(Deserialize)]
struct Stored {
    subject: String,
    public_key: String,
    private_key: String,
}

impl Credential {
    /// Reads the JSON of contract section 4.
    pub(crate) fn read(plaintext: &[u8]) -> Result<Self, Misconfigured> {
        // serde's own words could quote the content.
        let Stored { subject, public_key, private_key } =
            serde_json::from_slice(plaintext).map_err(|_| Misconfigured("not a Web Push credential".into()))?;
        // RFC 8292, section 2.1.
        if !(subject.starts_with("mailto:") || subject.starts_with("https:")) {
            return Err(Misconfigured("the subject is neither a mailto: nor an https: URL".into()));
        }
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
        let signer = match (decode(&public_key), decode(&private_key)) {
            (Some(public), Some(private)) => Signer::new(subject, &public, &private),
            _ => None,
        };
        let signer = signer.ok_or(Misconfigured("the keys are not a pair of P-256 in base64url".into()))?;
        Ok(Self { signer, mismatches: AtomicU32::new(0) })
    }

    /// Takes note that a subscription accepts the pair.
    pub(crate) fn fits(&self) {
        self.mismatches.store(0, Ordering::Relaxed);
    }

    /// Takes note that a subscription refuses the pair; whether too many do for it to be the subscriptions' fault.
    pub(crate) fn is_mismatched(&self) -> bool {
        self.mismatches.fetch_add(1, Ordering::Relaxed) >= REPEATED
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vapid::tests::pair;
    use serde_json::{Value, json};

    fn stored() -> Value {
        let (public, private) = pair();
        let encode = |bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        json!({"subject": "mailto:push@shop.example", "public_key": encode(public), "private_key": encode(private)})
    }

    #[test]
    fn a_stored_credential_is_read_and_signs() {
        let credential = Credential::read(stored().to_string().as_bytes()).unwrap();
        let to = "https://push.example".parse().unwrap();
        assert!(credential.signer.authorization(&to, 1_790_000_000).is_some());
    }

    #[test]
    fn what_is_wrong_is_said_without_quoting_it() {
        for field in ["subject", "public_key", "private_key"] {
            let mut wrong = stored();
            wrong[field] = "sesame".into();
            let error = Credential::read(wrong.to_string().as_bytes()).err().unwrap();
            assert!(!error.to_string().contains("sesame"), "{error}");
        }
        assert!(Credential::read(b"sesame").is_err());
    }

    #[test]
    fn a_pair_is_to_blame_only_when_many_subscriptions_in_a_row_refuse_it() {
        let credential = Credential::read(stored().to_string().as_bytes()).unwrap();
        let refused = |times: u32| (0..times).filter(|_| credential.is_mismatched()).count();
        assert_eq!(refused(REPEATED), 0);
        credential.fits();
        assert_eq!(refused(REPEATED + 5), 5);
    }
}
