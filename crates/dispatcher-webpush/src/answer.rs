//! What the answers of push services mean (RFC 8030, section 5; RFC 8292, section 4.2; the error pages of Mozilla's and
//! Apple's services). Pure.

use std::borrow::Cow;
use std::time::Duration;

use carillon_dispatch::{Scope, TokenFate, Verdict};
use carillon_domain::delivery_status::Reason;
use carillon_egress::{ConnectError, GuardError, NotSent, RequestError};
use http::header::{HeaderMap, LOCATION, RETRY_AFTER};
use http::{HeaderValue, StatusCode};

/// When our own queue for a stream is full.
const CROWDED: Duration = Duration::from_millis(500);
/// Characters of a message's id that are kept.
const MOST_ID: usize = 128;

/// What one answer means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    Verdict(Verdict),
    /// The subscription was made with another key pair. Whether that is its fault or the pair's depends on the others.
    Mismatch,
}

/// Reads an answer with 2xx: 201 is usual, 202 means that receipts were asked for. The id is the last part of the message
/// resource.
pub(crate) fn accepted(headers: &HeaderMap) -> Verdict {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let id = location.and_then(|location| location.rsplit('/').next());
    let is_id = |id: &&str| (1..=MOST_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    Verdict::Sent { provider_id: id.filter(is_id).map(str::to_owned) }
}

/// Reads any other answer.
pub(crate) fn refusal(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Answered {
    let retry_after = seconds(headers.get(RETRY_AFTER));
    let verdict = match status.as_u16() {
        // Mozilla says 401, RFC 8292 and Apple's older answers 403 or 400; all of them name it.
        400 | 401 | 403 if names_mismatch(body) => return Answered::Mismatch,
        401 => misconfigured("Unauthorized"),
        403 if blames_token(body) => misconfigured("BadJwtToken"),
        403 => return Answered::Mismatch,
        404 | 410 => rejected(Reason::TokenInvalid, TokenFate::Retire { since: None }),
        413 => rejected(Reason::PayloadTooLarge, TokenFate::Keep),
        // Push services count per subscription (RFC 8030, section 8.4): no other subscription suffers from it.
        429 => Verdict::Throttled { retry_after, scope: Scope::Device },
        408 | 425 => Verdict::Unavailable { retry_after },
        // A redirect is not followed: it could lead anywhere.
        300..=499 => rejected(Reason::ProviderRejected, TokenFate::Keep),
        _ => Verdict::Unavailable { retry_after },
    };
    Answered::Verdict(verdict)
}

/// Reads the lack of an answer.
pub(crate) fn unanswered(error: &RequestError) -> Answered {
    Answered::Verdict(match error {
        RequestError::NotSent(NotSent::Invalid) => rejected(Reason::ProviderRejected, TokenFate::Keep),
        RequestError::NotSent(NotSent::TooManyWaiting) => {
            Verdict::Throttled { retry_after: Some(CROWDED), scope: Scope::Device }
        }
        RequestError::Connect(ConnectError::Guard(GuardError::NoAddress)) => Verdict::Unavailable { retry_after: None },
        // A name that leads inside will not be called later either; but names come back, so the token stays.
        RequestError::Connect(ConnectError::Guard(_)) => rejected(Reason::ProviderRejected, TokenFate::Keep),
        RequestError::TooLarge { status, .. } if status.is_success() => Verdict::Sent { provider_id: None },
        RequestError::TooLarge { status, .. } => return refusal(*status, &HeaderMap::new(), b""),
        error if error.is_surely_unsent() => Verdict::Unavailable { retry_after: None },
        _ => Verdict::Unknown,
    })
}

pub(crate) fn rejected(reason: Reason, token: TokenFate) -> Verdict {
    Verdict::Rejected { reason, token }
}

pub(crate) fn misconfigured(detail: &'static str) -> Verdict {
    Verdict::Misconfigured { detail: Cow::Borrowed(detail) }
}

/// `VapidPkHashMismatch` (Apple), "VAPID public key mismatch" (Mozilla).
fn names_mismatch(body: &[u8]) -> bool {
    contains(body, b"mismatch")
}

/// `BadJwtToken`, `ExpiredJwtToken` (Apple): what we sign is not in order, whoever it is for.
fn blames_token(body: &[u8]) -> bool {
    contains(body, b"jwt")
}

fn contains(body: &[u8], word: &[u8]) -> bool {
    body.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
}

/// `Retry-After` in seconds; its other form, a date, is used by no push service that we know.
fn seconds(value: Option<&HeaderValue>) -> Option<Duration> {
    value.and_then(|value| value.to_str().ok()?.trim().parse().ok()).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(status: u16, body: &str) -> Answered {
        refusal(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes())
    }

    fn fate(answered: &Answered) -> Option<TokenFate> {
        match answered {
            Answered::Verdict(Verdict::Rejected { token, .. }) => Some(*token),
            _ => None,
        }
    }

    #[test]
    fn only_404_and_410_cost_a_subscription() {
        let costly: Vec<_> = (300u16..600)
            .filter(|status| fate(&said(*status, "")).is_some_and(|token| token != TokenFate::Keep))
            .collect();
        assert_eq!(costly, [404, 410]);
    }

    #[test]
    fn another_pairs_subscription_is_told_from_a_bad_signature() {
        assert_eq!(said(403, r#"{"reason":"VapidPkHashMismatch"}"#), Answered::Mismatch);
        assert_eq!(said(400, r#"{"reason":"VapidPkHashMismatch"}"#), Answered::Mismatch);
        assert_eq!(said(401, r#"{"errno":109,"message":"VAPID public key mismatch"}"#), Answered::Mismatch);
        assert_eq!(said(403, ""), Answered::Mismatch);
        let bad = Answered::Verdict(misconfigured("BadJwtToken"));
        assert_eq!(said(403, r#"{"reason":"BadJwtToken"}"#), bad);
        assert_eq!(said(401, ""), Answered::Verdict(misconfigured("Unauthorized")));
    }

    #[test]
    fn a_throttle_holds_the_one_subscription_as_long_as_the_service_says() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("17"));
        let seventeen = Some(Duration::from_secs(17));
        let throttled = Verdict::Throttled { retry_after: seventeen, scope: Scope::Device };
        assert_eq!(refusal(StatusCode::TOO_MANY_REQUESTS, &headers, b""), Answered::Verdict(throttled));
        let away = Verdict::Unavailable { retry_after: seventeen };
        assert_eq!(refusal(StatusCode::SERVICE_UNAVAILABLE, &headers, b""), Answered::Verdict(away));
    }

    #[test]
    fn the_id_is_the_last_part_of_the_message_resource() {
        let id = |location: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, HeaderValue::from_str(location).unwrap());
            accepted(&headers)
        };
        let sent = |id: Option<&str>| Verdict::Sent { provider_id: id.map(str::to_owned) };
        assert_eq!(id("https://push.example/message/ab12"), sent(Some("ab12")));
        assert_eq!(id("https://push.example/message/"), sent(None));
        assert_eq!(id(&format!("https://push.example/{}", "a".repeat(200))), sent(None));
        assert_eq!(accepted(&HeaderMap::new()), sent(None));
    }

    #[test]
    fn what_the_guard_refuses_is_not_tried_again_and_costs_no_subscription() {
        let refused = unanswered(&RequestError::Connect(ConnectError::Guard(GuardError::NotPublic)));
        assert_eq!(refused, Answered::Verdict(rejected(Reason::ProviderRejected, TokenFate::Keep)));
        let unresolved = unanswered(&RequestError::Connect(ConnectError::Guard(GuardError::NoAddress)));
        assert_eq!(unresolved, Answered::Verdict(Verdict::Unavailable { retry_after: None }));
    }

    #[test]
    fn what_was_surely_not_sent_may_go_again_and_the_rest_is_unknown() {
        use carillon_egress::Unknown;
        let refused = unanswered(&RequestError::NotSent(NotSent::Refused));
        assert_eq!(refused, Answered::Verdict(Verdict::Unavailable { retry_after: None }));
        assert_eq!(unanswered(&RequestError::Unknown(Unknown::Timeout)), Answered::Verdict(Verdict::Unknown));
        let taken = unanswered(&RequestError::TooLarge { status: StatusCode::CREATED, cap: 1 });
        assert_eq!(taken, Answered::Verdict(Verdict::Sent { provider_id: None }));
        let gone = unanswered(&RequestError::TooLarge { status: StatusCode::GONE, cap: 1 });
        assert_eq!(fate(&gone), Some(TokenFate::Retire { since: None }));
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic_or_sends_a_refusal(status in 300u16..600, body in "\\PC{0,100}") {
            let sent = matches!(said(status, &body), Answered::Verdict(Verdict::Sent { .. }));
            prop_assert!(!sent);
        }
    }
}
