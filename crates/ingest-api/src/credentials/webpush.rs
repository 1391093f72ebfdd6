//! Web Push: a VAPID key pair (RFC 8292) and whom a push service may write to.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use carillon_domain::fault::ErrorCode::CredentialInvalid;
use carillon_telemetry::Secret;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Value, json};

use super::Checked;
use crate::json::{FromJson, Object};

const TEXT_BYTES: usize = 1_024;
const KEY_BYTES: usize = 128;
/// Random numbers are tried until one is a key; all but one in 2^32 are.
const TRIES: usize = 8;

/// A VAPID key pair.
#[derive(Debug)]
pub(crate) struct KeyPair {
    /// Base64url of the uncompressed point, 65 bytes.
    public: String,
    /// Base64url of the scalar, 32 bytes.
    private: Secret,
}

impl KeyPair {
    /// A new pair.
    pub(crate) fn generate() -> Option<Self> {
        let random = SystemRandom::new();
        (0..TRIES).find_map(|_| {
            let mut scalar = [0; 32];
            random.fill(&mut scalar).ok()?;
            Self::of(&scalar)
        })
    }

    /// The pair of a stored credential.
    pub(crate) fn of_stored(plaintext: &[u8]) -> Option<Self> {
        let body: Value = serde_json::from_slice(plaintext).ok()?;
        Self::read(body.get("private_key")?.as_str()?)
    }

    fn read(private: &str) -> Option<Self> {
        Self::of(&BASE64_URL_SAFE_NO_PAD.decode(private.trim_end_matches('=')).ok()?)
    }

    fn of(scalar: &[u8]) -> Option<Self> {
        let key = p256::SecretKey::from_slice(scalar).ok().filter(|_| scalar.len() == 32)?;
        let public = BASE64_URL_SAFE_NO_PAD.encode(key.public_key().to_sec1_point(false).as_bytes());
        Some(Self { public, private: Secret::new(BASE64_URL_SAFE_NO_PAD.encode(scalar)) })
    }
}

/// A Web Push credential; without a pair it takes the one that is there, or a new one.
#[derive(Debug)]
pub(crate) struct WebPush {
    subject: String,
    pub(crate) pair: Option<KeyPair>,
}

impl WebPush {
    /// The credential with this pair.
    pub(crate) fn with(&self, pair: &KeyPair) -> Checked {
        let KeyPair { public, private } = pair;
        let body = json!({"subject": self.subject, "public_key": public, "private_key": private.expose()});
        let facts = json!({"subject": self.subject, "public_key": public});
        Checked::new(&body, facts, public.as_bytes())
    }
}

impl FromJson for WebPush {
    fn from_json(object: &mut Object<'_>) -> Option<Self> {
        let subject = object.text("subject", TEXT_BYTES);
        if subject.as_deref().is_some_and(|subject| !is_subject(subject)) {
            let must = "must be mailto:ADDRESS or an https URL of yours, not localhost (push services refuse it)";
            object.fault_code(CredentialInvalid, "subject", must);
        }
        let public = object.opt_text("public_key", KEY_BYTES);
        let private = object.opt_text("private_key", KEY_BYTES);
        let pair = pair(object, public.as_deref(), private.as_deref());
        Some(Self { subject: subject?, pair })
    }
}

fn pair(object: &Object<'_>, public: Option<&str>, private: Option<&str>) -> Option<KeyPair> {
    let Some(private) = private else {
        if public.is_some() {
            object.fault_code(
                CredentialInvalid,
                "private_key",
                "is required with a public key; leave out both to get a pair",
            );
        }
        return None;
    };
    let pair = KeyPair::read(private);
    match (&pair, public) {
        (None, _) => {
            let must = "must be base64url of the 32 bytes of a P-256 private key";
            object.fault_code(CredentialInvalid, "private_key", must);
        }
        (Some(pair), Some(public)) if pair.public != public.trim_end_matches('=') => {
            let must = "must be base64url of the 65 bytes of the point that belongs to the private key";
            object.fault_code(CredentialInvalid, "public_key", must);
        }
        _ => {}
    }
    pair
}

/// RFC 8292, section 2.1. Apple's push service refuses localhost.
fn is_subject(text: &str) -> bool {
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return false;
    }
    if let Some(address) = text.strip_prefix("mailto:") {
        let host = address.rsplit_once('@').filter(|(local, _)| !local.is_empty()).map(|(_, host)| host);
        return host.is_some_and(is_public_host);
    }
    let uri = text.parse::<http::Uri>().ok().filter(|uri| uri.scheme_str() == Some("https"));
    uri.is_some_and(|uri| uri.host().is_some_and(is_public_host))
}

fn is_public_host(host: &str) -> bool {
    !host.is_empty() && host != "localhost" && !host.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_pair_has_65_and_32_bytes_and_is_read_back_from_its_stored_form() {
        let pair = KeyPair::generate().unwrap();
        assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(&pair.public).unwrap().len(), 65);
        assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(pair.private.expose()).unwrap().len(), 32);
        let credential = WebPush { subject: "mailto:push@shop.example".into(), pair: None };
        let stored = credential.with(&pair);
        let again = KeyPair::of_stored(stored.secret.expose().as_bytes()).unwrap();
        assert_eq!((again.public, again.private.expose()), (pair.public, pair.private.expose()));
    }

    #[test]
    fn a_subject_is_somebody_whom_a_push_service_can_reach() {
        for good in ["mailto:push@shop.example", "https://shop.example/push", "https://shop.example"] {
            assert!(is_subject(good), "{good}");
        }
        for bad in [
            "",
            "mailto:",
            "mailto:@a",
            "mailto:a",
            "mailto:a@localhost",
            "https://localhost/x",
            "http://a.example",
            "a@b.example",
            "https://",
            "mailto:a @b.example",
        ] {
            assert!(!is_subject(bad), "{bad}");
        }
    }
}
