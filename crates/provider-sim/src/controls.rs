//! Everything that can be told to a running simulator, for the library's callers and the control interface alike.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use crate::Error;
use crate::apns::{self, ApnsCertificate, ApnsKey, ApnsToken, IssuedCertificate};
use crate::conditions::Conditions;
use crate::fcm::{FcmProject, FcmTokens};
use crate::ledger::Ledger;
use crate::listener::Wish;
use crate::reply::{Provider, Reply};
use crate::script::Script;
use crate::sms::{ReportRecord, SmsAccount};
use crate::state::State;
use crate::webpush::{NewSubscriptions, Subscription};

/// Where everything listens, with the ports that the operating system chose.
#[derive(Debug, Clone, Serialize)]
pub struct Urls {
    /// The control interface.
    pub control: String,
    /// The ledger; today the same as `control`.
    pub ledger: String,
    /// APNs, production.
    pub apns: String,
    /// APNs, sandbox.
    pub apns_sandbox: String,
    /// FCM HTTP v1.
    pub fcm: String,
    /// What service accounts have as `token_uri`.
    pub fcm_token: String,
    /// The origin of Web Push endpoints.
    pub webpush: String,
    /// The SMS gateway.
    pub sms: String,
}

/// A handle on a running simulator; clones command the same one.
#[derive(Clone)]
pub struct Controls {
    pub(crate) state: Arc<State>,
    pub(crate) urls: Arc<Urls>,
    pub(crate) ca_pem: Arc<str>,
}

impl Controls {
    /// Where everything listens.
    pub fn urls(&self) -> &Urls {
        &self.urls
    }

    /// The certificate of the simulator's own authority, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// What the providers saw.
    pub fn ledger(&self) -> &Ledger {
        &self.state.ledger
    }

    /// Appends replies to a token's queue; the token `*` is for all that have no queue of their own. A reply with a word
    /// that the provider does not know and no status, or with fields that are not the provider's, is refused.
    pub fn script(
        &self,
        provider: Provider,
        token: impl Into<String>,
        replies: impl IntoIterator<Item = Reply>,
    ) -> Result<(), Error> {
        self.add_script(Script { provider, token: token.into(), replies: replies.into_iter().collect() })
    }

    /// The same in one piece.
    pub fn add_script(&self, script: Script) -> Result<(), Error> {
        if script.token.is_empty() {
            return Err(Error::refused("token must not be empty"));
        }
        for reply in &script.replies {
            check_reply(script.provider, reply)?;
        }
        self.state.scripts.add(script)
    }

    /// Forgets scripts: of one token, of a provider, or all.
    pub fn clear_scripts(&self, provider: Option<Provider>, token: Option<&str>) {
        self.state.scripts.clear(provider, token);
    }

    /// Replaces a provider's conditions.
    pub fn set_conditions(&self, provider: Provider, conditions: Conditions) -> Result<(), Error> {
        if let Some(failure) = &conditions.fail {
            check_reply(provider, &failure.reply)?;
        }
        self.state.connections(provider).refuse(conditions.refuse_connections);
        self.state.weather(provider).set(conditions, Instant::now());
        Ok(())
    }

    /// A provider's conditions as they are now.
    pub fn conditions(&self, provider: Provider) -> Conditions {
        self.state.weather(provider).get()
    }

    /// Sends GOAWAY on every open connection of a provider (over HTTP/1.1: closes it after the answers under way).
    pub fn go_away(&self, provider: Provider) {
        self.state.connections(provider).wish(Wish::GoAway);
    }

    /// Cuts every open connection of a provider.
    pub fn drop_connections(&self, provider: Provider) {
        self.state.connections(provider).wish(Wish::Drop);
    }

    /// Open connections of a provider, and how many there were since the start.
    pub fn connections(&self, provider: Provider) -> (usize, u64) {
        let connections = self.state.connections(provider);
        (connections.open(), connections.opened())
    }

    /// Puts the simulator's clock ahead, so that credentials expire.
    pub fn advance_clock(&self, by: Duration) {
        self.state.clock.advance(i64::try_from(by.as_millis()).unwrap_or(i64::MAX));
    }

    /// Whether APNs and FCM refuse tokens that were not declared.
    pub fn require_known_tokens(&self, only: bool) {
        self.state.set_known_tokens_only(only);
    }

    /// Makes an APNs token key known; without a public key a pair is made and the private key returned (PKCS#8 PEM, the
    /// form of Apple's .p8 files).
    pub fn register_apns_key(&self, key: ApnsKey) -> Result<Option<String>, Error> {
        self.state.apns.register(key)
    }

    /// Revokes an APNs token key; whether there was one.
    pub fn revoke_apns_key(&self, team_id: &str, key_id: &str) -> bool {
        self.state.apns.revoke(team_id, key_id)
    }

    /// Issues a client certificate with which pushes need no provider token.
    pub fn issue_apns_certificate(&self, wanted: ApnsCertificate) -> Result<IssuedCertificate, Error> {
        let (der, certificate, private_key) = self.state.authority.issue()?;
        self.state.apns.register_certificate(der, wanted)?;
        Ok(IssuedCertificate { certificate, private_key })
    }

    /// Revokes every APNs client certificate that was issued, also on open connections.
    pub fn revoke_apns_certificates(&self) {
        self.state.apns.revoke_certificates();
    }

    /// Makes APNs device tokens known.
    pub fn declare_apns_tokens(&self, tokens: Vec<ApnsToken>) -> Result<(), Error> {
        self.state.apns.declare(tokens)
    }

    /// Makes a Firebase project; the service account's JSON.
    pub async fn create_fcm_project(&self, project: FcmProject) -> Result<Value, Error> {
        let state = Arc::clone(&self.state);
        blocking(move || state.fcm.create(project)).await
    }

    /// Forgets a Firebase project with its credentials; whether there was one.
    pub fn remove_fcm_project(&self, project_id: &str) -> bool {
        self.state.fcm.remove(project_id)
    }

    /// Makes FCM registration tokens known.
    pub fn declare_fcm_tokens(&self, tokens: FcmTokens) -> Result<(), Error> {
        self.state.fcm.declare(tokens)
    }

    /// Makes every bearer token issued so far useless.
    pub fn revoke_fcm_bearers(&self) {
        self.state.fcm.revoke_bearers();
    }

    /// Makes Web Push subscriptions.
    pub async fn create_subscriptions(&self, wanted: NewSubscriptions) -> Result<Vec<Subscription>, Error> {
        let state = Arc::clone(&self.state);
        blocking(move || state.webpush.create(&wanted)).await
    }

    /// Ends a Web Push subscription, so that pushes to it are 410; whether there was one.
    pub fn end_subscription(&self, endpoint: &str) -> bool {
        self.state.webpush.end(endpoint)
    }

    /// Makes an account of the SMS gateway known.
    pub fn register_sms_account(&self, account: SmsAccount) -> Result<(), Error> {
        self.state.sms.register(account)
    }

    /// The delivery reports that are through, acknowledged or given up, oldest first.
    pub fn sms_reports(&self) -> Vec<ReportRecord> {
        self.state.sms.reports.done()
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let failed = |_| Error::refused("the work was interrupted");
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}

/// A reply has to make sense for its provider.
fn check_reply(provider: Provider, reply: &Reply) -> Result<(), Error> {
    if reply.status.is_some_and(|status| !(200..600).contains(&status)) {
        return Err(Error::refused("status is between 200 and 599"));
    }
    if reply.timestamp.is_some() && provider != Provider::Apns {
        return Err(Error::refused("timestamp is for apns only"));
    }
    if reply.reports.is_some() && provider != Provider::Sms {
        return Err(Error::refused("reports are for sms only"));
    }
    if reply.leaves_judgement() && (reply.retry_after.is_some() || reply.timestamp.is_some() || reply.body.is_some()) {
        return Err(Error::refused("retry_after, timestamp and body need a status or a reason"));
    }
    let Some(reason) = &reply.reason else { return Ok(()) };
    let known = match provider {
        Provider::Apns => reply.status.is_some() || apns::Reason::from_word(reason).is_some(),
        Provider::Fcm => reply.status.is_some() || crate::fcm::knows(reason),
        Provider::Webpush => reply.status.is_some() || reason == "BadJwtToken",
        Provider::FcmToken => true,
        Provider::Sms => reason.parse::<u16>().is_ok(),
    };
    if known { Ok(()) } else { Err(Error::refused(format!("{} does not know the reason {reason}", provider.name()))) }
}
