//! What surrounds every call: who calls, whether they may, the trace, the deadline, the metrics.

use std::time::{Duration, Instant};

use carillon_domain::fault::ErrorCode;
use carillon_failpoint::Point;
use carillon_telemetry::{metrics, names};
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};
use tracing::Instrument as _;
use uuid::Uuid;

use super::refuse::status;
use crate::auth::{Caller, Grant};
use crate::http::idempotency::check_idempotency_key;
use crate::ingest::Ingest;
use crate::refusal::Refusal;

/// The longest work on one call.
const DEADLINE: Duration = Duration::from_secs(25);

/// A call that may be worked on.
pub(super) struct Call<M> {
    pub(super) caller: Caller,
    pub(super) message: M,
    /// The hash of the caller's key.
    pub(super) key_hash: [u8; 32],
    pub(super) idempotency_key: Option<String>,
}

/// Answers a call of `method` (`package.Service/Method`), for callers that hold `grant`.
///
/// # Errors
/// Every refusal, with its code as `google.rpc.ErrorInfo.reason`.
pub(super) async fn answer<M, T>(
    ingest: &Ingest,
    method: &'static str,
    grant: Grant,
    request: Request<M>,
    work: impl AsyncFnOnce(Call<M>) -> Result<T, Refusal>,
) -> Result<Response<T>, Status> {
    let began = Instant::now();
    let (metadata, _, message) = request.into_parts();
    let id = Uuid::now_v7().to_string();
    let span = span(method, &id, &metadata);
    let working = async {
        let call = admit(ingest, grant, &metadata, message).await?;
        // On the heap: what a call may have to do makes a large future.
        Box::pin(work(call)).await
    };
    let done = match tokio::time::timeout(DEADLINE, Point::GrpcAnswer.around(working.instrument(span))).await {
        Ok(Ok(answer)) => Ok(Response::new(answer)),
        Ok(Err(refusal)) => Err(status(refusal, &id)),
        Err(_) => Err(status(Refusal::unavailable(), &id)),
    };
    let code = done.as_ref().err().map_or(Code::Ok, Status::code);
    let labels = [("method", method), ("status", code_name(code))];
    metrics::histogram(&names::RPC_SERVER_SECONDS, &labels).since(began);
    done
}

async fn admit<M>(ingest: &Ingest, grant: Grant, metadata: &MetadataMap, message: M) -> Result<Call<M>, Refusal> {
    let header = metadata.get("authorization").map(|value| value.as_encoded_bytes());
    let caller = ingest.keyring.bearer(header).await?;
    tracing::Span::current().record("caller.kind", caller.kind());
    if !caller.holds(grant) {
        let needs = format!("This call needs a server key (csk_) with the scope `{}`.", grant.as_str());
        return Err(Refusal::new(ErrorCode::Forbidden, needs));
    }
    Ok(Call { caller, message, key_hash: key_hash(header), idempotency_key: idempotency_key(metadata)? })
}

fn key_hash(header: Option<&[u8]>) -> [u8; 32] {
    let text = header.and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
    carillon_vault::hash_key(text.split_once(' ').map_or("", |(_, key)| key.trim()))
}

fn idempotency_key(metadata: &MetadataMap) -> Result<Option<String>, Refusal> {
    let mut given = metadata.get_all("idempotency-key").iter();
    let Some(value) = given.next() else { return Ok(None) };
    match (check_idempotency_key(value.as_encoded_bytes()), given.next()) {
        (Some(key), None) => Ok(Some(key)),
        _ => {
            let must = "must be one value of 1-255 printable ASCII characters";
            Err(Refusal::fault(ErrorCode::InvalidRequest, "/metadata/idempotency-key", must))
        }
    }
}

fn span(method: &'static str, id: &str, metadata: &MetadataMap) -> tracing::Span {
    let span = tracing::info_span!(
        "grpc.call",
        otel.kind = "server",
        rpc.method = method,
        request.id = id,
        caller.kind = tracing::field::Empty
    );
    let trace = ["traceparent", "tracestate"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), metadata.get(name)?.to_str().ok()?.to_owned())));
    carillon_telemetry::extract(&trace.collect::<Vec<_>>()).continue_in(&span);
    span
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::InvalidArgument => "invalid_argument",
        Code::Unauthenticated => "unauthenticated",
        Code::PermissionDenied => "permission_denied",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::ResourceExhausted => "resource_exhausted",
        Code::Unavailable => "unavailable",
        _ => "internal",
    }
}
