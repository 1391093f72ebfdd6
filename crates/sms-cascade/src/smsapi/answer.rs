//! What an answer means. Refusals come as `{"error": number, ...}`, most of them with status 200.

use super::Verdict;
use carillon_domain::delivery_status::Reason;
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use std::time::Duration;

/// Longest id of a message that is kept.
const MOST_ID: usize = 128;
/// Longest wait that a gateway may ask for.
const MOST_WAIT: Duration = Duration::from_secs(3600);

pub(super) fn verdict(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Verdict {
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Verdict::Unavailable { after: retry_after(headers) };
    }
    let answer: Option<Value> = serde_json::from_slice(body).ok();
    let error = answer.as_ref().and_then(|answer| number(answer.get("error")?));
    if let Some(error) = error {
        return refusal(error, headers);
    }
    if status.is_success() {
        return answer.as_ref().and_then(|answer| first(answer, headers)).unwrap_or(Verdict::Doubtful);
    }
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PAYMENT_REQUIRED => account(),
        StatusCode::SERVICE_UNAVAILABLE => Verdict::Unavailable { after: retry_after(headers) },
        // A proxy's word, or a broken gateway's: what it did before is not said.
        _ if status.is_server_error() => Verdict::Doubtful,
        // The settings lead somewhere that is no gateway.
        _ if status.is_redirection() || status == StatusCode::NOT_FOUND => account(),
        _ => rejected(),
    }
}

/// The one entry of the list of what was taken.
fn first(answer: &Value, headers: &HeaderMap) -> Option<Verdict> {
    let entry = answer.get("list")?.as_array()?.first()?;
    if let Some(error) = entry.get("error").and_then(number) {
        return Some(refusal(error, headers));
    }
    let id = entry.get("id").and_then(Value::as_str).filter(|id| !id.is_empty() && id.len() <= MOST_ID);
    let parts = [entry.get("parts"), answer.get("parts")].into_iter().flatten().find_map(number);
    let parts = parts.and_then(|parts| i16::try_from(parts).ok()).filter(|parts| *parts > 0);
    Some(Verdict::Accepted { provider_id: id.map(str::to_owned), parts })
}

/// A number, or the text of one; null and 0 are none.
fn number(value: &Value) -> Option<i64> {
    let number = value.as_i64().or_else(|| value.as_str()?.parse().ok())?;
    (number != 0).then_some(number)
}

/// SMSAPI's error numbers.
fn refusal(error: i64, headers: &HeaderMap) -> Verdict {
    match error {
        // The reference was sent before.
        53 => Verdict::Repeated,
        // Sender name not allowed; login, address or right refused; account blocked.
        14 | 101 | 102 | 105 | 110 | 1000 | 1001 => account(),
        // No credits left; out of order, to be tried later; too many requests.
        103 | 203 | 429 => Verdict::Unavailable { after: retry_after(headers) },
        // Errors of its own, some of them after it had begun.
        200..=299 | 999 => Verdict::Doubtful,
        _ => rejected(),
    }
}

fn account() -> Verdict {
    Verdict::Refused { reason: Reason::Credential, elsewhere: true }
}

fn rejected() -> Verdict {
    Verdict::Refused { reason: Reason::ProviderRejected, elsewhere: false }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MOST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(status: u16, body: &str) -> Verdict {
        verdict(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn a_message_in_the_list_was_taken() {
        let body = r#"{"count":1,"list":[{"id":"5F1","points":0.16,"number":"48501","status":"QUEUE","error":null,"parts":2}]}"#;
        assert_eq!(of(200, body), Verdict::Accepted { provider_id: Some("5F1".into()), parts: Some(2) });
        let bare = r#"{"count":1,"list":[{"id":"5F1"}]}"#;
        assert_eq!(of(200, bare), Verdict::Accepted { provider_id: Some("5F1".into()), parts: None });
    }

    #[test]
    fn error_numbers_are_told_apart_whatever_the_status() {
        let error = |n: u32| of(200, &format!(r#"{{"error":{n},"message":"x","invalid_numbers":[]}}"#));
        assert_eq!(error(53), Verdict::Repeated);
        assert_eq!((error(101), of(401, r#"{"error":"101"}"#)), (account(), account()));
        assert_eq!((error(13), error(11), error(54)), (rejected(), rejected(), rejected()));
        assert_eq!(error(203), Verdict::Unavailable { after: None });
        assert_eq!(error(201), Verdict::Doubtful);
        assert_eq!(of(200, r#"{"list":[{"error":13}]}"#), rejected());
    }

    #[test]
    fn what_no_gateway_says_leaves_it_open_whether_it_was_taken() {
        for (status, body) in [(200, "<html>"), (200, "{}"), (200, r#"{"list":[]}"#), (500, ""), (502, "x"), (504, "")]
        {
            assert_eq!(of(status, body), Verdict::Doubtful, "{status} {body}");
        }
        assert_eq!((of(401, "no"), of(400, "no")), (account(), rejected()));
    }

    #[test]
    fn a_gateway_that_asks_for_patience_is_given_it_within_bounds() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        let after = |seconds| Verdict::Unavailable { after: Some(Duration::from_secs(seconds)) };
        assert_eq!(verdict(StatusCode::TOO_MANY_REQUESTS, &headers, b""), after(7));
        headers.insert(RETRY_AFTER, "999999".parse().unwrap());
        assert_eq!(verdict(StatusCode::SERVICE_UNAVAILABLE, &headers, b""), after(3600));
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(status in 200u16..600, body in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = verdict(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), &body);
        }

        #[test]
        fn only_a_list_with_an_entry_counts_as_taken(body in r#"[{}\[\]":,a-z0-9]{0,60}"#) {
            let taken = matches!(of(200, &body), Verdict::Accepted { .. });
            prop_assert!(!taken || body.contains("list"));
        }
    }
}
