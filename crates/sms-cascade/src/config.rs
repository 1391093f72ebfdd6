//! The configuration of this service.

use carillon_egress::{Origin, TlsConfig};
use carillon_runtime::config::{HumanDuration, Secret, ServiceConfig};
use carillon_vault::{KindKeys, KindVault, Vault};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// The kind of secret that gateways' tokens are sealed as.
pub(crate) const VAULT_KIND: &str = "sms";

/// All sections that this service reads.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// Where the rows are.
    pub database: carillon_store::Config,
    /// What opens gateways' tokens.
    #[serde(default)]
    pub secrets: SecretsConfig,
    /// Whom to trust beside the system's authorities.
    #[serde(default)]
    pub tls: TlsConfig,
    /// Where delivery reports reach us.
    #[serde(default)]
    pub http: PublicUrl,
    /// The gateway SMSAPI.
    #[serde(default)]
    pub smsapi: SmsapiConfig,
    /// The pace of this service.
    #[serde(default)]
    pub cascade: CascadeConfig,
}

impl ServiceConfig for Config {
    const SECTIONS: &'static [&'static str] = &["database", "secrets", "tls", "http", "smsapi", "cascade"];

    fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = self.cascade.faults();
        if let Err(error) = self.secrets.vault() {
            faults.push(("secrets.key", error.to_string()));
        }
        let url = self.http.public_url.as_deref().map(str::parse::<http::Uri>);
        if url.is_some_and(|url| !url.is_ok_and(|url| matches!(url.scheme_str(), Some("http" | "https")))) {
            faults.push(("http.public_url", "must be an http:// or https:// URL".to_owned()));
        }
        if self.cascade.lease.get() <= self.smsapi.timeout.get() {
            faults.push(("cascade.lease", "must be longer than smsapi.timeout".to_owned()));
        }
        faults
    }
}

/// Section `secrets`: what opens gateways' tokens.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SecretsConfig {
    /// The master keys: base64 of 32 bytes each, comma list. Simple, and more than this service needs.
    pub key: Option<Secret>,
    /// Only the keys of the kind `sms`, as `carillon_vault::KindKeys::to_text` writes them. Wins over `key`.
    pub kind_keys: Option<Secret>,
}

impl SecretsConfig {
    pub(crate) fn vault(&self) -> Result<KindVault, carillon_vault::Error> {
        match (&self.kind_keys, &self.key) {
            (Some(keys), _) => Ok(KindVault::new(KindKeys::parse(VAULT_KIND, keys.expose())?)),
            (None, Some(master)) => Vault::from_list(master.expose())?.for_kind(VAULT_KIND),
            (None, None) => Err(carillon_vault::Error::NoKey),
        }
    }
}

/// Section `smsapi`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct SmsapiConfig {
    /// The gateway's server.
    pub url: Option<Origin>,
    /// From a request to its whole answer. Below `cascade.lease`.
    pub timeout: HumanDuration,
}

impl Default for SmsapiConfig {
    fn default() -> Self {
        Self { url: None, timeout: HumanDuration::from_secs(10) }
    }
}

/// Section `cascade`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct CascadeConfig {
    /// How often due cascades are looked for when there was none.
    pub tick: HumanDuration,
    /// Groups in work at once. 1 to 32.
    pub workers: usize,
    /// Cascades of one group. 1 to 1,000.
    pub batch: usize,
    /// Requests of one group at once. 1 to 256.
    pub requests: usize,
    /// How long a group belongs to this process. After a crash its messages are taken up again when this has passed.
    pub lease: HumanDuration,
}

impl Default for CascadeConfig {
    fn default() -> Self {
        Self {
            tick: HumanDuration::from_millis(100),
            workers: 4,
            batch: 128,
            requests: 32,
            lease: HumanDuration::from_secs(45),
        }
    }
}

impl CascadeConfig {
    fn faults(&self) -> Vec<(&'static str, String)> {
        let bounds = [
            ("cascade.workers", self.workers, 32),
            ("cascade.batch", self.batch, 1_000),
            ("cascade.requests", self.requests, 256),
        ];
        let wrong = bounds.into_iter().filter(|(_, value, most)| !(1..=*most).contains(value));
        let mut faults: Vec<_> = wrong.map(|(key, _, most)| (key, format!("must be 1 to {most}"))).collect();
        if self.tick.get().is_zero() {
            faults.push(("cascade.tick", "must not be zero".to_owned()));
        }
        faults
    }
}

/// Section `http`, of which this service reads one key. The others are ingest-api's, and it judges them: all services share one
/// environment.
#[derive(Clone, Debug, Default)]
pub struct PublicUrl {
    /// The URL under which gateways reach ingest-api with their delivery reports. Without it none are asked for.
    pub public_url: Option<String>,
}

impl<'de> Deserialize<'de> for PublicUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HttpVisitor)
    }
}

struct HttpVisitor;

impl<'de> Visitor<'de> for HttpVisitor {
    type Value = PublicUrl;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PublicUrl, A::Error> {
        let mut http = PublicUrl::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "public_url" => http.public_url = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(http)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

    fn load(more: &[(&str, &str)]) -> Result<Config, carillon_runtime::config::Faults> {
        let must = [("CARILLON_DATABASE__URL", "postgres://x@localhost/x"), ("CARILLON_SECRETS__KEY", KEY)];
        carillon_runtime::config::load(None, must.iter().chain(more).copied())
    }

    #[test]
    fn the_database_and_a_key_for_secrets_are_all_it_needs() {
        let config = load(&[]).unwrap();
        assert_eq!(config.cascade.tick.get().as_millis(), 100);
        assert!(config.smsapi.url.is_none() && config.http.public_url.is_none());
    }

    #[test]
    fn the_public_port_s_other_settings_are_left_to_ingest_api() {
        let shared = [("CARILLON_HTTP__PUBLIC_URL", "https://push.example"), ("CARILLON_HTTP__LISTEN", "0.0.0.0:1")];
        assert_eq!(load(&shared).unwrap().http.public_url.as_deref(), Some("https://push.example"));
    }

    #[test]
    fn a_setting_that_cannot_work_refuses_to_start() {
        for (name, value) in [
            ("CARILLON_SECRETS__KEY", "short"),
            ("CARILLON_HTTP__PUBLIC_URL", "push.example"),
            ("CARILLON_SMSAPI__URL", "https://api.smsapi.com/sms.do"),
            ("CARILLON_CASCADE__LEASE", "10s"),
            ("CARILLON_CASCADE__BATCH", "0"),
            ("CARILLON_CASCADE__TICKS", "1s"),
        ] {
            assert!(load(&[(name, value)]).is_err(), "{name}");
        }
    }
}
