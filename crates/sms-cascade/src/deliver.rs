//! One message to its gateways.

use crate::config::Config;
use crate::gateways::OpenGateway;
use crate::meters::Meters;
use crate::plan::{self, Next, Situation};
use crate::segments::segments;
use crate::smsapi::{self, SERVER, Text, Verdict};
use carillon_egress::{HttpClient, HttpConfig, Trust};
use carillon_runtime::{CancellationToken, Scope, StartError};
use carillon_store::{CascadeOutcome, DueCascade, SmsReference, Store};
use carillon_vault::KindVault;
use std::time::{Duration, Instant};

/// Between two tries at one gateway; doubles.
const PAUSE: Duration = Duration::from_millis(500);

/// How long this process may go on with a claim.
#[derive(Clone)]
pub(crate) struct Lease {
    /// No request begins that may end after this.
    pub(crate) until: Instant,
    /// No request begins once this fires.
    pub(crate) stopping: CancellationToken,
}

/// A message, ready to be sent.
pub(crate) struct Message<'a> {
    pub(crate) due: &'a DueCascade,
    pub(crate) text: String,
    pub(crate) from: Option<&'a str>,
    /// The first one first; the row already names it.
    pub(crate) gateways: Vec<&'a OpenGateway>,
    pub(crate) expires: Option<i64>,
}

/// Sends messages.
pub(crate) struct Sender {
    client: HttpClient,
    url: http::Uri,
    timeout: Duration,
    pub(crate) vault: KindVault,
    pub(crate) public_url: Option<String>,
    pub(crate) meters: Meters,
    stopping: CancellationToken,
}

impl Sender {
    pub(crate) fn new(config: &Config, scope: &Scope) -> Result<Self, StartError> {
        let misconfigured = |error: &dyn std::error::Error| StartError::misconfigured(error.to_string());
        let trust = Trust::load(&config.tls).map_err(|e| misconfigured(&e))?;
        let timeout = config.smsapi.timeout.get();
        let http = HttpConfig { timeout, connect_timeout: timeout.min(Duration::from_secs(5)), ..Default::default() };
        let server = config.smsapi.url.as_ref().map_or_else(|| SERVER.to_owned(), ToString::to_string);
        if config.http.public_url.is_none() {
            tracing::warn!("http.public_url is not set: gateways are not asked for delivery reports");
        }
        Ok(Self {
            client: HttpClient::new(http, &trust).map_err(|e| misconfigured(&e))?,
            url: format!("{server}/sms.do").parse().map_err(|e: http::uri::InvalidUri| misconfigured(&e))?,
            timeout,
            vault: config.secrets.vault().map_err(|e| misconfigured(&e))?,
            public_url: config.http.public_url.clone(),
            meters: Meters::new(),
            stopping: scope.stopping(),
        })
    }

    /// The lease of a claim that was asked for at `since`.
    pub(crate) fn lease(&self, since: Instant, lease: Duration) -> Lease {
        Lease { until: since + lease.saturating_sub(self.timeout), stopping: self.stopping.clone() }
    }

    /// Brings a message to its end within this claim. Nothing when the lease ran out before: the row is taken again.
    pub(crate) async fn deliver(&self, message: &Message<'_>, store: &Store, lease: &Lease) -> Option<CascadeOutcome> {
        let due = message.due;
        let reference = SmsReference(due.id).to_text();
        let (mut in_doubt, mut may_later) = (due.tried.is_some(), false);
        for (place, gateway) in message.gateways.iter().enumerate() {
            if place > 0 && !self.assign(store, due, gateway).await {
                return None;
            }
            for tries in 1.. {
                if lease.stopping.is_cancelled() {
                    let tried = in_doubt.then(|| gateway.gateway.clone());
                    return Some(CascadeOutcome::Retry { after: Duration::ZERO, tried });
                }
                if Instant::now() >= lease.until {
                    return None;
                }
                let verdict = self.ask(message, gateway, &reference).await;
                self.meters.answered(&verdict);
                let at = Situation {
                    gateway: &gateway.gateway,
                    segments: i16::try_from(segments(&message.text)).unwrap_or(i16::MAX),
                    in_doubt,
                    last_gateway: place + 1 == message.gateways.len(),
                    last_try: tries >= plan::TRIES,
                    may_later,
                    attempt: due.attempt,
                    random: uuid::Uuid::new_v4().as_fields().0,
                };
                let unavailable = matches!(verdict, Verdict::Unavailable { .. });
                match plan::after(verdict, &at) {
                    Next::Finish(outcome) => return Some(outcome),
                    Next::Elsewhere => {
                        may_later |= unavailable;
                        break;
                    }
                    Next::TryAgain => {
                        in_doubt = true;
                        let pause = tokio::time::sleep(PAUSE * tries);
                        lease.stopping.run_until_cancelled(pause).await;
                    }
                }
            }
        }
        None
    }

    async fn ask(&self, message: &Message<'_>, gateway: &OpenGateway, idx: &str) -> Verdict {
        let text = Text {
            to: &message.due.phone,
            message: &message.text,
            from: message.from,
            idx,
            notify_url: gateway.notify_url.as_ref().map(|url| url.expose()),
            expires: message.expires,
        };
        let Some(request) = smsapi::request(&self.url, gateway.token.expose(), &text) else {
            return smsapi::unusable_account();
        };
        let _held = self.meters.in_flight.hold();
        smsapi::verdict(self.client.send(request).await)
    }

    /// Notes the next gateway in the row before it is asked.
    async fn assign(&self, store: &Store, due: &DueCascade, gateway: &OpenGateway) -> bool {
        match store.assign_gateways(&[(due.id, due.attempt, &gateway.gateway)]).await {
            Ok(held) => !held.is_empty(),
            Err(error) => {
                tracing::warn!(%error, "a message waits for the database before it goes to its next gateway");
                false
            }
        }
    }
}
