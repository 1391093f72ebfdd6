//! The configuration of this dispatcher.

use std::time::Duration;

use carillon_egress::{AllowHosts, Origin, OriginError, PoolConfig};
use carillon_runtime::config::HumanDuration;
use serde::Deserialize;

/// Google's host (reference `fcm/rest/v1/projects.messages/send`).
const GOOGLE: &str = "https://fcm.googleapis.com";
/// Google asks for at least this much patience before a request is repeated ("Scale FCM").
const LEAST_TIMEOUT: Duration = Duration::from_secs(10);

carillon_dispatch::sections! {
    /// Google.
    fcm: FcmConfig
}

/// Section `fcm`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct FcmConfig {
    /// Where messages are sent; `http://` means HTTP/2 with prior knowledge.
    pub url: Option<Origin>,
    /// Hosts beside googleapis.com that a service account's `token_uri` may name.
    pub allow_hosts: AllowHosts,
    /// Connections at most. Google allows 100 streams on each, so 10 carry what a process has in flight by default. 1 to 256.
    pub connections: usize,
    /// From the request to the whole answer, a renewal of the bearer token included. At least 10 s.
    pub request_timeout: HumanDuration,
    /// What Google lets one project send in a minute ("Throttling and quotas"); raise it when Google has.
    pub messages_per_minute: u32,
}

impl Default for FcmConfig {
    fn default() -> Self {
        let request_timeout = HumanDuration::from_secs(LEAST_TIMEOUT.as_secs());
        let allow_hosts = AllowHosts::default();
        Self { url: None, allow_hosts, connections: 10, request_timeout, messages_per_minute: 600_000 }
    }
}

impl FcmConfig {
    /// What is out of bounds.
    pub(crate) fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        if !(1..=256).contains(&self.connections) {
            faults.push(("fcm.connections", "must be 1 to 256".to_owned()));
        }
        if self.request_timeout.get() < LEAST_TIMEOUT {
            faults.push(("fcm.request_timeout", "must be at least 10s, which is what Google asks for".to_owned()));
        }
        if !(1..=100_000_000).contains(&self.messages_per_minute) {
            faults.push(("fcm.messages_per_minute", "must be 1 to 100000000".to_owned()));
        }
        faults
    }

    /// Google's host, or the one that stands in for it.
    pub(crate) fn origin(&self) -> Result<Origin, OriginError> {
        self.url.clone().map_or_else(|| GOOGLE.parse(), Ok)
    }

    pub(crate) fn pool(&self) -> PoolConfig {
        PoolConfig {
            connections: self.connections,
            request_timeout: self.request_timeout.get(),
            // A connection takes 100 streams: the next one is opened before this one is full.
            spread_at: 50,
            response_cap: 16 * 1024,
            ..PoolConfig::default()
        }
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
    fn the_environment_says_where_google_is_and_whose_token_uri_is_taken() {
        let config = load(&[
            ("CARILLON_FCM__URL", "http://127.0.0.1:8443"),
            ("CARILLON_FCM__ALLOW_HOSTS", "localhost:1,127.0.0.1"),
        ])
        .unwrap();
        assert_eq!(config.fcm.origin().unwrap(), "http://127.0.0.1:8443".parse().unwrap());
        assert_eq!(config.fcm.allow_hosts.0.len(), 2);
        assert_eq!(load(&[]).unwrap().fcm.origin().unwrap(), GOOGLE.parse().unwrap());
    }

    #[test]
    fn a_bound_that_makes_no_sense_is_refused() {
        for (variable, value, key) in [
            ("CARILLON_FCM__CONNECTIONS", "0", "fcm.connections"),
            ("CARILLON_FCM__REQUEST_TIMEOUT", "9s", "fcm.request_timeout"),
            ("CARILLON_FCM__MESSAGES_PER_MINUTE", "0", "fcm.messages_per_minute"),
        ] {
            let refused = load(&[(variable, value)]).unwrap_err();
            assert!(refused.contains(key), "{refused}");
        }
    }
}
