//! Refusals as gRPC statuses. The one place where an error code becomes a status code.

use std::time::Duration;

use carillon_domain::fault::ErrorCode;
use carillon_wire::public as pb;
use serde_json::Value;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use uuid::Uuid;

use crate::refusal::Refusal;

/// Names the platform in `ErrorInfo`.
const DOMAIN: &str = "carillon";

/// The status of a refusal, with `google.rpc.ErrorInfo` and, for bad input, `google.rpc.BadRequest` in its details.
pub(super) fn status(refusal: Refusal, request_id: &str) -> Status {
    let mut details = ErrorDetails::new();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let members: Vec<(String, String)> = refusal.members.iter().map(|(name, v)| (name.clone(), text(v))).collect();
    details.set_error_info(
        refusal.code_text(),
        DOMAIN,
        members.into_iter().collect::<std::collections::HashMap<_, _>>(),
    );
    for fault in &refusal.faults {
        details.add_bad_request_violation(&fault.pointer, &fault.detail);
    }
    if let Some(seconds) = refusal.retry_after {
        details.set_retry_info(Some(Duration::from_secs(seconds.into())));
    }
    details.set_request_info(request_id, "");
    Status::with_error_details(code(refusal.code), refusal.detail, details)
}

/// What the transport refused by itself before a call began, in the form of all refusals. A message that cannot be read is
/// the caller's fault, not an internal one, and the decoder's words may quote it.
pub(super) fn said_by_transport(response: http::Response<Body>) -> http::Response<Body> {
    let Some(refused) = Status::from_header_map(response.headers()) else { return response };
    let refusal = match refused.code() {
        Code::Internal if refused.message().starts_with("failed to decode Protobuf message") => {
            Refusal::fault(ErrorCode::InvalidRequest, "", "is not a message of this call, or nested too deep")
        }
        Code::OutOfRange if refused.message().contains("message length too large") => {
            Refusal::new(ErrorCode::BodyTooLarge, "The message is larger than this call takes.")
        }
        _ => return response,
    };
    status(refusal, &Uuid::now_v7().to_string()).into_http()
}

/// A refusal as the answer to one item of a batch.
pub(super) fn problem(refusal: Refusal) -> pb::Problem {
    let code = refusal.code_text().to_owned();
    let fault =
        |fault: carillon_domain::fault::Fault| pb::problem::Fault { pointer: fault.pointer, detail: fault.detail };
    pb::Problem { code, detail: refusal.detail, errors: refusal.faults.into_iter().map(fault).collect() }
}

fn code(code: Option<ErrorCode>) -> Code {
    let Some(code) = code else { return Code::Internal };
    match code {
        ErrorCode::InvalidRequest
        | ErrorCode::UnknownField
        | ErrorCode::IdempotencyConflict
        | ErrorCode::PayloadTooLarge
        | ErrorCode::BodyTooLarge
        | ErrorCode::TooManyRecipients
        | ErrorCode::ScheduleInPast
        | ErrorCode::CredentialInvalid => Code::InvalidArgument,
        ErrorCode::Unauthenticated => Code::Unauthenticated,
        ErrorCode::Forbidden | ErrorCode::IdentityRequired => Code::PermissionDenied,
        ErrorCode::NotFound => Code::NotFound,
        ErrorCode::DeviceExists => Code::AlreadyExists,
        ErrorCode::InvalidState | ErrorCode::PushDisabled => Code::FailedPrecondition,
        ErrorCode::IdempotencyInProgress => Code::Aborted,
        ErrorCode::RateLimited | ErrorCode::QuotaExceeded => Code::ResourceExhausted,
        ErrorCode::Unavailable => Code::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_details_carry_the_code_every_fault_and_when_to_repeat() {
        let refused = status(Refusal::fault(ErrorCode::InvalidRequest, "/to", "names nobody"), "r1");
        let details = refused.get_error_details();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(details.error_info().map(|info| info.reason.as_str()), Some("invalid_request"));
        let violations = &details.bad_request().unwrap().field_violations;
        assert_eq!((violations[0].field.as_str(), violations[0].description.as_str()), ("/to", "names nobody"));
        let busy = status(Refusal::unavailable(), "r2");
        assert_eq!((busy.code(), busy.get_error_details().retry_info().is_some()), (Code::Unavailable, true));
        assert_eq!(status(Refusal::internal(), "r3").code(), Code::Internal);
    }
}
