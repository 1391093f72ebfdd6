//! Voluntary Application Server Identification (RFC 8292): one signature per push service and half a day.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use carillon_egress::Origin;
use http::HeaderValue;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::json;

use crate::endpoint::serialized;

/// A new token this often, in seconds.
const RENEW: i64 = 12 * 3600;
/// Seconds from issue to expiry. At most a day is allowed (section 2); the four hours below it and the eight that are left when
/// a token is replaced are for clocks that disagree.
const LIFE: i64 = 20 * 3600;
/// Push services whose tokens are kept; the oldest token makes room.
const MOST: usize = 1024;

/// Signs for one key pair.
pub(crate) struct Signer {
    pair: EcdsaKeyPair,
    /// Base64url of the uncompressed point.
    public: String,
    subject: String,
    tokens: Mutex<HashMap<Origin, (i64, HeaderValue)>>,
}

impl Signer {
    /// `private` is the scalar, `public` the uncompressed point; nothing if they do not belong together.
    pub(crate) fn new(subject: String, public: &[u8], private: &[u8]) -> Option<Self> {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(algorithm, private, public, &random).ok()?;
        let public = BASE64_URL_SAFE_NO_PAD.encode(public);
        Some(Self { pair, public, subject, tokens: Mutex::default() })
    }

    /// The `authorization` header for a push service at `now` (seconds since 1970); nothing if the system has no random
    /// numbers.
    pub(crate) fn authorization(&self, to: &Origin, now: i64) -> Option<HeaderValue> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((issued_at, value)) = tokens.get(to)
            && (*issued_at..*issued_at + RENEW).contains(&now)
        {
            return Some(value.clone());
        }
        let value = self.sign(to, now)?;
        if tokens.len() >= MOST && !tokens.contains_key(to) {
            let oldest = tokens.iter().min_by_key(|(_, (issued_at, _))| *issued_at).map(|(origin, _)| origin.clone());
            oldest.map(|origin| tokens.remove(&origin));
        }
        tokens.insert(to.clone(), (now, value.clone()));
        Some(value)
    }

    fn sign(&self, to: &Origin, now: i64) -> Option<HeaderValue> {
        let claims = json!({"aud": serialized(to), "exp": now + LIFE, "sub": self.subject});
        let header = BASE64_URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"ES256"}"#);
        let signed = format!("{header}.{}", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).ok()?;
        let signature = BASE64_URL_SAFE_NO_PAD.encode(signature);
        let mut value = HeaderValue::from_str(&format!("vapid t={signed}.{signature}, k={}", self.public)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use p256::elliptic_curve::sec1::ToSec1Point as _;
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    use serde_json::Value;

    const NOW: i64 = 1_790_000_000;

    /// A key pair that protects nothing: point and scalar.
    pub(crate) fn pair() -> (Vec<u8>, Vec<u8>) {
        pair_of(0x42)
    }

    pub(crate) fn pair_of(seed: u8) -> (Vec<u8>, Vec<u8>) {
        let key = p256::SecretKey::from_slice(&[seed; 32]).unwrap();
        (key.public_key().to_sec1_point(false).as_bytes().to_vec(), vec![seed; 32])
    }

    fn signer() -> Signer {
        let (public, private) = pair();
        Signer::new("mailto:push@shop.example".into(), &public, &private).unwrap()
    }

    fn origin(text: &str) -> Origin {
        text.parse().unwrap()
    }

    fn claims(value: &HeaderValue) -> Value {
        let (token, key) = value.to_str().unwrap().strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let decode = |text| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, decode(key));
        key.verify(signed.as_bytes(), &decode(signature)).unwrap();
        serde_json::from_slice(&decode(signed.split_once('.').unwrap().1)).unwrap()
    }

    #[test]
    fn the_token_names_the_service_and_us_and_is_good_for_less_than_a_day() {
        let value = signer().authorization(&origin("https://updates.push.services.mozilla.com"), NOW).unwrap();
        let sub = "mailto:push@shop.example";
        let expected = json!({"aud": "https://updates.push.services.mozilla.com", "exp": NOW + LIFE, "sub": sub});
        assert_eq!(claims(&value), expected);
        assert!(value.is_sensitive());
    }

    #[test]
    fn a_port_that_is_not_the_usual_one_belongs_to_the_audience() {
        let value = signer().authorization(&origin("https://push.example:8443"), NOW).unwrap();
        assert_eq!(claims(&value)["aud"], "https://push.example:8443");
    }

    #[test]
    fn one_signature_serves_a_service_for_half_a_day_and_no_other_service() {
        let (signer, a, b) = (signer(), origin("https://a.example"), origin("https://b.example"));
        let first = signer.authorization(&a, NOW).unwrap();
        assert_eq!(signer.authorization(&a, NOW + RENEW - 1).unwrap(), first);
        assert_ne!(signer.authorization(&b, NOW).unwrap(), first);
        assert_ne!(signer.authorization(&a, NOW + RENEW).unwrap(), first);
        const { assert!(RENEW < LIFE && LIFE <= 24 * 3600) };
    }

    #[test]
    fn tokens_do_not_pile_up() {
        let signer = signer();
        for i in 0..MOST + 10 {
            signer.authorization(&origin(&format!("https://p{i}.example")), NOW + i as i64).unwrap();
        }
        assert_eq!(signer.tokens.lock().unwrap().len(), MOST);
    }

    #[test]
    fn halves_of_different_pairs_are_found_out() {
        let (public, _) = pair();
        assert!(Signer::new("mailto:a@b.example".into(), &public, &[0x43; 32]).is_none());
        assert!(Signer::new("mailto:a@b.example".into(), &public[1..], &[0x42; 32]).is_none());
    }
}
