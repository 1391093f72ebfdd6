//! What Apple's answers mean ("Handling notification responses from APNs"). Pure.

use std::borrow::Cow;
use std::time::Duration;

use a2::ErrorReason;
use carillon_dispatch::{Scope, TokenFate, Verdict};
use carillon_domain::delivery_status::Reason;
use carillon_egress::{NotSent, RequestError};
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IntoDeserializer as _;
use serde::de::value::{Error as WordError, StrDeserializer};

/// Apple wants no new provider token for a while; ours changes only with the clock, so waiting is all there is to do.
const TOKEN_UPDATES: Duration = Duration::from_secs(60);
/// When our own queue for a stream is full.
const CROWDED: Duration = Duration::from_millis(500);
/// When another connection will do.
const RECONNECT: Duration = Duration::from_millis(200);

/// What one answer means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) verdict: Verdict,
    /// The connection that carried it has to go.
    pub(crate) replace: Replace,
    /// Apple's other world may know the device: the token, or the key, is not for this one.
    pub(crate) elsewhere: bool,
}

/// Whether a connection has had its day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replace {
    No,
    /// If it happens again on the same pool.
    IfRepeated,
    Now,
}

/// The body of a refusal.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    reason: Cow<'a, str>,
    /// Milliseconds since 1970; only with 410.
    timestamp: Option<i64>,
}

/// Reads a refusal. The words are a2's; what a2 lacks (ExpiredToken, InvalidPushType and whatever comes) goes by its status.
pub(crate) fn refusal(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Answered {
    let body: Option<Body<'_>> = serde_json::from_slice(body).ok();
    let word = body.as_ref().map_or("", |body| body.reason.as_ref());
    let since = body.as_ref().and_then(|body| body.timestamp).and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let answered = match reason(word) {
        Some(known) => by_reason(&known, word, retry_after, since),
        None => by_word(word, retry_after),
    };
    answered.unwrap_or_else(|| by_status(status, word, retry_after, since))
}

/// Reads the lack of an answer.
pub(crate) fn unanswered(error: &RequestError) -> Answered {
    match error {
        RequestError::NotSent(NotSent::Invalid) => rejected(Reason::ProviderRejected, TokenFate::Keep),
        RequestError::NotSent(NotSent::TooManyWaiting) => {
            plain(Verdict::Throttled { retry_after: Some(CROWDED), scope: Scope::Device })
        }
        RequestError::TooLarge { status, .. } if status.is_success() => plain(Verdict::Sent { provider_id: None }),
        RequestError::TooLarge { status, .. } => refusal(*status, None, b""),
        error if error.is_surely_unsent() => plain(Verdict::Unavailable { retry_after: None }),
        _ => plain(Verdict::Unknown),
    }
}

fn reason(word: &str) -> Option<ErrorReason> {
    let word: StrDeserializer<'_, WordError> = word.into_deserializer();
    ErrorReason::deserialize(word).ok()
}

fn by_reason(
    reason: &ErrorReason,
    word: &str,
    retry_after: Option<Duration>,
    since: Option<Timestamp>,
) -> Option<Answered> {
    use ErrorReason as R;
    Some(match reason {
        R::BadDeviceToken => {
            Answered { elsewhere: true, ..rejected(Reason::TokenInvalid, TokenFate::RetireUnlessMany) }
        }
        R::DeviceTokenNotForTopic => rejected(Reason::TokenInvalid, TokenFate::RetireUnlessMany),
        R::Unregistered => rejected(Reason::TokenInvalid, TokenFate::Retire { since }),
        R::PayloadTooLarge => rejected(Reason::PayloadTooLarge, TokenFate::Keep),
        R::BadCertificateEnvironment => Answered { elsewhere: true, ..misconfigured(word) },
        R::BadCertificate
        | R::ExpiredProviderToken
        | R::Forbidden
        | R::InvalidProviderToken
        | R::MissingProviderToken
        | R::TopicDisallowed => misconfigured(word),
        R::TooManyProviderTokenUpdates => plain(Verdict::Throttled {
            retry_after: Some(retry_after.unwrap_or(TOKEN_UPDATES)),
            scope: Scope::Credential,
        }),
        R::TooManyRequests => plain(Verdict::Throttled { retry_after, scope: Scope::Device }),
        R::InternalServerError => unavailable(retry_after, Replace::IfRepeated),
        R::ServiceUnavailable => unavailable(retry_after, Replace::No),
        R::Shutdown => unavailable(retry_after, Replace::Now),
        // The connection was idle for too long to carry this request.
        R::IdleTimeout => unavailable(Some(RECONNECT), Replace::Now),
        R::BadCollapseId
        | R::BadExpirationDate
        | R::BadMessageId
        | R::BadPriority
        | R::BadTopic
        | R::DuplicateHeaders
        | R::MissingDeviceToken
        | R::MissingTopic
        | R::PayloadEmpty
        | R::BadPath
        | R::MethodNotAllowed => rejected(Reason::ProviderRejected, TokenFate::Keep),
    })
}

/// Words that a2 does not have and whose status says too little.
fn by_word(word: &str, retry_after: Option<Duration>) -> Option<Answered> {
    match word {
        "UnrelatedKeyIdInToken" => Some(unavailable(retry_after.or(Some(RECONNECT)), Replace::Now)),
        "BadEnvironmentKeyIdInToken" => Some(Answered { elsewhere: true, ..misconfigured(word) }),
        _ => None,
    }
}

fn by_status(status: StatusCode, word: &str, retry_after: Option<Duration>, since: Option<Timestamp>) -> Answered {
    match status.as_u16() {
        403 => misconfigured(word),
        410 => rejected(Reason::TokenInvalid, TokenFate::Retire { since }),
        413 => rejected(Reason::PayloadTooLarge, TokenFate::Keep),
        429 => plain(Verdict::Throttled { retry_after, scope: Scope::Device }),
        400..=499 => rejected(Reason::ProviderRejected, TokenFate::Keep),
        500 => unavailable(retry_after, Replace::IfRepeated),
        // Whatever else answers here is not Apple.
        _ => unavailable(retry_after, Replace::No),
    }
}

fn plain(verdict: Verdict) -> Answered {
    Answered { verdict, replace: Replace::No, elsewhere: false }
}

fn rejected(reason: Reason, token: TokenFate) -> Answered {
    plain(Verdict::Rejected { reason, token })
}

fn unavailable(retry_after: Option<Duration>, replace: Replace) -> Answered {
    Answered { verdict: Verdict::Unavailable { retry_after }, replace, elsewhere: false }
}

/// The word goes into logs, so only what can be one of Apple's does.
fn misconfigured(word: &str) -> Answered {
    let is_word = (1..=64).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_alphanumeric());
    let detail = if is_word { Cow::Owned(word.to_owned()) } else { Cow::Borrowed("Forbidden") };
    plain(Verdict::Misconfigured { detail })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(status: u16, word: &str) -> Answered {
        let body = serde_json::json!({ "reason": word }).to_string();
        refusal(StatusCode::from_u16(status).unwrap(), None, body.as_bytes())
    }

    fn token_of(answered: &Answered) -> Option<TokenFate> {
        match answered.verdict {
            Verdict::Rejected { token, .. } => Some(token),
            _ => None,
        }
    }

    #[test]
    fn only_the_four_words_that_say_so_cost_a_token() {
        let all = [
            (400, "BadCollapseId"),
            (400, "BadDeviceToken"),
            (400, "BadExpirationDate"),
            (400, "BadMessageId"),
            (400, "BadPriority"),
            (400, "BadTopic"),
            (400, "DeviceTokenNotForTopic"),
            (400, "DuplicateHeaders"),
            (400, "IdleTimeout"),
            (400, "InvalidPushType"),
            (400, "MissingDeviceToken"),
            (400, "MissingTopic"),
            (400, "PayloadEmpty"),
            (400, "TopicDisallowed"),
            (403, "BadCertificate"),
            (403, "BadCertificateEnvironment"),
            (403, "BadEnvironmentKeyIdInToken"),
            (403, "ExpiredProviderToken"),
            (403, "Forbidden"),
            (403, "InvalidProviderToken"),
            (403, "MissingProviderToken"),
            (403, "UnrelatedKeyIdInToken"),
            (404, "BadPath"),
            (405, "MethodNotAllowed"),
            (410, "ExpiredToken"),
            (410, "Unregistered"),
            (413, "PayloadTooLarge"),
            (429, "TooManyProviderTokenUpdates"),
            (429, "TooManyRequests"),
            (500, "InternalServerError"),
            (503, "ServiceUnavailable"),
            (503, "Shutdown"),
        ];
        let costly: Vec<_> = all
            .into_iter()
            .filter(|(status, word)| token_of(&said(*status, word)).is_some_and(|token| token != TokenFate::Keep))
            .map(|(_, word)| word)
            .collect();
        assert_eq!(costly, ["BadDeviceToken", "DeviceTokenNotForTopic", "ExpiredToken", "Unregistered"]);
    }

    #[test]
    fn a_dead_token_is_dead_since_apple_says() {
        let body = br#"{"reason":"Unregistered","timestamp":1508249865488}"#;
        let since = Timestamp::from_millisecond(1_508_249_865_488).ok();
        assert_eq!(token_of(&refusal(StatusCode::GONE, None, body)), Some(TokenFate::Retire { since }));
        let unknown_word = br#"{"reason":"ExpiredToken","timestamp":1508249865488}"#;
        assert_eq!(token_of(&refusal(StatusCode::GONE, None, unknown_word)), Some(TokenFate::Retire { since }));
        assert_eq!(token_of(&refusal(StatusCode::GONE, None, b"")), Some(TokenFate::Retire { since: None }));
    }

    #[test]
    fn a_refused_credential_is_no_refusal_of_the_message() {
        for word in ["InvalidProviderToken", "ExpiredProviderToken", "Forbidden", "SomethingNew"] {
            assert_eq!(said(403, word).verdict, Verdict::Misconfigured { detail: word.to_owned().into() });
        }
        assert_eq!(said(400, "TopicDisallowed").verdict, Verdict::Misconfigured { detail: "TopicDisallowed".into() });
    }

    #[test]
    fn too_many_token_updates_pause_the_credential_and_too_many_requests_the_device() {
        let scope = |answered: Answered| match answered.verdict {
            Verdict::Throttled { scope, .. } => Some(scope),
            _ => None,
        };
        assert_eq!(scope(said(429, "TooManyProviderTokenUpdates")), Some(Scope::Credential));
        assert_eq!(scope(said(429, "TooManyRequests")), Some(Scope::Device));
        assert_eq!(scope(said(429, "New")), Some(Scope::Device));
    }

    #[test]
    fn connections_go_when_apple_shuts_down_or_confuses_keys() {
        assert_eq!(said(503, "Shutdown").replace, Replace::Now);
        assert_eq!(said(403, "UnrelatedKeyIdInToken").replace, Replace::Now);
        assert_eq!(said(500, "InternalServerError").replace, Replace::IfRepeated);
        assert_eq!(said(503, "ServiceUnavailable").replace, Replace::No);
    }

    #[test]
    fn what_was_surely_not_sent_may_go_again_and_the_rest_is_unknown() {
        use carillon_egress::Unknown;
        let refused = unanswered(&RequestError::NotSent(NotSent::Refused));
        assert_eq!(refused.verdict, Verdict::Unavailable { retry_after: None });
        assert_eq!(unanswered(&RequestError::Unknown(Unknown::Timeout)).verdict, Verdict::Unknown);
        let accepted = RequestError::TooLarge { status: StatusCode::OK, cap: 1 };
        assert_eq!(unanswered(&accepted).verdict, Verdict::Sent { provider_id: None });
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic_or_sends_a_refusal(status in 300u16..600, body in proptest::collection::vec(any::<u8>(), 0..100)) {
            let answered = refusal(StatusCode::from_u16(status).unwrap(), None, &body);
            let sent = matches!(answered.verdict, Verdict::Sent { .. });
            prop_assert!(!sent);
        }

        #[test]
        fn what_apple_calls_a_failure_of_its_own_is_always_tried_again(status in 500u16..600, word in "[A-Za-z]{0,20}") {
            prop_assume!(reason(&word).is_none());
            let again = matches!(said(status, &word).verdict, Verdict::Unavailable { .. });
            prop_assert!(again);
        }
    }
}
