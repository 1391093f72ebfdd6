//! What all services get; each reads the sections that are its own.

use crate::random;
use anyhow::Result;
use carillon_tests::Environment;
use carillon_vault::{ApiKey, ApiKeyKind};
use provider_sim::Sim;
use std::path::Path;

/// Settings and secrets of one run.
pub(crate) struct Common {
    environment: Environment,
    providers: Vec<(&'static str, String)>,
    pub(crate) operator_key: String,
}

impl Common {
    /// For services that push to the simulators.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub(crate) fn new(sim: &Sim, ca: &Path, http: &str) -> Result<Self> {
        let urls = sim.urls();
        let operator_key = ApiKey::mint(ApiKeyKind::Operator)?.expose().to_owned();
        let mut environment = Environment::default();
        for (key, value) in [
            ("SECRETS__KEY", random::master_key()?),
            ("OPERATOR__KEY", operator_key.clone()),
            ("INTERNAL__TOKEN", random::token()?),
            ("TLS__EXTRA_CA", ca.display().to_string()),
            ("FCM__ALLOW_HOSTS", authority(&urls.fcm_token).to_owned()),
            ("WEBPUSH__ALLOW_HOSTS", authority(&urls.webpush).to_owned()),
            ("HTTP__PUBLIC_URL", format!("http://{http}")),
            ("DATABASE__CONNECTIONS", "6".to_owned()),
            // Small pages and chunks: more places where a kill can strike.
            ("SEGMENTER__PAGE_RECIPIENTS", "1000".to_owned()),
            ("SEGMENTER__CHUNK_RECIPIENTS", "50".to_owned()),
            ("TELEMETRY__LOG_FORMAT", "text".to_owned()),
        ] {
            environment.set(key, value);
        }
        let providers = vec![
            ("APNS__PRODUCTION_URL", urls.apns.clone()),
            ("APNS__SANDBOX_URL", urls.apns_sandbox.clone()),
            ("FCM__URL", urls.fcm.clone()),
            ("SMSAPI__URL", urls.sms.clone()),
        ];
        Ok(Self { environment, providers, operator_key })
    }

    /// A copy to add to.
    pub(crate) fn environment(&self) -> Environment {
        self.environment.clone()
    }

    /// The settings that say where a provider is; Web Push has none, its endpoints come from browsers.
    pub(crate) fn providers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.providers.iter().map(|(key, url)| (*key, url.as_str()))
    }
}

/// `host:port` of a URL.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}
