//! What all listeners of one simulator have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Error;
use crate::apns;
use crate::clock::Clock;
use crate::conditions::Weather;
use crate::config::Config;
use crate::fcm;
use crate::ledger::Ledger;
use crate::listener::Connections;
use crate::reply::Provider;
use crate::script::Scripts;
use crate::sms;
use crate::tasks::Tasks;
use crate::tls::Authority;
use crate::webpush;

pub(crate) struct State {
    pub(crate) authority: Authority,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    pub(crate) ledger: Ledger,
    pub(crate) scripts: Scripts,
    weather: [Weather; 5],
    connections: [Arc<Connections>; 5],
    known_tokens_only: AtomicBool,
    pub(crate) check_devices: bool,
    pub(crate) apns: apns::Identities,
    pub(crate) fcm: fcm::Projects,
    pub(crate) webpush: webpush::Subscriptions,
    pub(crate) sms: sms::Gateway,
}

impl State {
    pub(crate) fn new(config: &Config, authority: Authority) -> Result<Self, Error> {
        let callbacks = authority.client(config.report_ca.as_deref())?;
        Ok(Self {
            authority,
            clock: Clock::default(),
            tasks: Tasks::default(),
            ledger: Ledger::new(config.keep_bytes),
            scripts: Scripts::default(),
            weather: Default::default(),
            connections: Default::default(),
            known_tokens_only: AtomicBool::new(config.known_tokens_only),
            check_devices: config.check_devices,
            apns: apns::Identities::default(),
            fcm: fcm::Projects::default(),
            webpush: webpush::Subscriptions::default(),
            sms: sms::Gateway::new(config, callbacks),
        })
    }

    pub(crate) fn weather(&self, provider: Provider) -> &Weather {
        &self.weather[provider.index()]
    }

    pub(crate) fn connections(&self, provider: Provider) -> &Arc<Connections> {
        &self.connections[provider.index()]
    }

    pub(crate) fn known_tokens_only(&self) -> bool {
        self.known_tokens_only.load(Ordering::Relaxed)
    }

    pub(crate) fn set_known_tokens_only(&self, only: bool) {
        self.known_tokens_only.store(only, Ordering::Relaxed);
    }
}
