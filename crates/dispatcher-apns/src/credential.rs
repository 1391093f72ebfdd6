//! How an app shows Apple who it is.

use std::sync::{Mutex, PoisonError};

use carillon_dispatch::Misconfigured;
use http::HeaderValue;
use serde::Deserialize;

use crate::provider_token::Signer;

/// An opened credential.
pub struct Credential {
    pub(crate) bundle_id: HeaderValue,
    pub(crate) auth: Auth,
    /// The provider token of the moment and when it was issued.
    token: Mutex<Option<(i64, HeaderValue)>>,
}

/// The two ways of authentication.
pub(crate) enum Auth {
    /// A token that is signed with a team's key.
    Token(Signer),
    /// A client certificate, PEM.
    Certificate { chain: String, key: String },
}

/// The JSON of contract section 4.
#[derive(Deserialize)]
#[serde(tag = "auth", rename_all = "lowercase")]
enum Stored {
    Token { key_id: String, team_id: String, bundle_id: String, private_key: String },
    Certificate { bundle_id: String, certificate: String, private_key: Option<String> },
}

impl Credential {
    /// Reads the JSON of contract section 4.
    pub(crate) fn read(plaintext: &[u8]) -> Result<Self, Misconfigured> {
        // serde's own words could quote the content.
        let stored = serde_json::from_slice(plaintext).map_err(|_| Misconfigured("not an APNs credential".into()))?;
        let (bundle_id, auth) = match stored {
            Stored::Token { key_id, team_id, bundle_id, private_key } => {
                (bundle_id, Auth::Token(Signer::new(&key_id, &team_id, &private_key)?))
            }
            Stored::Certificate { bundle_id, certificate, private_key } => {
                if !certificate.contains("-----BEGIN CERTIFICATE") {
                    return Err(Misconfigured("the certificate is not PEM".into()));
                }
                let key = private_key.unwrap_or_else(|| certificate.clone());
                (bundle_id, Auth::Certificate { chain: certificate, key })
            }
        };
        let bundle_id =
            HeaderValue::from_str(&bundle_id).map_err(|_| Misconfigured("the bundle id is malformed".into()))?;
        Ok(Self { bundle_id, auth, token: Mutex::new(None) })
    }

    /// The `authorization` header at `now` (seconds since 1970); nothing with a certificate.
    pub(crate) fn authorization(&self, now: i64) -> Option<HeaderValue> {
        let Auth::Token(signer) = &self.auth else { return None };
        let issued_at = Signer::issued_at(now);
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, value)) = &*token
            && *at == issued_at
        {
            return Some(value.clone());
        }
        let value = signer.sign(issued_at)?;
        *token = Some((issued_at, value.clone()));
        Some(value)
    }

    /// Requests of the same identity may share connections; others must not: Apple answers several tokens on one connection
    /// with UnrelatedKeyIdInToken and 429.
    pub(crate) fn identity(&self) -> Vec<u8> {
        match &self.auth {
            Auth::Token(signer) => signer.identity(),
            Auth::Certificate { chain, .. } => chain.as_bytes().to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider_token::tests::{KEY_ID, TEAM_ID, private_key};

    pub(crate) fn stored() -> serde_json::Value {
        serde_json::json!({
            "auth": "token", "key_id": KEY_ID, "team_id": TEAM_ID, "bundle_id": "com.example.shop", "private_key": private_key(),
        })
    }

    #[test]
    fn a_stored_credential_is_read_and_signs() {
        let credential = Credential::read(stored().to_string().as_bytes()).unwrap();
        assert_eq!(credential.bundle_id, "com.example.shop");
        let header = credential.authorization(1_790_000_000).unwrap();
        assert!(header.is_sensitive() && header.to_str().unwrap().starts_with("bearer "));
    }

    #[test]
    fn what_is_wrong_is_said_without_quoting_it() {
        for (field, value) in
            [("private_key", "sesame"), ("auth", "sesame"), ("key_id", "sesame/"), ("bundle_id", "sesame\n")]
        {
            let mut wrong = stored();
            wrong[field] = value.into();
            let error = Credential::read(wrong.to_string().as_bytes()).err().unwrap();
            assert!(!error.to_string().contains("sesame"), "{error}");
        }
        assert!(Credential::read(b"sesame").is_err());
    }

    #[test]
    fn a_certificate_needs_no_token_and_shares_no_connection() {
        let pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
        let certificate =
            serde_json::json!({"auth": "certificate", "bundle_id": "com.example.shop", "certificate": pem});
        let credential = Credential::read(certificate.to_string().as_bytes()).unwrap();
        assert!(credential.authorization(1_790_000_000).is_none());
        assert_ne!(credential.identity(), Credential::read(stored().to_string().as_bytes()).unwrap().identity());
    }
}
