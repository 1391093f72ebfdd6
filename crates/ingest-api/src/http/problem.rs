//! Refusals as problem+json (RFC 9457). The one place where an error code becomes a status.

use axum::response::{IntoResponse, Response};
use carillon_domain::fault::{ErrorCode, Fault, Faults};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::refusal::Refusal;

/// A refusal on its way to an HTTP answer. The frame writes the body, because only it knows the request's id.
#[derive(Clone, Debug)]
pub(crate) struct Problem(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    status: StatusCode,
    refusal: Refusal,
    /// The methods a path has, when it has not the one asked for.
    allow: Option<HeaderValue>,
}

impl Problem {
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Refusal::new(code, detail).into()
    }

    /// A status of HTTP's own, where the code's usual one says less.
    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.0.status = status;
        self
    }

    /// A method that a path does not have.
    pub(super) fn method_not_allowed(allowed: &str) -> Self {
        let detail = format!("This path has no such method; it has {allowed}.");
        let mut problem = Self::new(ErrorCode::InvalidRequest, detail).with_status(StatusCode::METHOD_NOT_ALLOWED);
        problem.0.allow = HeaderValue::from_str(allowed).ok();
        problem
    }

    pub(super) fn unknown_route() -> Self {
        Self::new(ErrorCode::NotFound, "There is no such path.")
    }

    /// What axum answered by itself, in words of ours.
    pub(super) fn of_status(status: StatusCode) -> Self {
        let refusal = match status {
            StatusCode::NOT_FOUND => Refusal::not_found(),
            StatusCode::SERVICE_UNAVAILABLE => Refusal::unavailable(),
            status if status.is_server_error() => Refusal::internal(),
            _ => {
                Refusal::new(ErrorCode::InvalidRequest, status.canonical_reason().unwrap_or("The request is refused."))
            }
        };
        Self::from(refusal).with_status(status)
    }

    /// The members of problem+json.
    pub(crate) fn body(&self, request_id: &str) -> Value {
        let Inner { status, refusal, .. } = &*self.0;
        let mut body = Map::new();
        body.insert("type".into(), format!("urn:carillon:problem:{}", refusal.code_text()).into());
        body.insert("title".into(), title(refusal.code).into());
        body.insert("status".into(), status.as_u16().into());
        body.insert("code".into(), refusal.code_text().into());
        body.insert("detail".into(), refusal.detail.as_str().into());
        body.insert("request_id".into(), request_id.into());
        if !refusal.faults.is_empty() {
            let error = |f: &Fault| json!({"pointer": f.pointer, "detail": f.detail, "code": f.code.as_str()});
            body.insert("errors".into(), Value::Array(refusal.faults.iter().map(error).collect()));
        }
        body.extend(refusal.members.clone());
        Value::Object(body)
    }

    /// The answer itself.
    pub(super) fn render(self, request_id: &str) -> Response {
        let body = self.body(request_id).to_string();
        let Inner { status, refusal: Refusal { retry_after, code, .. }, allow } = *self.0;
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        if let Some(allow) = allow {
            headers.insert(header::ALLOW, allow);
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if code == Some(ErrorCode::Unauthenticated) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.0.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        // What is no JSON at all has HTTP's own status; JSON that says the wrong thing is 422.
        let status = if refusal.unreadable { StatusCode::BAD_REQUEST } else { status(refusal.code) };
        Self(Box::new(Inner { status, refusal, allow: None }))
    }
}

impl From<Faults> for Problem {
    fn from(faults: Faults) -> Self {
        Refusal::from(faults).into()
    }
}

impl From<carillon_store::Error> for Problem {
    fn from(error: carillon_store::Error) -> Self {
        Refusal::from(error).into()
    }
}

fn status(code: Option<ErrorCode>) -> StatusCode {
    match code {
        None => StatusCode::INTERNAL_SERVER_ERROR,
        Some(code) => match code {
            ErrorCode::Unauthenticated => StatusCode::UNAUTHORIZED,
            ErrorCode::Forbidden | ErrorCode::IdentityRequired => StatusCode::FORBIDDEN,
            ErrorCode::NotFound => StatusCode::NOT_FOUND,
            ErrorCode::DeviceExists
            | ErrorCode::IdempotencyInProgress
            | ErrorCode::InvalidState
            | ErrorCode::PushDisabled => StatusCode::CONFLICT,
            ErrorCode::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::RateLimited | ErrorCode::QuotaExceeded => StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::InvalidRequest
            | ErrorCode::UnknownField
            | ErrorCode::IdempotencyConflict
            | ErrorCode::PayloadTooLarge
            | ErrorCode::TooManyRecipients
            | ErrorCode::ScheduleInPast
            | ErrorCode::CredentialInvalid => StatusCode::UNPROCESSABLE_ENTITY,
        },
    }
}

fn title(code: Option<ErrorCode>) -> &'static str {
    let Some(code) = code else { return "Internal error" };
    match code {
        ErrorCode::InvalidRequest => "Invalid request",
        ErrorCode::UnknownField => "Unknown field",
        ErrorCode::Unauthenticated => "Not authenticated",
        ErrorCode::Forbidden => "Forbidden",
        ErrorCode::IdentityRequired => "Identity required",
        ErrorCode::NotFound => "Not found",
        ErrorCode::DeviceExists => "Device exists",
        ErrorCode::IdempotencyConflict => "Idempotency key used for something else",
        ErrorCode::IdempotencyInProgress => "First request still in work",
        ErrorCode::PayloadTooLarge => "Payload too large for a platform",
        ErrorCode::BodyTooLarge => "Body too large",
        ErrorCode::TooManyRecipients => "Too many recipients",
        ErrorCode::ScheduleInPast => "Schedule in the past",
        ErrorCode::InvalidState => "Invalid state",
        ErrorCode::PushDisabled => "Push disabled",
        ErrorCode::RateLimited => "Rate limited",
        ErrorCode::QuotaExceeded => "Quota exceeded",
        ErrorCode::CredentialInvalid => "Credential invalid",
        ErrorCode::Unavailable => "Unavailable",
    }
}
