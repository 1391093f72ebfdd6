//! The configuration of this dispatcher.

use carillon_egress::{Origin, PoolConfig};
use carillon_runtime::config::HumanDuration;
use serde::Deserialize;

/// Apple's hosts ("Sending notification requests to APNs").
const PRODUCTION: &str = "https://api.push.apple.com";
const SANDBOX: &str = "https://api.sandbox.push.apple.com";

carillon_dispatch::sections! {
    /// Apple.
    apns: ApnsConfig
}

/// Section `apns`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct ApnsConfig {
    /// Where devices of the App Store's world are reached; `http://` means HTTP/2 with prior knowledge.
    pub production_url: Option<Origin>,
    /// Where devices of Xcode's world are reached.
    pub sandbox_url: Option<Origin>,
    /// Connections at most for one team's key and one environment. 1 to 64.
    pub connections: usize,
    /// From the request to the whole answer.
    pub request_timeout: HumanDuration,
}

impl Default for ApnsConfig {
    fn default() -> Self {
        let request_timeout = HumanDuration::from_secs(10);
        Self { production_url: None, sandbox_url: None, connections: 2, request_timeout }
    }
}

impl ApnsConfig {
    /// What is out of bounds.
    pub(crate) fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        if !(1..=64).contains(&self.connections) {
            faults.push(("apns.connections", "must be 1 to 64".to_owned()));
        }
        faults
    }

    /// Apple's production host, or the one that stands in for it.
    pub(crate) fn production(&self) -> Result<Origin, carillon_egress::OriginError> {
        self.production_url.clone().map_or_else(|| PRODUCTION.parse(), Ok)
    }

    /// Apple's sandbox host, or the one that stands in for it.
    pub(crate) fn sandbox(&self) -> Result<Origin, carillon_egress::OriginError> {
        self.sandbox_url.clone().map_or_else(|| SANDBOX.parse(), Ok)
    }

    pub(crate) fn pool(&self) -> PoolConfig {
        PoolConfig {
            connections: self.connections,
            request_timeout: self.request_timeout.get(),
            // Answers are a reason and a time.
            response_cap: 4096,
            ..PoolConfig::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDED: [(&str, &str); 3] = [
        ("CARILLON_AMQP__URL", "amqp://localhost"),
        ("CARILLON_LEDGER__URL", "http://a:1,http://b:2"),
        ("CARILLON_INTERNAL__TOKEN", "t"),
    ];

    #[test]
    fn the_environment_says_where_apple_is() {
        let mut variables = NEEDED.to_vec();
        variables.push(("CARILLON_APNS__PRODUCTION_URL", "http://127.0.0.1:8443"));
        let config: Config = carillon_runtime::config::load(None, variables).unwrap();
        assert_eq!(config.apns.production().unwrap(), "http://127.0.0.1:8443".parse().unwrap());
        assert_eq!(config.apns.sandbox().unwrap(), SANDBOX.parse().unwrap());
        assert_eq!(config.ledger.url, ["http://a:1", "http://b:2"]);
    }

    #[test]
    fn a_bound_that_makes_no_sense_is_refused() {
        let mut variables = NEEDED.to_vec();
        variables.push(("CARILLON_APNS__CONNECTIONS", "0"));
        let refused = carillon_runtime::config::load::<Config>(None, variables).unwrap_err().to_string();
        assert!(refused.contains("apns.connections"), "{refused}");
    }
}
