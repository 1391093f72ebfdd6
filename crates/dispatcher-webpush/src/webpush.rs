//! Web Push as a [`Provider`].

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use carillon_dispatch::{CallSpan, ChunkFacts, Message, Misconfigured, Provider, TokenFate, Verdict};
use carillon_domain::delivery_status::Reason;
use carillon_domain::device::Environment;
use carillon_egress::{Request, Trust, TrustError};
use carillon_runtime::Clock;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use ring::digest::{SHA256, digest};

use crate::answer::{Answered, accepted, misconfigured, refusal, rejected, unanswered};
use crate::config::WebpushConfig;
use crate::credential::Credential;
use crate::encryption::{Fault, Recipient, encrypt};
use crate::endpoint::{Endpoint, authority};
use crate::roads::Roads;
use crate::vapid::Signer;

const TTL: HeaderName = HeaderName::from_static("ttl");
const URGENCY: HeaderName = HeaderName::from_static("urgency");
const TOPIC: HeaderName = HeaderName::from_static("topic");

/// Seconds that the strictest service takes (Mozilla's; more is refused).
const LONGEST_TTL: u64 = 30 * 24 * 3600;
/// Characters of a topic.
const MOST_TOPIC: usize = 32;

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

/// One message, ready to be sent with any pair.
struct Call<'a> {
    to: &'a Endpoint,
    /// Seconds.
    ttl: u64,
    body: Bytes,
    span: &'a CallSpan,
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

    /// Asks once for each pair until one fits: a refusal for the pair says that the message was not taken.
    async fn ask(&self, prepared: &Prepared, endpoint: &str, call: &Call<'_>) -> Answered {
        for (index, signer) in prepared.credential.signers(endpoint) {
            match self.ask_with(signer, &prepared.headers, call).await {
                Answered::Mismatch => {}
                answered => {
                    if let Answered::Verdict(Verdict::Sent { .. }) = answered {
                        prepared.credential.fits(endpoint, index);
                    }
                    return answered;
                }
            }
        }
        Answered::Mismatch
    }

    async fn ask_with(&self, signer: &Signer, headers: &HeaderMap, call: &Call<'_>) -> Answered {
        let Call { to, ttl, body, span } = call;
        let now = self.clock.now().as_second();
        let Some(authorization) = signer.authorization(&to.origin, now) else {
            return Answered::Verdict(Verdict::Unavailable { retry_after: None });
        };
        let replace = [(AUTHORIZATION, authorization), (TTL, HeaderValue::from(*ttl))];
        let request = Request { replace: &replace, ..Request::post(&to.path, headers, body.clone()) };
        span.asks(to.origin.host(), to.origin.port());
        let response = match self.roads.request(to, request).await {
            Ok(response) => response,
            Err(error) => return unanswered(&error),
        };
        span.answered(response.status.as_u16());
        if response.status.is_success() {
            return Answered::Verdict(accepted(&response.headers));
        }
        refusal(response.status, &response.headers, &response.body)
    }
}

impl Provider for Webpush {
    type Credential = Credential;
    type Prepared = Prepared;

    fn open(&self, plaintext: &[u8]) -> Result<Credential, Misconfigured> {
        Credential::read(plaintext)
    }

    fn host<'a>(&self, token: &'a str, _: Environment) -> &'a str {
        authority(token)
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
        let call = Call { to: &to, ttl, body, span: &message.span };
        match self.ask(prepared, message.token, &call).await {
            Answered::Verdict(verdict) => verdict,
            // A pair cannot be changed under a subscription (RFC 8292, section 4): a lone one was made with a pair that nobody
            // keeps any more, and fails alone. The token is kept: the pair may come back.
            Answered::Mismatch if prepared.credential.is_mismatched(message.token) => {
                misconfigured("VapidPkHashMismatch")
            }
            Answered::Mismatch => rejected(Reason::Credential, TokenFate::Keep),
        }
    }
}

/// The headers that all messages of a chunk share, with placeholders for those that they do not.
fn shared_headers(chunk: &ChunkFacts) -> Result<HeaderMap, Verdict> {
    let refused = |_| rejected(Reason::ProviderRejected, TokenFate::Keep);
    let topic = HeaderValue::from_str(&topic(&chunk.collapse_id)).map_err(refused)?;
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("aes128gcm"));
    headers.insert(URGENCY, HeaderValue::from_static(urgency(chunk)));
    headers.insert(TOPIC, topic);
    headers.insert(TTL, HeaderValue::from_static("0"));
    headers.insert(AUTHORIZATION, HeaderValue::from_static(""));
    Ok(headers)
}

/// RFC 8030, section 5.4: at most 32 characters of base64url, else the push service refuses the message. What is anything else
/// goes as its hash, which replaces the same messages.
fn topic(collapse_id: &str) -> Cow<'_, str> {
    let fits = (1..=MOST_TOPIC).contains(&collapse_id.len())
        && collapse_id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if fits {
        return Cow::Borrowed(collapse_id);
    }
    let hash = digest(&SHA256, collapse_id.as_bytes());
    let mut text = BASE64_URL_SAFE_NO_PAD.encode(hash);
    text.truncate(MOST_TOPIC);
    Cow::Owned(text)
}

/// RFC 8030, section 5.3. What nobody sees may wait for power or Wi-Fi, unless the caller says that it may not.
fn urgency(chunk: &ChunkFacts) -> &'static str {
    match (chunk.high_priority, chunk.shown) {
        (true, _) => "high",
        (false, true) => "normal",
        (false, false) => "low",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_what_push_services_take_and_tells_messages_apart() {
        assert_eq!(topic("AZ3k_0-x"), "AZ3k_0-x");
        let ids = ["0190c8f1-0000-7000-8000-000000000001", "0190c8f1-0000-7000-8000-000000000002", "a b", ""];
        let topics: Vec<_> = ids.iter().map(|id| topic(id).into_owned()).collect();
        for (i, text) in topics.iter().enumerate() {
            assert_eq!((text.len(), topic(text).as_ref()), (MOST_TOPIC, text.as_str()));
            assert!(!topics[..i].contains(text));
        }
    }
}
