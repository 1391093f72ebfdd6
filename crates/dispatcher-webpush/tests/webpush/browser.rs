//! Browsers and their push service, played.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use carillon_dispatch::conformance::{self, Device, facts};
use carillon_dispatch::{ChunkFacts, Message, Provider as _, Verdict};
use carillon_egress::{AllowHosts, TlsConfig, Trust};
use carillon_runtime::Clock;
use dispatcher_webpush::{Credential, Webpush, WebpushConfig};
use jiff::Timestamp;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use provider_sim::{Config, NewSubscriptions, Provider, Query, Record, Sim};
use serde_json::json;
use uuid::Uuid;

/// Nothing in a test may take longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Browsers {
    pub(crate) sim: Sim,
    ca: PathBuf,
}

impl Drop for Browsers {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.ca);
    }
}

impl Browsers {
    pub(crate) async fn start() -> Self {
        let ca = std::env::temp_dir().join(format!("carillon-webpush-{}.pem", Uuid::new_v4()));
        let sim = Sim::start(Config { ca_path: Some(ca.clone()), ..Config::default() }).await.unwrap();
        Self { sim, ca }
    }

    /// A dispatcher's provider, as one replica has it.
    pub(crate) fn replica(&self) -> Webpush {
        self.replica_at(Clock::system())
    }

    pub(crate) fn replica_at(&self, clock: Clock) -> Webpush {
        let host = self.sim.urls().webpush.strip_prefix("https://").unwrap().parse().unwrap();
        provider(host, TlsConfig { extra_ca: vec![self.ca.clone()] }, clock)
    }

    /// A subscription that was made with the app's key pair.
    pub(crate) async fn device(&self) -> Device {
        self.device_for(&pair(1).0).await
    }

    /// A subscription that was made with this public key.
    pub(crate) async fn device_for(&self, application_server_key: &str) -> Device {
        let wanted = NewSubscriptions { count: 1, application_server_key: Some(application_server_key.to_owned()) };
        let subscription = self.sim.create_subscriptions(wanted).await.unwrap().remove(0);
        let decode = |text| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
        let keys = subscription.keys;
        Device { token: subscription.endpoint, p256dh: decode(keys.p256dh), auth: decode(keys.auth) }
    }

    pub(crate) fn records(&self, device: &Device) -> Vec<Record> {
        self.sim.ledger().records(&Query::token(Provider::Webpush, &device.token))
    }
}

pub(crate) fn provider(allow_hosts: AllowHosts, tls: TlsConfig, clock: Clock) -> Webpush {
    let config = WebpushConfig { allow_hosts, ..WebpushConfig::default() };
    Webpush::new(&config, &Trust::load(&tls).unwrap(), clock).unwrap()
}

/// A key pair that protects nothing, base64url: public, private.
pub(crate) fn pair(seed: u8) -> (String, String) {
    let key = p256::SecretKey::from_slice(&[seed; 32]).unwrap();
    let public = key.public_key().to_sec1_point(false);
    (BASE64_URL_SAFE_NO_PAD.encode(public.as_bytes()), BASE64_URL_SAFE_NO_PAD.encode([seed; 32]))
}

/// The JSON of contract section 4.
pub(crate) fn stored(subject: &str, seed: u8) -> Vec<u8> {
    let (public, private) = pair(seed);
    json!({"subject": subject, "public_key": public, "private_key": private}).to_string().into()
}

/// The same with a pair that was in use before.
pub(crate) fn stored_after(subject: &str, seed: u8, older: u8) -> Vec<u8> {
    let ((public, private), (public_before, private_before)) = (pair(seed), pair(older));
    let older = json!([{"public_key": public_before, "private_key": private_before}]);
    json!({"subject": subject, "public_key": public, "private_key": private, "older": older}).to_string().into()
}

/// The app's credential.
pub(crate) fn key() -> Vec<u8> {
    stored("mailto:push@shop.example", 1)
}

pub(crate) fn body() -> Bytes {
    let carillon = json!({"v": 1, "n": Uuid::from_u128(7), "r": "r", "d": "d1", "l": 0});
    json!({"title": "T", "tag": "order-17", "carillon": carillon}).to_string().into()
}

pub(crate) fn open(webpush: &Webpush, credential: &[u8]) -> Arc<Credential> {
    Arc::new(webpush.open(credential).unwrap())
}

/// One message of a chunk that shows something.
pub(crate) async fn send(webpush: &Webpush, credential: &Arc<Credential>, device: &Device) -> Verdict {
    send_of(&facts(Timestamp::now()), webpush, credential, conformance::message(device, body())).await
}

/// One message of a certain chunk.
pub(crate) async fn send_of(
    facts: &ChunkFacts,
    webpush: &Webpush,
    credential: &Arc<Credential>,
    message: Message<'_>,
) -> Verdict {
    let once = async {
        match webpush.prepare(facts, credential).await {
            Ok(prepared) => webpush.send(&prepared, message).await,
            Err(verdict) => verdict,
        }
    };
    tokio::time::timeout(PATIENCE, once).await.unwrap()
}

pub(crate) fn is_sent(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Sent { .. })
}
