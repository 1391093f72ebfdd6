//! Subscriptions as a browser would make them, private halves included.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::SecretKey;
use p256::elliptic_curve::Generate;
use p256::elliptic_curve::sec1::ToSec1Point;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Subscriptions in one call.
const MOST_AT_ONCE: usize = 100_000;
/// Subscriptions altogether.
const MOST: usize = 5_000_000;

/// Subscriptions to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewSubscriptions {
    /// How many, at most 100,000.
    #[serde(default = "one")]
    pub count: usize,
    /// The application server's public key that they are restricted to (RFC 8292 section 4): base64url of the
    /// uncompressed point.
    #[serde(default)]
    pub application_server_key: Option<String>,
}

fn one() -> usize {
    1
}

/// What a browser hands to the application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Where pushes are posted.
    pub endpoint: String,
    /// What they are encrypted with.
    pub keys: SubscriptionKeys,
}

/// The public key and the secret of a subscription, base64url.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionKeys {
    /// 65 bytes, an uncompressed point of P-256.
    pub p256dh: String,
    /// 16 bytes.
    pub auth: String,
}

/// A subscription with its private half.
pub(crate) struct Held {
    pub(crate) secret: SecretKey,
    pub(crate) public: Vec<u8>,
    pub(crate) auth: [u8; 16],
    pub(crate) server_key: Option<Vec<u8>>,
}

/// All subscriptions, by the last part of their endpoint.
#[derive(Default)]
pub(crate) struct Subscriptions {
    origin: OnceLock<String>,
    by_id: RwLock<HashMap<Box<str>, Arc<Held>>>,
}

impl Subscriptions {
    /// Set once, as soon as the listener has its port: scheme, host and port.
    pub(crate) fn set_origin(&self, origin: String) {
        let _ = self.origin.set(origin);
    }

    pub(crate) fn origin(&self) -> &str {
        self.origin.get().map_or("", String::as_str)
    }

    pub(crate) fn endpoint(&self, id: &str) -> String {
        format!("{}/push/{id}", self.origin())
    }

    /// Makes subscriptions. Some ten thousand a second: a large number belongs on a blocking thread.
    pub(crate) fn create(&self, wanted: &NewSubscriptions) -> Result<Vec<Subscription>, Error> {
        if wanted.count > MOST_AT_ONCE {
            return Err(Error::refused("at most 100,000 subscriptions at once"));
        }
        let server_key = match &wanted.application_server_key {
            Some(text) => {
                let key = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
                let key = key.filter(|key| key.len() == 65 && p256::PublicKey::from_sec1_bytes(key).is_ok());
                Some(key.ok_or_else(|| Error::refused("application_server_key is not a point of P-256 in base64url"))?)
            }
            None => None,
        };
        let made: Vec<(Box<str>, Held)> =
            (0..wanted.count).map(|_| make(server_key.clone())).collect::<Result<_, Error>>()?;
        let mut by_id = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        if by_id.len() + made.len() > MOST {
            return Err(Error::refused("too many subscriptions"));
        }
        let mut shown = Vec::with_capacity(made.len());
        for (id, held) in made {
            let keys = SubscriptionKeys {
                p256dh: URL_SAFE_NO_PAD.encode(&held.public),
                auth: URL_SAFE_NO_PAD.encode(held.auth),
            };
            shown.push(Subscription { endpoint: self.endpoint(&id), keys });
            by_id.insert(id, Arc::new(held));
        }
        Ok(shown)
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Held>> {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Ends a subscription, as when the browser's user does; pushes to it are 410 from then on.
    pub(crate) fn end(&self, endpoint: &str) -> bool {
        let id = endpoint.rsplit('/').next().unwrap_or_default();
        self.by_id.write().unwrap_or_else(PoisonError::into_inner).remove(id).is_some()
    }
}

fn make(server_key: Option<Vec<u8>>) -> Result<(Box<str>, Held), Error> {
    let mut random = [0; 32];
    SystemRandom::new().fill(&mut random).map_err(|_| Error::refused("no random bytes"))?;
    let (id, secret) = random.split_at(16);
    let mut auth = [0; 16];
    auth.copy_from_slice(secret);
    let secret = SecretKey::generate();
    let public = secret.public_key().to_sec1_point(false).as_bytes().to_vec();
    Ok((URL_SAFE_NO_PAD.encode(id).into_boxed_str(), Held { secret, public, auth, server_key }))
}
