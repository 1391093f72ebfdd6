//! Firebase projects: their service account, bearer tokens, quota and registration tokens.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use rsa::RsaPrivateKey;
use rsa::pkcs1::EncodeRsaPublicKey;
use rsa::pkcs8::{EncodePrivateKey, LineEnding};
use rsa::rand_core::UnwrapErr;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Error;

/// Bits of a service account's key.
const KEY_BITS: usize = 2048;
/// Bearer tokens that a project has at the same time; the oldest stop being good.
const MOST_BEARERS: usize = 1000;
/// Registration tokens that can be declared.
const MOST_TOKENS: usize = 20_000_000;

/// A project to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FcmProject {
    /// Its id, as in the URL.
    pub project_id: String,
    /// Seconds that a bearer token is good.
    #[serde(default = "FcmProject::usual_lifetime")]
    pub token_lifetime: u64,
    /// Messages a second before 429; no limit when absent.
    #[serde(default)]
    pub messages_per_second: Option<u32>,
}

impl FcmProject {
    /// A project with bearer tokens of an hour and no quota.
    pub fn new(project_id: impl Into<String>) -> Self {
        Self { project_id: project_id.into(), token_lifetime: Self::usual_lifetime(), messages_per_second: None }
    }

    fn usual_lifetime() -> u64 {
        3600
    }
}

/// Registration tokens (or fids) to make known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FcmTokens {
    /// The project that they belong to.
    pub project_id: String,
    /// Tokens or fids.
    pub tokens: Vec<String>,
}

/// A project that is known.
pub(crate) struct Project {
    pub(crate) id: String,
    pub(crate) client_email: String,
    pub(crate) key_id: String,
    /// PKCS#1, DER.
    pub(crate) public_key: Vec<u8>,
    pub(crate) lifetime: u64,
    quota: Option<Mutex<Bucket>>,
    messages: AtomicU64,
}

/// A token bucket that holds one second's messages.
struct Bucket {
    rate: f64,
    tokens: f64,
    filled: Instant,
}

struct Bearer {
    project: Arc<Project>,
    good_until: i64,
}

#[derive(Default)]
struct Bearers {
    by_token: HashMap<Box<str>, Bearer>,
    issued: VecDeque<Box<str>>,
}

/// All projects.
#[derive(Default)]
pub(crate) struct Projects {
    token_uri: OnceLock<String>,
    by_id: RwLock<HashMap<String, Arc<Project>>>,
    bearers: RwLock<Bearers>,
    owners: RwLock<HashMap<Box<str>, Box<str>>>,
    any_owner: AtomicBool,
}

impl Projects {
    /// Set once, as soon as the token endpoint has its port.
    pub(crate) fn set_token_uri(&self, uri: String) {
        let _ = self.token_uri.set(uri);
    }

    pub(crate) fn token_uri(&self) -> &str {
        self.token_uri.get().map_or("", String::as_str)
    }

    /// Makes a project with a fresh key; the service account's JSON. An older project of this id is replaced. Takes the
    /// better part of a second of CPU.
    pub(crate) fn create(&self, wanted: FcmProject) -> Result<Value, Error> {
        let id = wanted.project_id;
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(Error::refused("project_id is made of letters, digits and -"));
        }
        let mut random = UnwrapErr(p256::elliptic_curve::common::getrandom::SysRng);
        let failed = |_| Error::refused("cannot make an RSA key");
        let key = RsaPrivateKey::new(&mut random, KEY_BITS).map_err(failed)?;
        let public_key = key.to_public_key().to_pkcs1_der().map_err(|_| Error::refused("cannot encode the key"))?;
        let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|_| Error::refused("cannot encode the key"))?;
        let key_id: String = crate::ledger::fingerprint(public_key.as_bytes()).trim_start_matches("sha256:").to_owned();
        let client_email = format!("firebase-adminsdk-sim@{id}.iam.gserviceaccount.com");
        let account = json!({
            "type": "service_account",
            "project_id": id,
            "private_key_id": key_id,
            "private_key": pem.as_str(),
            "client_email": client_email,
            "client_id": "100000000000000000001",
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": self.token_uri(),
            "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
            "client_x509_cert_url": format!("https://www.googleapis.com/robot/v1/metadata/x509/{client_email}"),
            "universe_domain": "googleapis.com",
        });
        let project = Project {
            id: id.clone(),
            client_email,
            key_id,
            public_key: public_key.as_bytes().to_vec(),
            lifetime: wanted.token_lifetime,
            quota: wanted.messages_per_second.map(|rate| Mutex::new(Bucket::full(rate, Instant::now()))),
            messages: AtomicU64::new(0),
        };
        self.by_id.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::new(project));
        Ok(account)
    }

    /// Forgets a project, so that its service account and bearer tokens stop being good.
    pub(crate) fn remove(&self, id: &str) -> bool {
        self.bearers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .by_token
            .retain(|_, bearer| bearer.project.id != id);
        self.by_id.write().unwrap_or_else(PoisonError::into_inner).remove(id).is_some()
    }

    pub(crate) fn by_client_email(&self, client_email: &str) -> Option<Arc<Project>> {
        let projects = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        projects.values().find(|project| project.client_email == client_email).cloned()
    }

    /// Issues a bearer token at `now` (seconds since 1970).
    pub(crate) fn issue(&self, project: Arc<Project>, now: i64) -> Result<String, Error> {
        let mut secret = [0; 48];
        SystemRandom::new().fill(&mut secret).map_err(|_| Error::refused("no random bytes"))?;
        let token = format!("ya29.{}", URL_SAFE_NO_PAD.encode(secret));
        let good_until = now.saturating_add(i64::try_from(project.lifetime).unwrap_or(i64::MAX));
        let mut bearers = self.bearers.write().unwrap_or_else(PoisonError::into_inner);
        if bearers.issued.len() >= MOST_BEARERS
            && let Some(oldest) = bearers.issued.pop_front()
        {
            bearers.by_token.remove(&oldest);
        }
        bearers.issued.push_back(token.as_str().into());
        bearers.by_token.insert(token.as_str().into(), Bearer { project, good_until });
        Ok(token)
    }

    /// The project of a bearer token that is still good.
    pub(crate) fn of_bearer(&self, token: &str, now: i64) -> Option<Arc<Project>> {
        let bearers = self.bearers.read().unwrap_or_else(PoisonError::into_inner);
        bearers.by_token.get(token).filter(|bearer| now < bearer.good_until).map(|bearer| Arc::clone(&bearer.project))
    }

    /// Makes every bearer token issued so far useless.
    pub(crate) fn revoke_bearers(&self) {
        *self.bearers.write().unwrap_or_else(PoisonError::into_inner) = Bearers::default();
    }

    /// Declares registration tokens.
    pub(crate) fn declare(&self, tokens: FcmTokens) -> Result<(), Error> {
        let mut owners = self.owners.write().unwrap_or_else(PoisonError::into_inner);
        if owners.len() + tokens.tokens.len() > MOST_TOKENS {
            return Err(Error::refused("too many tokens"));
        }
        for token in tokens.tokens {
            owners.insert(token.into_boxed_str(), tokens.project_id.as_str().into());
        }
        self.any_owner.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether a registration token is known, and if so, whether it is of this project.
    pub(crate) fn owns(&self, project: &str, token: &str) -> Option<bool> {
        if !self.any_owner.load(Ordering::Acquire) {
            return None;
        }
        let owners = self.owners.read().unwrap_or_else(PoisonError::into_inner);
        owners.get(token).map(|owner| owner.as_ref() == project)
    }
}

impl Project {
    /// Takes one message from the quota; when there is none left, the seconds to wait.
    pub(crate) fn take(&self, now: Instant) -> Result<(), u64> {
        let Some(quota) = &self.quota else { return Ok(()) };
        quota.lock().unwrap_or_else(PoisonError::into_inner).take(now)
    }

    /// The number of the next message id.
    pub(crate) fn next_message(&self) -> u64 {
        self.messages.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Bucket {
    fn full(rate: u32, now: Instant) -> Self {
        Self { rate: f64::from(rate), tokens: f64::from(rate), filled: now }
    }

    fn take(&mut self, now: Instant) -> Result<(), u64> {
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + gained).min(self.rate);
        self.filled = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(1)
    }
}
