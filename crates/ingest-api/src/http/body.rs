//! Reading a request's body: bounded in size and time, JSON only, all faults at once.

use axum::body::{Body as AxumBody, to_bytes};
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use carillon_domain::fault::ErrorCode;
use carillon_domain::limits;
use http::{HeaderMap, StatusCode, header};
use http_body_util::LengthLimitError;

use super::frame::{Frame, Notes};
use super::problem::Problem;
use crate::auth::Caller;
use crate::json::{self, FromJson, Unknown};
use crate::refusal::Refusal;

/// A JSON body, read and checked. Comes last in a handler's arguments.
#[derive(Clone, Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: FromJson, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let frame = parts.extensions.get::<Frame>().ok_or_else(Refusal::internal)?;
        let bytes = read_body(&parts.headers, body, limits::BODY_BYTES, frame).await?;
        let absent = bytes.is_empty() && T::MAY_BE_ABSENT;
        if !absent {
            check_json(&parts.headers)?;
        }
        let unknown = match parts.extensions.get::<Caller>() {
            Some(caller) if caller.is_on_a_device() => Unknown::Ignore,
            _ => Unknown::Refuse,
        };
        let value = json::parse(if absent { b"{}" } else { &bytes })?;
        let read = json::read::<T>(&value, unknown)?;
        if let Some(notes) = parts.extensions.get::<Notes>() {
            notes.ignored(read.ignored);
        }
        Ok(Self(read.value))
    }
}

/// The bytes of a body of at most `limit` bytes.
///
/// # Errors
/// 413 `body_too_large`, 415 for a compressed one, 408 for one that does not arrive in time.
pub(super) async fn read_body(
    headers: &HeaderMap,
    body: AxumBody,
    limit: usize,
    frame: &Frame,
) -> Result<Bytes, Problem> {
    let encoding = headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes());
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"identity")) {
        return Err(unsupported("A compressed body is not taken: leave Content-Encoding out."));
    }
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    match tokio::time::timeout(frame.body_timeout, to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_large(&error) => Err(too_large(limit)),
        Ok(Err(_)) => {
            Err(Problem::new(ErrorCode::InvalidRequest, "The body broke off.").with_status(StatusCode::BAD_REQUEST))
        }
        Err(_) => {
            let late = Problem::new(ErrorCode::InvalidRequest, "The body did not arrive in time.");
            Err(late.with_status(StatusCode::REQUEST_TIMEOUT))
        }
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<LengthLimitError>())
}

fn too_large(limit: usize) -> Problem {
    Problem::new(ErrorCode::BodyTooLarge, format!("The body may have at most {limit} bytes."))
}

pub(super) fn check_json(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") || essence.eq_ignore_ascii_case("application/merge-patch+json")
    {
        return Ok(());
    }
    Err(unsupported("The body must be JSON, with Content-Type: application/json."))
}

fn unsupported(detail: &str) -> Problem {
    Problem::new(ErrorCode::InvalidRequest, detail).with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE)
}
