//! Whom APNs knows: token keys with their apps, and device tokens.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use p256::SecretKey;
use p256::elliptic_curve::Generate;
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::pkcs8::{DecodePublicKey, EncodePrivateKey, LineEnding};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Device tokens that can be declared.
const MOST_TOKENS: usize = 20_000_000;

/// Which of Apple's two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Environment {
    /// `api.push.apple.com`.
    Production,
    /// `api.sandbox.push.apple.com`.
    Sandbox,
}

/// A token signing key to make known. Without a public key the simulator makes a pair and hands out the private one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApnsKey {
    /// `iss` of the tokens.
    pub team_id: String,
    /// `kid` of the tokens.
    pub key_id: String,
    /// SubjectPublicKeyInfo as PEM.
    #[serde(default)]
    pub public_key: Option<String>,
    /// The apps it may send to.
    pub bundle_ids: Vec<String>,
    /// Where it may be used; both when absent.
    #[serde(default)]
    pub environment: Option<Environment>,
}

/// A client certificate to issue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApnsCertificate {
    /// The apps it may send to; with one, `apns-topic` may be left out.
    pub bundle_ids: Vec<String>,
    /// Where it may be used; both when absent.
    #[serde(default)]
    pub environment: Option<Environment>,
}

/// A client certificate that the simulator's own authority signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IssuedCertificate {
    /// PEM.
    pub certificate: String,
    /// PKCS#8, PEM.
    pub private_key: String,
}

/// A device token to make known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApnsToken {
    /// Hexadecimal.
    pub token: String,
    /// The app that it belongs to; any when absent.
    #[serde(default)]
    pub bundle_id: Option<String>,
    /// Where it is valid; in both when absent.
    #[serde(default)]
    pub environment: Option<Environment>,
}

/// A key or certificate that is known.
#[derive(Debug)]
pub(crate) struct Key {
    /// Uncompressed point; empty for a certificate.
    pub(crate) point: Vec<u8>,
    certificate: bool,
    pub(crate) bundle_ids: Vec<String>,
    pub(crate) environment: Option<Environment>,
    revoked: AtomicBool,
}

impl Key {
    pub(crate) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Relaxed)
    }

    /// The topic of a push that names none: a certificate for one app stands for it.
    pub(crate) fn only_topic(&self) -> Option<&str> {
        match self.bundle_ids.as_slice() {
            [only] if self.certificate => Some(only),
            _ => None,
        }
    }
}

#[derive(Debug)]
struct Known {
    bundle_id: Option<Arc<str>>,
    environment: Option<Environment>,
}

/// What APNs makes of a device token before it looks at the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Fine,
    Unknown,
    OtherEnvironment,
    OtherApp,
}

/// Keys and device tokens.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    keys: RwLock<HashMap<(String, String), Arc<Key>>>,
    /// By DER.
    certificates: RwLock<HashMap<Vec<u8>, Arc<Key>>>,
    tokens: RwLock<HashMap<Box<str>, Known>>,
    any_token: AtomicBool,
}

impl Identities {
    /// Makes a key known; the private key as PKCS#8 PEM if it was made here. A key of the same name is revoked.
    pub(crate) fn register(&self, key: ApnsKey) -> Result<Option<String>, Error> {
        if key.team_id.is_empty() || key.key_id.is_empty() || key.bundle_ids.is_empty() {
            return Err(Error::refused("team_id, key_id and bundle_ids must not be empty"));
        }
        let (point, private) = match &key.public_key {
            Some(pem) => {
                let public = p256::PublicKey::from_public_key_pem(pem)
                    .map_err(|_| Error::refused("public_key is not the PEM of a P-256 public key"))?;
                (public.to_sec1_point(false).as_bytes().to_vec(), None)
            }
            None => {
                let secret = SecretKey::generate();
                let pem = secret.to_pkcs8_pem(LineEnding::LF).map_err(|_| Error::refused("cannot encode the key"))?;
                (secret.public_key().to_sec1_point(false).as_bytes().to_vec(), Some(pem.to_string()))
            }
        };
        let name = (key.team_id, key.key_id);
        let known = Key {
            point,
            certificate: false,
            bundle_ids: key.bundle_ids,
            environment: key.environment,
            revoked: AtomicBool::new(false),
        };
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = keys.insert(name, Arc::new(known)) {
            before.revoked.store(true, Ordering::Relaxed);
        }
        Ok(private)
    }

    /// Revokes a key; whether there was one.
    pub(crate) fn revoke(&self, team_id: &str, key_id: &str) -> bool {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let removed = keys.remove(&(team_id.to_owned(), key_id.to_owned()));
        removed.inspect(|key| key.revoked.store(true, Ordering::Relaxed)).is_some()
    }

    pub(crate) fn key(&self, team_id: &str, key_id: &str) -> Option<Arc<Key>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(&(team_id.to_owned(), key_id.to_owned())).cloned()
    }

    /// Makes an issued certificate (DER) known.
    pub(crate) fn register_certificate(&self, der: Vec<u8>, wanted: ApnsCertificate) -> Result<(), Error> {
        if wanted.bundle_ids.is_empty() {
            return Err(Error::refused("bundle_ids must not be empty"));
        }
        let ApnsCertificate { bundle_ids, environment } = wanted;
        let revoked = AtomicBool::new(false);
        let known = Key { point: Vec::new(), certificate: true, bundle_ids, environment, revoked };
        self.certificates.write().unwrap_or_else(PoisonError::into_inner).insert(der, Arc::new(known));
        Ok(())
    }

    /// What a client certificate stands for, if it is one of those issued and not revoked.
    pub(crate) fn certificate(&self, der: &[u8]) -> Option<Arc<Key>> {
        self.certificates.read().unwrap_or_else(PoisonError::into_inner).get(der).cloned()
    }

    /// Revokes every certificate, also on open connections.
    pub(crate) fn revoke_certificates(&self) {
        for (_, key) in self.certificates.write().unwrap_or_else(PoisonError::into_inner).drain() {
            key.revoked.store(true, Ordering::Relaxed);
        }
    }

    /// Declares device tokens.
    pub(crate) fn declare(&self, tokens: Vec<ApnsToken>) -> Result<(), Error> {
        let mut known = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() + tokens.len() > MOST_TOKENS {
            return Err(Error::refused("too many tokens"));
        }
        for token in tokens {
            let bundle_id = token.bundle_id.map(Arc::from);
            let name = token.token.to_ascii_lowercase().into_boxed_str();
            known.insert(name, Known { bundle_id, environment: token.environment });
        }
        self.any_token.store(true, Ordering::Release);
        Ok(())
    }

    /// What is known of a device token (in lower case).
    pub(crate) fn standing(&self, token: &str, bundle_id: &str, environment: Environment) -> Standing {
        if !self.any_token.load(Ordering::Acquire) {
            return Standing::Unknown;
        }
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        match tokens.get(token) {
            None => Standing::Unknown,
            Some(known) if known.environment.is_some_and(|own| own != environment) => Standing::OtherEnvironment,
            Some(known) if known.bundle_id.as_deref().is_some_and(|own| own != bundle_id) => Standing::OtherApp,
            Some(_) => Standing::Fine,
        }
    }
}
