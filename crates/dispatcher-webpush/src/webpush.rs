//! Web Push as a [`Provider`].

use std::sync::Arc;

use bytes::Bytes;
use carillon_dispatch::{ChunkFacts, Message, Misconfigured, Provider, TokenFate, Verdict};
use carillon_domain::delivery_status::Reason;
use carillon_egress::{Request, Trust, TrustError};
use carillon_runtime::Clock;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use crate::answer::{Answered, accepted, misconfigured, refusal, rejected, unanswered};
use crate::config::WebpushConfig;
use crate::credential::Credential;
use crate::encryption::{Fault, Recipient, encrypt};
use crate::endpoint::Endpoint;
use crate::roads::Roads;

const TTL: HeaderName = HeaderName::from_static("ttl");
const URGENCY: HeaderName = HeaderName::from_static("urgency");
const TOPIC: HeaderName = HeaderName::from_static("topic");

/// Seconds that the strictest service takes (Mozilla's; more is refused).
const LONGEST_TTL: u64 = 30 * 24 * 3600;

/// Any push service that browsers know.
pub struct Webpush {
    roads: Arc<Roads>,
    clock: Clock,
}

/// What the messages of a chunk share.
pub struct Prepared {
    credential: Arc<Credential>,
    headers: HeaderMap,
    now_or_never: bool,
}

impl Webpush {
    /// Opens nothing yet: connections come with the first message to a push service.
    ///
    /// # Errors
    /// Unusable TLS.
    pub fn new(config: &WebpushConfig, trust: &Trust, clock: Clock) -> Result<Self, TrustError> {
        Ok(Self { roads: Arc::new(Roads::new(config, trust)?), clock })
    }

    pub(crate) fn roads(&self) -> Arc<Roads> {
        Arc::clone(&self.roads)
    }

    async fn ask(&self, prepared: &Prepared, to: &Endpoint, ttl: u64, body: Bytes) -> Answered {
        let now = self.clock.now().as_second();
        let Some(authorization) = prepared.credential.signer.authorization(&to.origin, now) else {
            return Answered::Verdict(Verdict::Unavailable { retry_after: None });
        };
        let replace = [(AUTHORIZATION, authorization), (TTL, HeaderValue::from(ttl))];
        let request = Request { replace: &replace, ..Request::post(&to.path, &prepared.headers, body) };
        match self.roads.request(to, request).await {
            Ok(response) if response.status.is_success() => Answered::Verdict(accepted(&response.headers)),
            Ok(response) => refusal(response.status, &response.headers, &response.body),
            Err(error) => unanswered(&error),
        }
    }
}

impl Provider for Webpush {
    type Credential = Credential;
    type Prepared = Prepared;

    fn open(&self, plaintext: &[u8]) -> Result<Credential, Misconfigured> {
        Credential::read(plaintext)
    }

    async fn prepare(&self, chunk: &ChunkFacts, credential: &Arc<Credential>) -> Result<Prepared, Verdict> {
        let headers = shared_headers(chunk)?;
        Ok(Prepared { credential: Arc::clone(credential), headers, now_or_never: chunk.now_or_never })
    }

    async fn send(&self, prepared: &Prepared, message: Message<'_>) -> Verdict {
        // Neither can be told from a dead subscription; and if nearly all are so, a setting of ours is wrong.
        let unusable = rejected(Reason::TokenInvalid, TokenFate::RetireUnlessMany);
        let Ok(to) = Endpoint::read(message.token, &self.roads.guard) else { return unusable };
        let Ok(recipient) = Recipient::new(message.p256dh, message.auth) else { return unusable };
        let body = match encrypt(recipient, &message.body) {
            Ok(body) => body,
            Err(Fault::TooLong) => return rejected(Reason::PayloadTooLarge, TokenFate::Keep),
            Err(Fault::Keys) => return unusable,
            Err(Fault::Random) => return Verdict::Unavailable { retry_after: None },
        };
        let ttl = if prepared.now_or_never { 0 } else { message.time_left.as_secs().min(LONGEST_TTL) };
        let credential = &prepared.credential;
        match self.ask(prepared, &to, ttl, body).await {
            Answered::Verdict(verdict) => {
                if let Verdict::Sent { .. } = verdict {
                    credential.fits();
                }
                verdict
            }
            // A pair cannot be changed under a subscription (RFC 8292, section 4): a lone one was made before the pair was
            // replaced, and fails alone. The token is kept: the pair may come back.
            Answered::Mismatch if credential.is_mismatched() => misconfigured("VapidPkHashMismatch"),
            Answered::Mismatch => rejected(Reason::Credential, TokenFate::Keep),
        }
    }
}

/// The headers that all messages of a chunk share, with placeholders for those that they do not.
fn shared_headers(chunk: &ChunkFacts) -> Result<HeaderMap, Verdict> {
    let refused = |_| rejected(Reason::ProviderRejected, TokenFate::Keep);
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("aes128gcm"));
    headers.insert(URGENCY, HeaderValue::from_static(urgency(chunk)));
    headers.insert(TOPIC, HeaderValue::from_str(&chunk.collapse_id).map_err(refused)?);
    headers.insert(TTL, HeaderValue::from_static("0"));
    headers.insert(AUTHORIZATION, HeaderValue::from_static(""));
    Ok(headers)
}

/// RFC 8030, section 5.3. What nobody sees may wait for power or Wi-Fi, unless the caller says that it may not.
fn urgency(chunk: &ChunkFacts) -> &'static str {
    match (chunk.high_priority, chunk.shown) {
        (true, _) => "high",
        (false, true) => "normal",
        (false, false) => "low",
    }
}
