//! The way every request goes: conditions, the provider's own judgement, the token's script, then what happens with the answer.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::conditions::{Disposition, Weather};
use crate::reply::{Provider, Reply};
use crate::script::Scripts;

/// An answer in the provider's own form.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// The provider's word, for the ledger.
    pub(crate) reason: Option<Cow<'static, str>>,
    /// The provider took the message.
    pub(crate) accepted: bool,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
}

impl Answer {
    /// A success that takes the message, with no body.
    pub(crate) fn accepted(status: StatusCode) -> Self {
        Self { status, reason: None, accepted: true, headers: Vec::new(), body: Bytes::new() }
    }

    /// A refusal.
    pub(crate) fn refused(status: StatusCode, reason: impl Into<Cow<'static, str>>, body: impl Into<Bytes>) -> Self {
        Self { status, reason: Some(reason.into()), accepted: false, headers: Vec::new(), body: body.into() }
    }

    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn retry_after(self, seconds: Option<u64>) -> Self {
        match seconds {
            Some(seconds) => self.with(http::header::RETRY_AFTER, HeaderValue::from(seconds)),
            None => self,
        }
    }
}

/// An answer and what happens with it.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) answer: Answer,
    pub(crate) disposition: Disposition,
    /// The token's scripted reply, when it had one and its turn came.
    pub(crate) scripted: Option<Reply>,
}

/// Decides one request. An outage or a throttle refuses it unseen; a request that the provider refuses does not use up a
/// scripted reply, so that a script cannot hide a mistake of the client.
pub(crate) fn decide(
    weather: &Weather,
    scripts: &Scripts,
    provider: Provider,
    token: &str,
    judge: impl FnOnce() -> Answer,
    encode: impl Fn(&Reply) -> Answer,
) -> Decision {
    let admission = weather.admit(Instant::now());
    let mut disposition = Disposition { delay: admission.delay, paused: admission.paused, ..Disposition::default() };
    if let Some(reply) = admission.refusal {
        disposition.delay += Duration::from_millis(reply.delay_ms);
        disposition.fate = reply.fate;
        let answer = if reply.leaves_judgement() { judge() } else { encode(&reply) };
        return Decision { answer, disposition, scripted: None };
    }
    let mut answer = judge();
    let mut scripted = None;
    if answer.reason.is_none()
        && let Some(reply) = scripts.next(provider, token)
    {
        disposition.delay += Duration::from_millis(reply.delay_ms);
        disposition.fate = reply.fate;
        if !reply.leaves_judgement() {
            let other = encode(&reply);
            // A scripted success keeps the provider's own body and headers, so that it stays a credible answer.
            if other.reason.is_none() {
                answer.status = other.status;
            } else {
                answer = other;
            }
        }
        scripted = Some(reply);
    }
    Decision { answer, disposition, scripted }
}
