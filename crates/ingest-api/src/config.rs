//! Settings: the sections this service reads. Who adds an intake adds its section here (contract, section 12).

use std::fmt;
use std::net::SocketAddr;

use carillon_runtime::config::{HumanDuration, Secret, ServiceConfig};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The service's configuration.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// Where the truth is.
    pub database: carillon_store::Config,
    /// Where work is handed on, and where events come in.
    pub amqp: carillon_broker::Config,
    /// What secrets are sealed with.
    pub secrets: Secrets,
    /// The first operator's key.
    #[serde(default)]
    pub operator: Operator,
    /// The public port.
    #[serde(default)]
    pub http: Http,
    /// The public gRPC port.
    #[serde(default)]
    pub grpc: Grpc,
    /// Where service accounts may get their tokens.
    #[serde(default)]
    pub fcm: Fcm,
}

impl ServiceConfig for Config {
    const SECTIONS: &'static [&'static str] = &["database", "amqp", "secrets", "operator", "http", "grpc", "fcm"];

    fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        if let Err(error) = carillon_vault::MasterKey::list(self.secrets.key.expose()) {
            faults.push(("secrets.key", error.to_string()));
        }
        if let Some(key) = &self.operator.key
            && !is_operator_key(key.expose())
        {
            let right = "must begin with cak_ and have 24 to 256 characters without spaces";
            faults.push(("operator.key", right.to_owned()));
        }
        for host in &self.fcm.allow_hosts {
            if crate::credentials::HostPort::parse(host).is_none() {
                faults.push(("fcm.allow_hosts", "must be a comma list of host or host:port".to_owned()));
            }
        }
        faults
    }
}

/// Whatever the operator chose, as long as it cannot be guessed or mistaken for another kind of key.
fn is_operator_key(text: &str) -> bool {
    text.starts_with("cak_") && (24..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Section `secrets`.
#[derive(Clone, Debug, Deserialize)]
pub struct Secrets {
    /// Base64 of 32 bytes; a comma list, the first encrypts, all open.
    pub key: Secret,
}

/// Section `operator`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Operator {
    /// The first operator's key (`cak_...`); others live in the database.
    pub key: Option<Secret>,
}

/// Section `http`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Http {
    /// Address and port of the public API; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The URL under which callers reach it, for the OpenAPI document; the request's own host without.
    pub public_url: Option<String>,
    /// Requests in work at once; more are answered 503 at once.
    pub concurrency: usize,
    /// Requests that this process takes in a second, REST and gRPC together; more are answered 429 at once. 0: no limit.
    pub requests_per_second: u32,
    /// Open connections; more wait in the listen queue.
    pub connections: usize,
    /// How long the headers of a request may take to arrive.
    pub header_timeout: HumanDuration,
    /// How long the body of a request may take to arrive.
    pub body_timeout: HumanDuration,
    /// How long the whole work on a request may take; then it is answered 503.
    pub deadline: HumanDuration,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            public_url: None,
            concurrency: 1_024,
            requests_per_second: 0,
            connections: 4_096,
            header_timeout: HumanDuration::from_secs(5),
            body_timeout: HumanDuration::from_secs(15),
            deadline: HumanDuration::from_secs(25),
        }
    }
}

/// Section `grpc`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Grpc {
    /// Address and port of the public gRPC; port 0 lets the system choose.
    pub listen: SocketAddr,
}

impl Default for Grpc {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([0, 0, 0, 0], 9090)) }
    }
}

/// Section `fcm`, of which this service reads one key. The others are the dispatcher's, and it judges them: all services
/// share one environment.
#[derive(Clone, Debug, Default)]
pub struct Fcm {
    /// `host` or `host:port` that a service account's `token_uri` may name beside googleapis.com.
    pub allow_hosts: Vec<String>,
}

impl<'de> Deserialize<'de> for Fcm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FcmVisitor)
    }
}

struct FcmVisitor;

impl<'de> Visitor<'de> for FcmVisitor {
    type Value = Fcm;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fcm, A::Error> {
        let mut fcm = Fcm::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "allow_hosts" => fcm.allow_hosts = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(fcm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

    fn load(more: &[(&str, &str)]) -> Result<Config, carillon_runtime::config::Faults> {
        let must = [
            ("CARILLON_DATABASE__URL", "postgres://x@localhost/x"),
            ("CARILLON_AMQP__URL", "amqp://localhost/%2f"),
            ("CARILLON_SECRETS__KEY", KEY),
        ];
        carillon_runtime::config::load(None, must.iter().chain(more).copied())
    }

    #[test]
    fn the_database_the_broker_and_a_key_for_secrets_are_all_it_needs() {
        let config = load(&[]).unwrap();
        assert_eq!(config.http.listen.port(), 8080);
        assert!(config.operator.key.is_none() && config.fcm.allow_hosts.is_empty());
    }

    #[test]
    fn the_dispatchers_keys_of_the_shared_section_are_left_to_the_dispatcher() {
        let shared = [("CARILLON_FCM__URL", "http://127.0.0.1:1"), ("CARILLON_FCM__ALLOW_HOSTS", "127.0.0.1:7,sim")];
        assert_eq!(load(&shared).unwrap().fcm.allow_hosts, ["127.0.0.1:7", "sim"]);
    }

    #[test]
    fn a_setting_that_cannot_work_refuses_to_start() {
        for (name, value) in [
            ("CARILLON_SECRETS__KEY", "short"),
            ("CARILLON_OPERATOR__KEY", "cak_short"),
            ("CARILLON_OPERATOR__KEY", "csk_0123456789012345678901234567890"),
            ("CARILLON_FCM__ALLOW_HOSTS", "https://sim"),
            ("CARILLON_HTTP__LISEN", "127.0.0.1:0"),
        ] {
            let faults = load(&[(name, value)]).unwrap_err().to_string();
            assert!(faults.contains(name), "{faults}");
        }
    }
}
