//! The configuration of this dispatcher.

use carillon_egress::{AllowHosts, HttpConfig, PoolConfig};
use carillon_runtime::config::HumanDuration;
use serde::Deserialize;

/// The longest answer that is read, in bytes: a word and a sentence.
const ANSWER_CAP: usize = 4096;

carillon_dispatch::sections! {
    /// Push services.
    webpush: WebpushConfig
}

/// Section `webpush`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct WebpushConfig {
    /// Push services that are exempt from the rules on public addresses, ports and TLS.
    pub allow_hosts: AllowHosts,
    /// Connections at most to one push service. 1 to 64.
    pub connections: usize,
    /// Push services whose connections are kept; the one that was longest unused makes room. 1 to 4096.
    pub origins: usize,
    /// From the request to the whole answer.
    pub request_timeout: HumanDuration,
}

impl Default for WebpushConfig {
    fn default() -> Self {
        let request_timeout = HumanDuration::from_secs(10);
        Self { allow_hosts: AllowHosts::default(), connections: 4, origins: 64, request_timeout }
    }
}

impl WebpushConfig {
    /// What is out of bounds.
    pub(crate) fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        if !(1..=64).contains(&self.connections) {
            faults.push(("webpush.connections", "must be 1 to 64".to_owned()));
        }
        if !(1..=4096).contains(&self.origins) {
            faults.push(("webpush.origins", "must be 1 to 4096".to_owned()));
        }
        faults
    }

    pub(crate) fn pool(&self) -> PoolConfig {
        PoolConfig {
            connections: self.connections,
            request_timeout: self.request_timeout.get(),
            response_cap: ANSWER_CAP,
            ..PoolConfig::default()
        }
    }

    pub(crate) fn http(&self) -> HttpConfig {
        HttpConfig { timeout: self.request_timeout.get(), response_cap: ANSWER_CAP, ..HttpConfig::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDED: [(&str, &str); 3] = [
        ("CARILLON_AMQP__URL", "amqp://localhost"),
        ("CARILLON_LEDGER__URL", "http://a:1"),
        ("CARILLON_INTERNAL__TOKEN", "t"),
    ];

    fn load(more: &[(&str, &str)]) -> Result<Config, String> {
        let variables: Vec<_> = NEEDED.iter().chain(more).copied().collect();
        carillon_runtime::config::load(None, variables).map_err(|faults| faults.to_string())
    }

    #[test]
    fn the_environment_exempts_push_services_from_the_guard() {
        let config = load(&[("CARILLON_WEBPUSH__ALLOW_HOSTS", "localhost:8443,push.internal")]).unwrap();
        assert_eq!(config.webpush.allow_hosts, "localhost:8443,push.internal".parse().unwrap());
        assert_eq!(load(&[]).unwrap().webpush.allow_hosts, AllowHosts::default());
    }

    #[test]
    fn a_bound_that_makes_no_sense_is_refused() {
        for (variable, key) in
            [("CARILLON_WEBPUSH__CONNECTIONS", "webpush.connections"), ("CARILLON_WEBPUSH__ORIGINS", "webpush.origins")]
        {
            let refused = load(&[(variable, "0")]).unwrap_err();
            assert!(refused.contains(key), "{refused}");
        }
    }
}
