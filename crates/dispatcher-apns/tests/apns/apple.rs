//! Apple, played.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use carillon_dispatch::conformance::{Device, facts};
use carillon_dispatch::{ChunkFacts, Message, Provider as _, Verdict};
use carillon_domain::device::Environment;
use carillon_egress::{TlsConfig, Trust};
use carillon_runtime::Clock;
use dispatcher_apns::{Apns, ApnsConfig};
use jiff::Timestamp;
use provider_sim::{ApnsKey, Config, Provider, Query, Record, Sim};
use serde_json::json;
use uuid::Uuid;

pub(crate) const TEAM: &str = "TEAM123456";
pub(crate) const KEY: &str = "KEY1234567";
pub(crate) const BUNDLE: &str = "com.example.shop";

pub(crate) struct Apple {
    pub(crate) sim: Sim,
    ca: PathBuf,
    devices: u128,
}

impl Drop for Apple {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.ca);
    }
}

impl Apple {
    pub(crate) async fn start() -> Self {
        Self::with(Config::default()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let ca = std::env::temp_dir().join(format!("carillon-apns-{}.pem", Uuid::new_v4()));
        let sim = Sim::start(Config { ca_path: Some(ca.clone()), ..config }).await.unwrap();
        Self { sim, ca, devices: 0 }
    }

    /// A dispatcher's provider, as one replica has it.
    pub(crate) fn replica(&self) -> Apns {
        self.replica_at(Clock::system())
    }

    pub(crate) fn replica_at(&self, clock: Clock) -> Apns {
        let trust = Trust::load(&TlsConfig { extra_ca: vec![self.ca.clone()] }).unwrap();
        let config = ApnsConfig {
            production_url: Some(self.sim.urls().apns.parse().unwrap()),
            sandbox_url: Some(self.sim.urls().apns_sandbox.parse().unwrap()),
            ..ApnsConfig::default()
        };
        Apns::new(&config, trust, clock).unwrap()
    }

    /// A credential that the simulator knows.
    pub(crate) fn key(&self, team: &str, key: &str) -> Vec<u8> {
        self.key_for(team, key, None)
    }

    pub(crate) fn key_for(&self, team: &str, key: &str, environment: Option<provider_sim::Environment>) -> Vec<u8> {
        let wanted = ApnsKey {
            team_id: team.into(),
            key_id: key.into(),
            public_key: None,
            bundle_ids: vec![BUNDLE.into()],
            environment,
        };
        let private = self.sim.register_apns_key(wanted).unwrap().unwrap();
        stored(team, key, &private)
    }

    pub(crate) fn device(&mut self) -> Device {
        self.devices += 1;
        Device { token: format!("{:064x}", self.devices), ..Device::default() }
    }

    pub(crate) fn records(&self, device: &Device) -> Vec<Record> {
        self.sim.ledger().records(&Query::token(Provider::Apns, &device.token))
    }
}

/// The JSON of contract section 4.
pub(crate) fn stored(team: &str, key: &str, private_key: &str) -> Vec<u8> {
    json!({"auth": "token", "team_id": team, "key_id": key, "bundle_id": BUNDLE, "private_key": private_key})
        .to_string()
        .into()
}

pub(crate) fn alert() -> Bytes {
    Bytes::from_static(br#"{"aps":{"alert":{"title":"T"},"mutable-content":1}}"#)
}

/// One message that may go to either of Apple's worlds.
pub(crate) async fn send(apns: &Apns, credential: &[u8], device: &Device, environment: Environment) -> Verdict {
    send_of(&facts(Timestamp::now()), apns, credential, device, environment).await
}

/// One message of a certain chunk.
pub(crate) async fn send_of(
    facts: &ChunkFacts,
    apns: &Apns,
    credential: &[u8],
    device: &Device,
    environment: Environment,
) -> Verdict {
    let credential = Arc::new(apns.open(credential).unwrap());
    let body = if facts.shown { alert() } else { Bytes::from_static(br#"{"aps":{"content-available":1}}"#) };
    let message = Message { environment, ..carillon_dispatch::conformance::message(device, body) };
    let once = async {
        match apns.prepare(facts, &credential).await {
            Ok(prepared) => apns.send(&prepared, message).await,
            Err(verdict) => verdict,
        }
    };
    tokio::time::timeout(Duration::from_secs(30), once).await.unwrap()
}
