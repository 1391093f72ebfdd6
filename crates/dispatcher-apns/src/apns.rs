//! APNs as a [`Provider`].

use std::sync::Arc;
use std::time::Duration;

use a2::{Priority, PushType};
use carillon_dispatch::{ChunkFacts, Message, Misconfigured, Provider, Scope, TokenFate, Verdict};
use carillon_domain::delivery_status::Reason;
use carillon_domain::device::Environment;
use carillon_domain::ids::RunId;
use carillon_egress::{Request, Response, Trust};
use carillon_runtime::Clock;
use carillon_telemetry::metrics::{Counter, counter};
use carillon_telemetry::names;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::uri::PathAndQuery;
use uuid::Uuid;

use crate::answer::{Answered, Replace, refusal, unanswered};
use crate::config::ApnsConfig;
use crate::credential::Credential;
use crate::pools::{Pools, World, Worlds};

const APNS_ID: HeaderName = HeaderName::from_static("apns-id");
const APNS_TOPIC: HeaderName = HeaderName::from_static("apns-topic");
const APNS_PUSH_TYPE: HeaderName = HeaderName::from_static("apns-push-type");
const APNS_PRIORITY: HeaderName = HeaderName::from_static("apns-priority");
const APNS_EXPIRATION: HeaderName = HeaderName::from_static("apns-expiration");
const APNS_COLLAPSE_ID: HeaderName = HeaderName::from_static("apns-collapse-id");

/// Hexadecimal digits of a device token: Apple names no length, so this only keeps anything else out of the path.
const TOKEN_DIGITS: std::ops::RangeInclusive<usize> = 2..=400;

/// Apple Push Notification service.
pub struct Apns {
    pools: Arc<Pools>,
    clock: Clock,
    other_environment: Counter,
}

/// What the messages of a chunk share.
pub struct Prepared {
    worlds: Arc<Worlds>,
    headers: HeaderMap,
    run: RunId,
    link: u32,
}

impl Apns {
    /// Opens nothing yet: connections come with the first chunk.
    ///
    /// # Errors
    /// A URL that is no origin.
    pub fn new(config: &ApnsConfig, trust: Trust, clock: Clock) -> Result<Self, carillon_egress::OriginError> {
        let pools = Pools::new(config.production()?, config.sandbox()?, config.pool(), trust);
        let labels = [("platform", "apns"), ("reason", "other_environment")];
        Ok(Self { pools: Arc::new(pools), clock, other_environment: counter(&names::RETRIES, &labels) })
    }

    pub(crate) fn pools(&self) -> Arc<Pools> {
        Arc::clone(&self.pools)
    }
}

impl Provider for Apns {
    type Credential = Credential;
    type Prepared = Prepared;

    fn open(&self, plaintext: &[u8]) -> Result<Credential, Misconfigured> {
        Credential::read(plaintext)
    }

    async fn prepare(&self, chunk: &ChunkFacts, credential: &Arc<Credential>) -> Result<Prepared, Verdict> {
        let misconfigured = |error: Misconfigured| Verdict::Misconfigured { detail: error.0 };
        let worlds = self.pools.of(credential).map_err(misconfigured)?;
        let mut headers = shared_headers(chunk, credential.bundle_id.clone())?;
        if let Some(authorization) = credential.authorization(self.clock.now().as_second()) {
            headers.insert(AUTHORIZATION, authorization);
        }
        Ok(Prepared { worlds, headers, run: chunk.run, link: chunk.link })
    }

    fn host<'a>(&self, _: &'a str, environment: Environment) -> &'a str {
        if environment == Environment::Sandbox { "sandbox" } else { "production" }
    }

    async fn send(&self, prepared: &Prepared, message: Message<'_>) -> Verdict {
        let Some(path) = path(message.token) else {
            return Verdict::Rejected { reason: Reason::TokenInvalid, token: TokenFate::RetireUnlessMany };
        };
        let apns_id = apns_id(prepared.run, message.device, prepared.link);
        let Worlds { production, sandbox } = &*prepared.worlds;
        let (first, second) = match message.environment {
            Environment::Production => (production, None),
            Environment::Sandbox => (sandbox, None),
            Environment::Unknown => (production, Some(sandbox)),
        };
        let answered = ask(first, prepared, &path, &apns_id, &message).await;
        let Some(second) = second.filter(|_| answered.elsewhere) else { return answered.verdict };
        self.other_environment.inc();
        let elsewhere = ask(second, prepared, &path, &apns_id, &message).await;
        of_both(answered.verdict, elsewhere)
    }
}

/// What two answers come to, the first from the world that the message belongs to (see [`Provider::host`]). What is wrong with the
/// other one must not hold what goes to the first; what is wrong with the provider token, which both see, holds both.
fn of_both(first: Verdict, second: Answered) -> Verdict {
    let is_misconfigured = |verdict: &Verdict| matches!(verdict, Verdict::Misconfigured { .. });
    match second.verdict {
        // A key for the other world only: that world's word about the token is the one that counts.
        Verdict::Rejected { .. } if is_misconfigured(&first) => second.verdict,
        // Neither world knows the token, or the other one was not asked with a key that it takes.
        _ if second.elsewhere => first,
        Verdict::Misconfigured { .. } => first,
        // The message's own world has answered: this one message comes again, under the same id.
        Verdict::Unavailable { retry_after } => Verdict::Throttled { retry_after, scope: Scope::Device },
        Verdict::Unknown => Verdict::Throttled { retry_after: None, scope: Scope::Device },
        verdict => verdict,
    }
}

/// The headers that all messages of a chunk share, with a placeholder for the one they do not. A background push must have
/// priority 5 ("Sending notification requests to APNs").
fn shared_headers(chunk: &ChunkFacts, bundle_id: HeaderValue) -> Result<HeaderMap, Verdict> {
    let push_type = if chunk.shown { PushType::Alert } else { PushType::Background };
    let priority = if chunk.shown && chunk.high_priority { Priority::High } else { Priority::Normal };
    let expiration = if chunk.now_or_never { 0 } else { chunk.expires_at.as_second() };
    let refused = |_| Verdict::Rejected { reason: Reason::ProviderRejected, token: TokenFate::Keep };
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(APNS_TOPIC, bundle_id);
    headers.insert(APNS_PUSH_TYPE, HeaderValue::from_str(&push_type.to_string()).map_err(refused)?);
    headers.insert(APNS_PRIORITY, HeaderValue::from_str(&priority.to_string()).map_err(refused)?);
    headers.insert(APNS_EXPIRATION, HeaderValue::from(expiration));
    headers.insert(APNS_COLLAPSE_ID, HeaderValue::from_str(&chunk.collapse_id).map_err(refused)?);
    headers.insert(APNS_ID, HeaderValue::from_static(""));
    Ok(headers)
}

/// One request to one of Apple's worlds.
async fn ask(
    world: &World,
    prepared: &Prepared,
    path: &PathAndQuery,
    apns_id: &(HeaderName, HeaderValue),
    message: &Message<'_>,
) -> Answered {
    let replace = std::slice::from_ref(apns_id);
    let request = Request { replace, ..Request::post(path, &prepared.headers, message.body.clone()) };
    let origin = world.pool.origin();
    message.span.asks(origin.host(), origin.port());
    match world.pool.request(request).await {
        Ok(response) => {
            message.span.answered(response.status.as_u16());
            let answered = read(&response);
            world.judge(answered.replace, response.connection);
            answered
        }
        Err(error) => unanswered(&error),
    }
}

fn read(response: &Response) -> Answered {
    if response.status.is_success() {
        let provider_id = response.headers.get(APNS_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
        return Answered { verdict: Verdict::Sent { provider_id }, replace: Replace::No, elsewhere: false };
    }
    let retry_after = response.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    refusal(response.status, retry_after.map(Duration::from_secs), &response.body)
}

fn path(token: &str) -> Option<PathAndQuery> {
    // Without a branch a digit: tokens are right as a rule.
    let is_hexadecimal = token.bytes().fold(true, |so_far, b| so_far & b.is_ascii_hexdigit());
    if !is_hexadecimal || !TOKEN_DIGITS.contains(&token.len()) {
        return None;
    }
    PathAndQuery::try_from([b"/3/device/".as_slice(), token.as_bytes()].concat()).ok()
}

/// The same for every copy of a message, whoever sends it. Marked so that HPACK does not keep it (RFC 7541, section 7.1.3): no other request has
/// it, and it would drive those headers out of the table that all of them have.
fn apns_id(run: RunId, device: &str, link: u32) -> (HeaderName, HeaderValue) {
    let mut name = Vec::with_capacity(device.len() + 5);
    name.extend_from_slice(device.as_bytes());
    name.push(0);
    name.extend_from_slice(&link.to_be_bytes());
    let mut text = Uuid::encode_buffer();
    let text = Uuid::new_v5(&run.0, &name).hyphenated().encode_lower(&mut text);
    // Hexadecimal digits and dashes are a header value.
    let mut value = HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    (APNS_ID, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_domain::ids::NotificationId;

    fn chunk() -> ChunkFacts {
        ChunkFacts {
            run: RunId(Uuid::from_u128(7)),
            notification: NotificationId(Uuid::from_u128(7)),
            tenant: "t".into(),
            app: "a".into(),
            link: 0,
            expires_at: "2026-12-01T09:00:00Z".parse().unwrap(),
            now_or_never: false,
            shown: true,
            high_priority: true,
            collapse_id: "order-17".into(),
            collapse_chosen: true,
            interruption_level: None,
        }
    }

    fn texts(chunk: &ChunkFacts) -> Vec<(String, String)> {
        let headers = shared_headers(chunk, HeaderValue::from_static("com.example")).unwrap();
        headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
    }

    #[test]
    fn what_is_wrong_with_the_other_world_is_not_said_of_the_first() {
        let gone = || Verdict::Rejected { reason: Reason::TokenInvalid, token: TokenFate::RetireUnlessMany };
        let not_here = || Verdict::Misconfigured { detail: "BadEnvironmentKeyIdInToken".into() };
        let later = |retry_after| Verdict::Throttled { retry_after, scope: Scope::Device };
        let said = |verdict, elsewhere| Answered { verdict, replace: Replace::No, elsewhere };
        let refused = || Verdict::Misconfigured { detail: "InvalidProviderToken".into() };
        let sent = || Verdict::Sent { provider_id: None };
        let soon = Some(Duration::from_secs(3));
        for (first, second, expected) in [
            (gone(), said(sent(), false), sent()),
            (gone(), said(gone(), true), gone()),
            (gone(), said(not_here(), true), gone()),
            (gone(), said(refused(), false), gone()),
            (not_here(), said(gone(), true), gone()),
            (not_here(), said(refused(), false), not_here()),
            (gone(), said(Verdict::Unavailable { retry_after: soon }, false), later(soon)),
            (gone(), said(Verdict::Unknown, false), later(None)),
        ] {
            assert_eq!(of_both(first.clone(), second), expected, "{first:?}");
        }
    }

    fn value(headers: &[(String, String)], name: &str) -> String {
        headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()).unwrap_or_default()
    }

    #[test]
    fn an_alert_goes_at_once_and_expires_when_the_message_does() {
        let headers = texts(&chunk());
        let of = |name| value(&headers, name);
        assert_eq!([of("apns-push-type"), of("apns-priority"), of("apns-topic")], ["alert", "10", "com.example"]);
        assert_eq!([of("apns-expiration"), of("apns-collapse-id")], ["1796115600", "order-17"]);
    }

    #[test]
    fn a_background_push_never_has_priority_ten() {
        let headers = texts(&ChunkFacts { shown: false, ..chunk() });
        assert_eq!([value(&headers, "apns-push-type"), value(&headers, "apns-priority")], ["background", "5"]);
    }

    #[test]
    fn a_message_for_now_or_never_is_not_stored_by_apple() {
        let headers = texts(&ChunkFacts { now_or_never: true, ..chunk() });
        assert_eq!(value(&headers, "apns-expiration"), "0");
    }

    #[test]
    fn nothing_but_a_token_gets_into_the_path() {
        assert_eq!(path("00ffAB").unwrap().as_str(), "/3/device/00ffAB");
        for bad in ["", "g0", "ab/../../x?y", "ab c"] {
            assert!(path(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn every_copy_of_a_message_has_the_same_id_and_no_other_message_has_it() {
        let id = |run, device, link| apns_id(RunId(Uuid::from_u128(run)), device, link).1;
        assert_eq!(id(1, "d", 0), id(1, "d", 0));
        let others = [id(2, "d", 0), id(1, "e", 0), id(1, "d", 1)];
        assert!(others.iter().all(|other| *other != id(1, "d", 0)));
    }
}
