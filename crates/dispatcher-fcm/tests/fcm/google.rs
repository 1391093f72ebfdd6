//! Google, played.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use carillon_dispatch::conformance::{self, Device, facts};
use carillon_dispatch::{Provider as _, Verdict};
use carillon_egress::{TlsConfig, Trust};
use carillon_runtime::{Clock, TestScope};
use dispatcher_fcm::{Credential, Fcm, FcmConfig};
use jiff::Timestamp;
use provider_sim::{Config, FcmProject, Provider, Query, Record, Sim};
use serde_json::{Value, json};
use uuid::Uuid;

pub(crate) const PROJECT: &str = "shop-17";
/// Nothing in a test may take longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Google {
    pub(crate) sim: Sim,
    scope: TestScope,
    ca: PathBuf,
    devices: u32,
}

impl Drop for Google {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.ca);
    }
}

impl Google {
    pub(crate) async fn start() -> Self {
        Self::at(Clock::system()).await
    }

    pub(crate) async fn at(clock: Clock) -> Self {
        let ca = std::env::temp_dir().join(format!("carillon-fcm-{}.pem", Uuid::new_v4()));
        let sim = Sim::start(Config { ca_path: Some(ca.clone()), ..Config::default() }).await.unwrap();
        Self { sim, scope: TestScope::with_clock("dispatcher-fcm", clock), ca, devices: 0 }
    }

    /// A dispatcher's provider, as one replica has it.
    pub(crate) fn replica(&self) -> Fcm {
        self.replica_trusting(TlsConfig { extra_ca: vec![self.ca.clone()] })
    }

    pub(crate) fn replica_trusting(&self, tls: TlsConfig) -> Fcm {
        let urls = self.sim.urls();
        let authority = urls.fcm_token.strip_prefix("https://").unwrap().strip_suffix("/token").unwrap();
        let config = FcmConfig {
            url: Some(urls.fcm.parse().unwrap()),
            allow_hosts: authority.parse().unwrap(),
            ..FcmConfig::default()
        };
        Fcm::new(&config, &Trust::load(&tls).unwrap(), self.scope.scope()).unwrap()
    }

    /// A service account of a new project.
    pub(crate) async fn account(&self, project: FcmProject) -> Value {
        self.sim.create_fcm_project(project).await.unwrap()
    }

    /// A credential that the simulator knows.
    pub(crate) async fn key(&self) -> Vec<u8> {
        stored(&self.account(FcmProject::new(PROJECT)).await)
    }

    pub(crate) fn device(&mut self) -> Device {
        self.devices += 1;
        Device { token: format!("dEvIcE{}:APA91b-x_1", self.devices), ..Device::default() }
    }

    pub(crate) fn records(&self, device: &Device) -> Vec<Record> {
        self.sim.ledger().records(&Query::token(Provider::Fcm, &device.token))
    }

    /// Requests to the token endpoint so far.
    pub(crate) fn token_requests(&self) -> usize {
        self.sim.ledger().count(&Query::provider(Provider::FcmToken))
    }

    /// Waits until so many requests reached the token endpoint.
    pub(crate) async fn until_token_requests(&self, count: usize) {
        let reached = async {
            while self.token_requests() < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap();
    }
}

/// The JSON of contract section 4.
pub(crate) fn stored(account: &Value) -> Vec<u8> {
    json!({"service_account": account}).to_string().into()
}

/// What the engine makes of a rendered body and a token.
pub(crate) fn body(token: &str) -> Bytes {
    let carillon = json!({"v": 1, "n": Uuid::from_u128(7), "r": "r", "d": "d1", "l": 0}).to_string();
    let message = json!({
        "token": token,
        "notification": {"title": "T"},
        "android": {"priority": "HIGH", "ttl": "3600s", "notification": {"tag": "order-17"}},
        "data": {"carillon": carillon},
    });
    json!({"message": message}).to_string().into()
}

pub(crate) fn open(fcm: &Fcm, credential: &[u8]) -> Arc<Credential> {
    Arc::new(fcm.open(credential).unwrap())
}

/// One message of a new chunk.
pub(crate) async fn send(fcm: &Fcm, credential: &Arc<Credential>, device: &Device) -> Verdict {
    let message = conformance::message(device, body(&device.token));
    let once = async {
        match fcm.prepare(&facts(Timestamp::now()), credential).await {
            Ok(prepared) => fcm.send(&prepared, message).await,
            Err(verdict) => verdict,
        }
    };
    tokio::time::timeout(PATIENCE, once).await.unwrap()
}

pub(crate) fn is_sent(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Sent { .. })
}
