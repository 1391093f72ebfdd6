//! Provider tokens ("Establishing a token-based connection to APNs"): ES256, the same from every replica.
//!
//! Apple refuses tokens that are older than an hour, and refuses to see a new one more than once in 20 minutes. So the time of
//! issue is a function of the clock alone, and the signature is deterministic (RFC 6979): whoever signs at the same time makes
//! the same bytes, however many replicas there are and however often they start.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use carillon_dispatch::Misconfigured;
use http::HeaderValue;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::DecodePrivateKey as _;

/// A new token this often, in seconds.
const RENEW: i64 = 40 * 60;
/// Tokens are never younger than this, so that a clock that is behind Apple's does no harm; nor older than both together.
const SKEW: i64 = 5 * 60;

/// Signs for one team's key.
pub(crate) struct Signer {
    key_id: String,
    team_id: String,
    key: SigningKey,
}

impl Signer {
    /// `private_key` is the PKCS#8 PEM that Apple hands out as a `.p8` file.
    pub(crate) fn new(key_id: &str, team_id: &str, private_key: &str) -> Result<Self, Misconfigured> {
        for (what, id) in [("key id", key_id), ("team id", team_id)] {
            if id.is_empty() || id.len() > 64 || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
                return Err(Misconfigured(Cow::Owned(format!("the {what} is malformed"))));
            }
        }
        let key = SigningKey::from_pkcs8_pem(private_key.trim())
            .map_err(|_| Misconfigured("the private key is not a P-256 key in PKCS#8 PEM".into()))?;
        Ok(Self { key_id: key_id.to_owned(), team_id: team_id.to_owned(), key })
    }

    /// When the token of `now` was issued (both in seconds since 1970): 5 to 45 minutes ago.
    pub(crate) fn issued_at(now: i64) -> i64 {
        (now - SKEW).div_euclid(RENEW) * RENEW
    }

    /// The `authorization` header with the token of this time of issue.
    pub(crate) fn sign(&self, issued_at: i64) -> Option<HeaderValue> {
        let header = BASE64_URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"ES256","kid":"{}"}}"#, self.key_id));
        let claims = BASE64_URL_SAFE_NO_PAD.encode(format!(r#"{{"iss":"{}","iat":{issued_at}}}"#, self.team_id));
        let signed = format!("{header}.{claims}");
        let signature: Signature = self.key.sign(signed.as_bytes());
        let token = format!("bearer {signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.to_bytes()));
        let mut value = HeaderValue::from_str(&token).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Team, key id and public key: what a connection belongs to.
    pub(crate) fn identity(&self) -> Vec<u8> {
        let point = self.key.verifying_key().to_sec1_point(false);
        [self.team_id.as_bytes(), b"/", self.key_id.as_bytes(), b"/", point.as_bytes()].concat()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use p256::ecdsa::signature::Verifier as _;
    use proptest::prelude::*;

    pub(crate) const KEY_ID: &str = "KEY1234567";
    pub(crate) const TEAM_ID: &str = "TEAM123456";
    /// A key that protects nothing.
    pub(crate) fn private_key() -> String {
        let key = p256::SecretKey::from_slice(&[0x42; 32]).unwrap();
        p256::pkcs8::EncodePrivateKey::to_pkcs8_pem(&key, p256::pkcs8::LineEnding::LF).unwrap().to_string()
    }

    fn signer() -> Signer {
        Signer::new(KEY_ID, TEAM_ID, &private_key()).unwrap()
    }

    #[test]
    fn two_replicas_make_the_same_token_at_the_same_time() {
        assert_eq!(signer().sign(1_789_999_200), signer().sign(1_789_999_200));
    }

    #[test]
    fn the_token_is_a_jwt_that_the_public_key_verifies() {
        let value = signer().sign(1_789_999_200).unwrap();
        let token = value.to_str().unwrap().strip_prefix("bearer ").unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = Signature::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        signer().key.verifying_key().verify(signed.as_bytes(), &signature).unwrap();
        let part = |i| {
            let text = BASE64_URL_SAFE_NO_PAD.decode(signed.split('.').nth(i).unwrap()).unwrap();
            serde_json::from_slice::<serde_json::Value>(&text).unwrap()
        };
        assert_eq!(part(0), serde_json::json!({"alg": "ES256", "kid": KEY_ID}));
        assert_eq!(part(1), serde_json::json!({"iss": TEAM_ID, "iat": 1_789_999_200}));
    }

    proptest! {
        #[test]
        fn a_token_is_five_to_forty_five_minutes_old_and_changes_every_forty(now in 1_700_000_000i64..2_000_000_000) {
            let issued_at = Signer::issued_at(now);
            prop_assert!((5 * 60..45 * 60).contains(&(now - issued_at)));
            let step = Signer::issued_at(now + 1) - issued_at;
            prop_assert!(step == 0 || step == 40 * 60);
        }
    }
}
