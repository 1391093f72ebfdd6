//! What FCM's answers mean (references `fcm/rest/v1/ErrorCode` and "FCM error codes"). Pure.

use std::borrow::Cow;
use std::time::Duration;

use carillon_dispatch::{Scope, TokenFate, Verdict};
use carillon_domain::delivery_status::Reason;
use carillon_egress::{NotSent, RequestError, Response};
use http::StatusCode;
use http::header::RETRY_AFTER;
use serde::Deserialize;

use crate::tunnel::seconds;

const FCM_ERROR: &str = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
/// "If there is no Retry-After header, wait 60 seconds" (Throttling and quotas).
const QUOTA: Duration = Duration::from_secs(60);
/// How long Google wants to be left alone after a failure of its own.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// When our own queue for a stream is full.
const CROWDED: Duration = Duration::from_millis(500);
/// Characters of a message's name that are kept.
const MOST_NAME: usize = 255;

/// What one answer means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) verdict: Verdict,
    /// The bearer token is not good, or not any more.
    pub(crate) unauthenticated: bool,
}

#[derive(Deserialize)]
struct Accepted<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Refused<'a> {
    #[serde(borrow)]
    error: ErrorBody<'a>,
}

/// `google.rpc.Status` as JSON.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorBody<'a> {
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    details: Vec<Detail<'a>>,
}

/// FcmError, BadRequest, QuotaFailure or ErrorInfo; each leaves the others' fields out.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Detail<'a> {
    #[serde(borrow, rename = "@type")]
    kind: Cow<'a, str>,
    #[serde(borrow, rename = "errorCode")]
    error_code: Cow<'a, str>,
    #[serde(borrow, rename = "fieldViolations")]
    fields: Vec<FieldViolation<'a>>,
    #[serde(borrow)]
    violations: Vec<QuotaViolation<'a>>,
    #[serde(borrow)]
    reason: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FieldViolation<'a> {
    #[serde(borrow)]
    field: Cow<'a, str>,
    #[serde(borrow)]
    description: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct QuotaViolation<'a> {
    #[serde(borrow)]
    subject: Cow<'a, str>,
    #[serde(borrow)]
    description: Cow<'a, str>,
}

/// Reads an answer.
pub(crate) fn read(response: &Response) -> Answered {
    if response.status.is_success() {
        let accepted: Option<Accepted<'_>> = serde_json::from_slice(&response.body).ok();
        let name = accepted.map(|accepted| accepted.name.into_owned()).filter(|name| is_name(name));
        return plain(Verdict::Sent { provider_id: name });
    }
    refusal(response.status, seconds(response.headers.get(RETRY_AFTER)), &response.body)
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

/// Reads a refusal: FCM's own code where there is one, else the status alone. Only FCM's own code costs a token; a page of
/// HTML, a proxy's or another API's error does not.
pub(crate) fn refusal(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Answered {
    let body: Option<Refused<'_>> = serde_json::from_slice(body).ok();
    let error = body.map(|body| body.error).unwrap_or_default();
    let code = error.details.iter().find(|detail| detail.kind == FCM_ERROR).map_or("", |d| d.error_code.as_ref());
    match (code, status.as_u16()) {
        ("UNREGISTERED", 404) => rejected(Reason::TokenInvalid, TokenFate::Retire { since: None }),
        ("SENDER_ID_MISMATCH", 403) => rejected(Reason::TokenInvalid, TokenFate::RetireUnlessMany),
        ("INVALID_ARGUMENT", _) => invalid_argument(&error),
        ("QUOTA_EXCEEDED", _) => quota_exceeded(&error, retry_after),
        // What Firebase shows to Apple, or to a push service, for this one device: no other message suffers from it.
        ("THIRD_PARTY_AUTH_ERROR" | "APNS_AUTH_ERROR", _) => rejected(Reason::Credential, TokenFate::Keep),
        ("INTERNAL" | "UNSPECIFIED_ERROR", _) => plain(failing(retry_after)),
        ("UNAVAILABLE", _) => plain(Verdict::Unavailable { retry_after }),
        _ => by_status(status, &error, retry_after),
    }
}

fn by_status(status: StatusCode, error: &ErrorBody<'_>, retry_after: Option<Duration>) -> Answered {
    match status.as_u16() {
        401 => Answered { unauthenticated: true, ..misconfigured(error, "UNAUTHENTICATED") },
        403 => misconfigured(error, "PERMISSION_DENIED"),
        // Google's front end: no such project, or a URL that is not FCM's.
        404 => misconfigured(error, "NOT_FOUND"),
        413 => rejected(Reason::PayloadTooLarge, TokenFate::Keep),
        429 => quota_exceeded(error, retry_after),
        408 | 425 => plain(Verdict::Unavailable { retry_after }),
        400..=499 => rejected(Reason::ProviderRejected, TokenFate::Keep),
        500 => plain(failing(retry_after)),
        // Whatever else answers here is not FCM.
        _ => plain(Verdict::Unavailable { retry_after }),
    }
}

/// Google's own failure. Where it names no time, its rules ask for ten seconds before the first repetition, and for more after it
/// ("Best practices when sending FCM messages at scale").
fn failing(retry_after: Option<Duration>) -> Verdict {
    match retry_after {
        Some(_) => Verdict::Unavailable { retry_after },
        None => Verdict::Failing { at_least: AFTER_FAILURE },
    }
}

/// The message or the token: FCM has one code for both. The token is to blame if all that is said is about the token. Even
/// then it is spared when nearly all tokens get this answer, for then it is the message after all.
fn invalid_argument(error: &ErrorBody<'_>) -> Answered {
    let mut fields = error.details.iter().flat_map(|detail| &detail.fields).peekable();
    let about_token = |text: &str| text.to_ascii_lowercase().contains("not a valid fcm registration token");
    let blamed = if fields.peek().is_some() {
        fields.all(|at| matches!(&*at.field, "message.token" | "message.fid") || about_token(&at.description))
    } else {
        about_token(&error.message)
    };
    if blamed {
        return rejected(Reason::TokenInvalid, TokenFate::RetireUnlessMany);
    }
    let too_big = error.message.to_ascii_lowercase().contains("message is too big");
    rejected(if too_big { Reason::PayloadTooLarge } else { Reason::ProviderRejected }, TokenFate::Keep)
}

/// A project's messages per minute, or what one device may get; the details tell which.
fn quota_exceeded(error: &ErrorBody<'_>, retry_after: Option<Duration>) -> Answered {
    let violations = error.details.iter().flat_map(|detail| &detail.violations);
    let mut texts = violations.flat_map(|v| [&v.subject, &v.description]).chain([&error.message]);
    let device = texts.any(|text| text.to_ascii_lowercase().contains("device"));
    let scope = if device { Scope::Device } else { Scope::Credential };
    plain(Verdict::Throttled { retry_after: Some(retry_after.unwrap_or(QUOTA)), scope })
}

fn plain(verdict: Verdict) -> Answered {
    Answered { verdict, unauthenticated: false }
}

fn rejected(reason: Reason, token: TokenFate) -> Answered {
    plain(Verdict::Rejected { reason, token })
}

/// Google's most exact word for it. It goes into logs, so only what can be one of Google's does.
fn misconfigured(error: &ErrorBody<'_>, usual: &'static str) -> Answered {
    let words = error.details.iter().map(|detail| &detail.reason).chain([&error.status]);
    let mut words = words.filter(|word| is_word(word));
    let detail = words.next().map_or(Cow::Borrowed(usual), |word| Cow::Owned(word.to_string()));
    plain(Verdict::Misconfigured { detail })
}

fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

fn is_name(text: &str) -> bool {
    (1..=MOST_NAME).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests;
