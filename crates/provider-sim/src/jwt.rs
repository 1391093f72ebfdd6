//! Compact JSON Web Signatures (RFC 7515), as far as the providers use them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::{Map, Value};

/// No provider's token comes near this size.
const MOST_BYTES: usize = 8 << 10;

/// The header's members that matter here.
#[derive(Debug, Deserialize)]
pub(crate) struct Header {
    pub(crate) alg: String,
    pub(crate) kid: Option<String>,
}

/// A token taken apart, its signature not yet checked.
#[derive(Debug)]
pub(crate) struct Jwt<'a> {
    pub(crate) header: Header,
    pub(crate) claims: Map<String, Value>,
    signed: &'a [u8],
    signature: Vec<u8>,
}

impl<'a> Jwt<'a> {
    /// Takes a token apart; nothing if it is not three parts of base64url with JSON objects in the first two.
    pub(crate) fn parse(token: &'a str) -> Option<Self> {
        if token.len() > MOST_BYTES {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let part = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
        Some(Self {
            header: serde_json::from_slice(&part(header)?).ok()?,
            claims: serde_json::from_slice(&part(claims)?).ok()?,
            signed: signed.as_bytes(),
            signature: part(signature)?,
        })
    }

    pub(crate) fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim).and_then(Value::as_str)
    }

    /// A NumericDate in whole seconds; fractions are cut.
    pub(crate) fn seconds(&self, claim: &str) -> Option<i64> {
        let value = self.claims.get(claim)?;
        value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64))
    }

    /// Whether it is ES256 and was signed with the private half of this uncompressed point.
    pub(crate) fn is_signed_es256(&self, point: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        self.header.alg == "ES256" && key.verify(self.signed, &self.signature).is_ok()
    }

    /// Whether it is RS256 and was signed with the private half of this PKCS#1 public key (DER).
    pub(crate) fn is_signed_rs256(&self, public_key: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public_key);
        self.header.alg == "RS256" && key.verify(self.signed, &self.signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}", parts in proptest::collection::vec("[A-Za-z0-9_-]{0,40}", 0..5)) {
            let _ = Jwt::parse(&text);
            let _ = Jwt::parse(&parts.join("."));
        }
    }

    #[test]
    fn three_parts_with_objects_are_a_token() {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let token =
            format!("{}.{}.{}", part(r#"{"alg":"ES256","kid":"k"}"#), part(r#"{"iat":17.9,"iss":"i"}"#), part("x"));
        let jwt = Jwt::parse(&token).unwrap();
        assert_eq!((jwt.header.kid.as_deref(), jwt.text("iss"), jwt.seconds("iat")), (Some("k"), Some("i"), Some(17)));
        assert!(!jwt.is_signed_es256(&[4; 65]) && !jwt.is_signed_rs256(&[]));
        assert!(Jwt::parse(&token.replace('.', "")).is_none());
        assert!(Jwt::parse(&format!("{}.{}.", part("[]"), part("{}"))).is_none());
    }
}
