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
/// Pairs that are kept for the subscriptions that were made with them. All of them travel in every chunk.
const MOST_OLDER: usize = 4;
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

    /// The pairs of a stored credential, the newest first.
    pub(crate) fn all_of_stored(plaintext: &[u8]) -> Option<Vec<Self>> {
        let body: Value = serde_json::from_slice(plaintext).ok()?;
        let older = body.get("older").and_then(Value::as_array).into_iter().flatten();
        std::iter::once(&body).chain(older).map(|pair| Self::read(pair.get("private_key")?.as_str()?)).collect()
    }

    /// As it is sealed.
    fn stored(&self) -> Value {
        json!({"public_key": self.public, "private_key": self.private.expose()})
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
    pair: Option<KeyPair>,
}

impl WebPush {
    /// The credential that follows the one with these pairs, the newest first. Subscriptions are bound to the pair that they
    /// were made with (RFC 8292, section 4), so a pair that is there stays, in use or as an older one. Nothing if the system
    /// has no random numbers.
    pub(crate) fn after(&self, before: &[KeyPair]) -> Option<Checked> {
        let made;
        let pair = match self.pair.as_ref().or(before.first()) {
            Some(pair) => pair,
            None => {
                made = KeyPair::generate()?;
                &made
            }
        };
        let older = || before.iter().filter(|older| older.public != pair.public).take(MOST_OLDER);
        let mut body = pair.stored();
        body["subject"] = self.subject.as_str().into();
        let mut facts = json!({"subject": self.subject, "public_key": pair.public});
        if older().next().is_some() {
            body["older"] = older().map(KeyPair::stored).collect();
            facts["older_public_keys"] = older().map(|pair| pair.public.as_str()).collect();
        }
        Some(Checked::new(&body, facts, pair.public.as_bytes()))
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
        let again = pairs(&credential(None).after(std::slice::from_ref(&pair)).unwrap()).remove(0);
        assert_eq!((again.public, again.private.expose()), (pair.public, pair.private.expose()));
    }

    fn credential(pair: Option<KeyPair>) -> WebPush {
        WebPush { subject: "mailto:push@shop.example".into(), pair }
    }

    fn pairs(checked: &Checked) -> Vec<KeyPair> {
        KeyPair::all_of_stored(checked.secret.expose().as_bytes()).unwrap()
    }

    fn publics(pairs: &[KeyPair]) -> Vec<String> {
        pairs.iter().map(|pair| pair.public.clone()).collect()
    }

    #[test]
    fn a_new_pair_leaves_the_older_ones_behind_it_and_the_oldest_go() {
        let news: Vec<_> = (1..=7).map(|seed| KeyPair::of(&[seed; 32]).unwrap()).collect();
        let names = publics(&news);
        let mut before = Vec::new();
        for pair in news {
            before = pairs(&credential(Some(pair)).after(&before).unwrap());
        }
        let expected: Vec<_> = names.iter().rev().take(1 + MOST_OLDER).cloned().collect();
        assert_eq!(publics(&before), expected);

        let same = credential(None).after(&before).unwrap();
        assert_eq!(publics(&pairs(&same)), expected, "a new subject alone changes no pair");
        assert_eq!(same.facts["older_public_keys"].as_array().unwrap().len(), MOST_OLDER);
        let back = credential(Some(KeyPair::of(&[4; 32]).unwrap())).after(&before).unwrap();
        let back = publics(&pairs(&back));
        assert_eq!((back.len(), &back[0]), (1 + MOST_OLDER, &names[3]), "a pair that comes back is there once");
        assert_eq!(back.iter().filter(|name| **name == names[3]).count(), 1);
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
