//! Google's error envelope, and FCM's own words inside of it (reference `fcm/rest/v1/ErrorCode`).

use std::borrow::Cow;

use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::exchange::Answer;
use crate::reply::Reply;

const FCM_ERROR: &str = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";
const QUOTA_FAILURE: &str = "type.googleapis.com/google.rpc.QuotaFailure";
const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";

/// FCM's error codes, their HTTP status and the canonical code beside it.
const CODES: [(&str, u16, &str); 9] = [
    ("UNSPECIFIED_ERROR", 500, "UNKNOWN"),
    ("INVALID_ARGUMENT", 400, "INVALID_ARGUMENT"),
    ("UNREGISTERED", 404, "NOT_FOUND"),
    ("SENDER_ID_MISMATCH", 403, "PERMISSION_DENIED"),
    ("QUOTA_EXCEEDED", 429, "RESOURCE_EXHAUSTED"),
    ("UNAVAILABLE", 503, "UNAVAILABLE"),
    ("INTERNAL", 500, "INTERNAL"),
    ("THIRD_PARTY_AUTH_ERROR", 401, "UNAUTHENTICATED"),
    ("APNS_AUTH_ERROR", 401, "UNAUTHENTICATED"),
];

/// Something wrong in the request's JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) field: String,
    pub(crate) description: String,
}

impl Violation {
    pub(crate) fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into() }
    }
}

fn canonical_code(status: u16) -> &'static str {
    match status {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        500 => "INTERNAL",
        503 => "UNAVAILABLE",
        _ => "UNKNOWN",
    }
}

fn envelope(
    status: StatusCode,
    reason: impl Into<Cow<'static, str>>,
    message: &str,
    code: &str,
    details: Value,
) -> Answer {
    let mut error = json!({"code": status.as_u16(), "message": message, "status": code});
    if details.as_array().is_some_and(|details| !details.is_empty()) {
        error["details"] = details;
    }
    json_answer(status, reason, json!({"error": error}))
}

/// A refusal with a JSON body.
pub(crate) fn json_answer(status: StatusCode, reason: impl Into<Cow<'static, str>>, body: Value) -> Answer {
    Answer::refused(status, reason, body.to_string())
        .with(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"))
}

/// FCM's own refusal.
pub(crate) fn fcm_error(word: &'static str, message: &str) -> Answer {
    let (_, status, code) = CODES.into_iter().find(|(known, ..)| *known == word).unwrap_or(CODES[0]);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    envelope(status, word, message, code, json!([{"@type": FCM_ERROR, "errorCode": word}]))
}

/// A body that is not a message.
pub(crate) fn invalid(violations: &[Violation]) -> Answer {
    let listed: Vec<Value> =
        violations.iter().map(|one| json!({"field": one.field, "description": one.description})).collect();
    let message: Vec<&str> = violations.iter().map(|one| one.description.as_str()).collect();
    let details = json!([
        {"@type": BAD_REQUEST, "fieldViolations": listed},
        {"@type": FCM_ERROR, "errorCode": "INVALID_ARGUMENT"},
    ]);
    envelope(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", &message.join("\n"), "INVALID_ARGUMENT", details)
}

/// No bearer token, or not a good one.
pub(crate) fn unauthenticated() -> Answer {
    let details = json!([{"@type": ERROR_INFO, "reason": "ACCESS_TOKEN_INVALID", "domain": "googleapis.com"}]);
    let message = "Request had invalid authentication credentials.";
    envelope(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message, "UNAUTHENTICATED", details).with(
        WWW_AUTHENTICATE,
        HeaderValue::from_static("Bearer realm=\"https://accounts.google.com/\", error=\"invalid_token\""),
    )
}

/// A good bearer token, but of another project.
pub(crate) fn permission_denied() -> Answer {
    let details = json!([{"@type": ERROR_INFO, "reason": "IAM_PERMISSION_DENIED", "domain": "googleapis.com"}]);
    let message = "Permission 'cloudmessaging.messages.create' denied on resource.";
    envelope(StatusCode::FORBIDDEN, "PERMISSION_DENIED", message, "PERMISSION_DENIED", details)
}

/// The project's messages of this second are used up.
pub(crate) fn quota_exceeded(retry_after: Option<u64>) -> Answer {
    let details = json!([
        {"@type": FCM_ERROR, "errorCode": "QUOTA_EXCEEDED"},
        {"@type": QUOTA_FAILURE, "violations": [{"subject": "project", "description": "Messages per second are used up."}]},
    ]);
    let message = "Quota exceeded for quota metric 'Messages sent'.";
    envelope(StatusCode::TOO_MANY_REQUESTS, "QUOTA_EXCEEDED", message, "RESOURCE_EXHAUSTED", details)
        .retry_after(retry_after)
}

/// What Google's front end answers where there is no such method.
pub(crate) fn no_such_page() -> Answer {
    let page = "<!DOCTYPE html><html lang=en><title>Error 404 (Not Found)!!1</title><p>That page is not here.</html>";
    Answer::refused(StatusCode::NOT_FOUND, "no_such_page", page)
        .with(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=UTF-8"))
}

/// A scripted answer in FCM's form.
pub(crate) fn encode(reply: &Reply) -> Answer {
    let known = reply.reason.as_deref().and_then(|word| CODES.into_iter().find(|(code, ..)| *code == word));
    let status = reply.status.or(known.map(|(_, status, _)| status)).unwrap_or(400);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if status.is_success() {
        return Answer::accepted(status);
    }
    if let Some(body) = &reply.body {
        let reason = reply.reason.clone().unwrap_or_else(|| canonical_code(status.as_u16()).to_owned());
        let kind = if body.starts_with('{') { "application/json; charset=UTF-8" } else { "text/html; charset=UTF-8" };
        return Answer::refused(status, reason, body.clone())
            .with(CONTENT_TYPE, HeaderValue::from_static(kind))
            .retry_after(reply.retry_after);
    }
    let word = reply.reason.clone().unwrap_or_else(|| usual(status.as_u16()).to_owned());
    let code = known.map_or_else(|| canonical_code(status.as_u16()), |(_, _, code)| code);
    let details = if word == "UNAUTHENTICATED" || word == "PERMISSION_DENIED" {
        json!([{"@type": ERROR_INFO, "reason": word, "domain": "googleapis.com"}])
    } else {
        json!([{"@type": FCM_ERROR, "errorCode": word}])
    };
    envelope(status, word, "Scripted refusal.", code, details).retry_after(reply.retry_after)
}

/// The code that usually goes with a bare status.
fn usual(status: u16) -> &'static str {
    match status {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "SENDER_ID_MISMATCH",
        404 => "UNREGISTERED",
        429 => "QUOTA_EXCEEDED",
        500 => "INTERNAL",
        503 => "UNAVAILABLE",
        _ => "UNSPECIFIED_ERROR",
    }
}

/// Whether FCM has this error code.
pub(crate) fn knows(word: &str) -> bool {
    CODES.iter().any(|(code, ..)| *code == word)
}
