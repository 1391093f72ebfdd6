//! The sections of a dispatcher's configuration that are the same for every provider.

use std::net::SocketAddr;

use carillon_runtime::config::{HumanDuration, Secret};
use carillon_vault::{KindKeys, KindVault, Vault};
use serde::Deserialize;

/// Section `dispatch`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct DispatchConfig {
    /// Provider calls of this process at once, both lanes together; a quarter is kept for the transactional lane. At least 4.
    pub in_flight: usize,
    /// Provider calls of one chunk at once. At least 1.
    pub in_flight_per_chunk: usize,
    /// Full messages of the transactional lane, of 64 recipients, in work at once; of smaller ones as many as have no more recipients together, and
    /// at most 16 times as many.
    pub transactional_concurrency: usize,
    /// Chunks of the bulk lane in work at once. More than 8 of both lanes together weaken the stated bound on duplicates.
    pub bulk_concurrency: usize,
    /// After this a provider call that is not answered counts as unknown.
    pub send_timeout: HumanDuration,
}

impl Default for DispatchConfig {
    fn default() -> Self {
        Self {
            in_flight: 1000,
            in_flight_per_chunk: 256,
            transactional_concurrency: 5,
            bulk_concurrency: 3,
            send_timeout: HumanDuration::from_secs(15),
        }
    }
}

impl DispatchConfig {
    /// What is out of bounds, as `carillon_runtime::config::ServiceConfig::faults` wants it.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let bounds = [
            ("dispatch.in_flight", self.in_flight, 4, 100_000),
            ("dispatch.in_flight_per_chunk", self.in_flight_per_chunk, 1, 500),
            ("dispatch.transactional_concurrency", self.transactional_concurrency, 1, 64),
            ("dispatch.bulk_concurrency", self.bulk_concurrency, 1, 64),
        ];
        let out = bounds.into_iter().filter(|(_, value, least, most)| !(least..=most).contains(&value));
        out.map(|(key, _, least, most)| (key, format!("must be {least} to {most}"))).collect()
    }
}

/// Section `ledger`: where claims and reports go.
#[derive(Clone, Debug, Deserialize)]
pub struct LedgerConfig {
    /// `http://host:port` of the status collector's internal gRPC; several as a comma list, whichever answers is used.
    pub url: Vec<String>,
    /// After this an unanswered claim or report counts as not made.
    #[serde(default = "two_seconds")]
    pub timeout: HumanDuration,
}

fn two_seconds() -> HumanDuration {
    HumanDuration::from_secs(2)
}

/// Section `internal`: gRPC between the services.
#[derive(Clone, Debug, Deserialize)]
pub struct InternalConfig {
    /// Shown to the ledger as `authorization: Bearer`.
    pub token: Secret,
    /// Where a service that is called by others listens. Services that only call, as dispatchers do, leave it alone, so that
    /// all services can be given one environment.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
}

/// Section `secrets`: what opens credentials.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SecretsConfig {
    /// The master keys: base64 of 32 bytes each, comma list. Simple, and more than a dispatcher needs.
    pub key: Option<Secret>,
    /// Only the keys of this dispatcher's kind, as `carillon_vault::KindKeys::to_text` writes them. Wins over `key`.
    pub kind_keys: Option<Secret>,
}

impl SecretsConfig {
    /// The vault of one kind of credential.
    ///
    /// # Errors
    /// What is wrong, in words for the operator.
    pub fn vault(&self, kind: &str) -> Result<KindVault, String> {
        match (&self.kind_keys, &self.key) {
            (Some(keys), _) => {
                let keys =
                    KindKeys::parse(kind, keys.expose()).map_err(|error| format!("secrets.kind_keys: {error}"))?;
                Ok(KindVault::new(keys))
            }
            (None, Some(key)) => {
                let vault = Vault::from_list(key.expose()).map_err(|error| format!("secrets.key: {error}"))?;
                vault.for_kind(kind).map_err(|error| format!("secrets.key: {error}"))
            }
            (None, None) => Err("one of secrets.kind_keys and secrets.key is needed".to_owned()),
        }
    }
}

/// Everything that [`crate::start`] needs beside the provider.
#[derive(Clone, Debug)]
pub struct Config {
    /// Section `amqp`.
    pub amqp: carillon_broker::Config,
    /// Section `dispatch`.
    pub dispatch: DispatchConfig,
    /// Section `ledger`.
    pub ledger: LedgerConfig,
    /// Section `internal`.
    pub internal: InternalConfig,
    /// Section `secrets`.
    pub secrets: SecretsConfig,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_that_is_overstepped_is_named() {
        let config = DispatchConfig { in_flight: 1, bulk_concurrency: 0, ..Default::default() };
        let keys: Vec<_> = config.faults().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["dispatch.in_flight", "dispatch.bulk_concurrency"]);
        assert_eq!(DispatchConfig::default().faults(), []);
    }

    #[test]
    fn a_dispatcher_can_do_with_the_keys_of_its_kind() {
        let master = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
        let both = SecretsConfig { key: Some(Secret::new(master)), kind_keys: None };
        let sealed = both.vault("apns").unwrap();
        let context = carillon_vault::Context { tenant: "t", app: Some("a"), kind: "apns", version: 1 };
        let sealed = sealed.seal(&context, b"x").unwrap();
        let keys = "RSBL6My-G8ywYyFM73yxZL58WXsPMy4qsfsThQfuz1FfJPU4";
        let own = SecretsConfig { key: None, kind_keys: Some(Secret::new(keys)) };
        assert!(own.vault("apns").unwrap().open(&context, &sealed).is_err(), "another master's");
        assert!(both.vault("apns").unwrap().open(&context, &sealed).is_ok());
        assert!(SecretsConfig::default().vault("apns").is_err());
    }
}
