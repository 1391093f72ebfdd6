//! The AMQP intake (contract, section 10): events of services outside become notifications.
//!
//! A message is acknowledged after its notification is committed and its answer confirmed; one that comes again is answered
//! again, by its idempotency key. The header `authorization` is read here and goes nowhere else.

use std::future::Future;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use carillon_broker::{Broker, Delivery, Effects, Fault, Handler, Outgoing, Raw};
use carillon_domain::fault::{ErrorCode, Faults};
use carillon_domain::limits;
use carillon_runtime::CancellationToken;
use carillon_wire::{public as pb, topology};
use prost::Message as _;
use serde_json::json;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::accept::{self, Accepted, Api};
use crate::auth::{Caller, Grant};
use crate::bodies::draft::{self, Valid};
use crate::http::Problem;
use crate::http::idempotency::check_idempotency_key;
use crate::ingest::{Ingest, Shared};
use crate::refusal::Refusal;

/// Messages handled at once; what they wait for is the writer, which takes them together.
const AT_ONCE: usize = 64;
/// The routing key of refusals that nobody asked to have answered.
const REFUSED_KEY: &str = "notification.refused";
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";

/// Begins to consume.
pub(crate) fn start(broker: &Broker, ingest: &Shared, stopping: CancellationToken) {
    let intake = Intake { ingest: Arc::downgrade(ingest), stopping };
    broker.consume(&topology::INTAKE, 2 * AT_ONCE as u16, AT_ONCE, intake);
}

/// The consumer outlives the ports, since its connection is the last to close; it must not keep the writer alive.
struct Intake {
    ingest: Weak<Ingest>,
    stopping: CancellationToken,
}

impl Handler<Raw> for Intake {
    fn handle(&self, Raw(body): Raw, delivery: &Delivery) -> impl Future<Output = Result<Effects, Fault>> + Send {
        let span = tracing::info_span!("amqp.intake", otel.kind = "consumer", caller.kind = tracing::field::Empty);
        carillon_telemetry::extract(&delivery.headers).continue_in(&span);
        let working = async move {
            // What comes now is another process's: it is given back when the connection closes.
            let ingest = self.ingest.upgrade().filter(|_| !self.stopping.is_cancelled());
            let ingest = ingest.ok_or_else(|| Fault::because("the process ends"))?;
            answer(delivery, accept_event(&ingest, &body, delivery).await)
        };
        working.instrument(span)
    }
}

async fn accept_event(ingest: &Ingest, body: &Bytes, delivery: &Delivery) -> Result<Accepted, Refusal> {
    let caller = identify(ingest, delivery).await?;
    tracing::Span::current().record("caller.kind", caller.kind());
    if !caller.holds(Grant::Send) {
        return Err(Refusal::new(
            ErrorCode::Forbidden,
            "Events need a server key (csk_) or a user with the scope `send`.",
        ));
    }
    let key = idempotency_key(delivery)?;
    let valid = read(ingest, body, delivery)?;
    accept::send(ingest, Api::Amqp, &caller, valid, key).await
}

/// Who publishes: the key in the header, else the user that RabbitMQ has checked against the connection.
async fn identify(ingest: &Ingest, delivery: &Delivery) -> Result<Caller, Refusal> {
    let header = delivery.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    match (header, &delivery.user_id) {
        (Some((_, key)), _) => ingest.keyring.bearer(Some(key.as_bytes())).await,
        (None, Some(user)) => ingest.permits.amqp_caller(user).await,
        (None, None) => {
            let detail = "The header authorization or the property user_id is needed.";
            Err(Refusal::new(ErrorCode::Unauthenticated, detail))
        }
    }
}

fn idempotency_key(delivery: &Delivery) -> Result<Option<String>, Refusal> {
    let Some(id) = &delivery.message_id else { return Ok(None) };
    match check_idempotency_key(id.as_bytes()) {
        Some(key) => Ok(Some(key)),
        None => {
            let must = "must be 1-255 printable ASCII characters: it is the idempotency key";
            Err(Refusal::fault(ErrorCode::InvalidRequest, "/properties/message_id", must))
        }
    }
}

fn read(ingest: &Ingest, body: &Bytes, delivery: &Delivery) -> Result<Valid, Refusal> {
    if body.len() > limits::BODY_BYTES {
        let detail = format!("The body may have at most {} bytes.", limits::BODY_BYTES);
        return Err(Refusal::new(ErrorCode::BodyTooLarge, detail));
    }
    let given = delivery.content_type.as_deref().unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    let now = ingest.clock.now();
    if essence.eq_ignore_ascii_case(JSON) {
        let sent = draft::read(body, now)?;
        if sent.dry_run {
            let detail = "is for calls that are answered";
            return Err(Refusal::fault(ErrorCode::InvalidRequest, "/dry_run", detail));
        }
        Ok(sent.notification)
    } else if essence.eq_ignore_ascii_case(PROTOBUF) {
        // The decoder's words may quote the body.
        let request = pb::SendRequest::decode(body.as_ref())
            .map_err(|_| Refusal::fault(ErrorCode::InvalidRequest, "", "is not a carillon.v1.SendRequest"))?;
        draft::validate(carillon_wire::draft_from_request(request)?, Faults::new(), now)
    } else {
        let must = format!("must be {JSON} or {PROTOBUF}");
        Err(Refusal::fault(ErrorCode::InvalidRequest, "/properties/content_type", must))
    }
}

/// What is published before the message is acknowledged. What may go better later is no answer but a fault of ours: the
/// message waits, and nobody has to publish it again.
fn answer(delivery: &Delivery, accepted: Result<Accepted, Refusal>) -> Result<Effects, Fault> {
    let effect = match (accepted, &delivery.reply_to) {
        (Ok(accepted), Some(key)) => {
            let mut body = json!({"id": accepted.id.0, "state": accepted.state.as_str()});
            if let Some(warning) = accepted.unready.warning() {
                let platforms: Vec<&str> = warning.platforms.iter().map(|platform| platform.as_str()).collect();
                let (reason, detail) = (warning.reason.as_str(), warning.detail);
                body["warnings"] = json!([{"reason": reason, "platforms": platforms, "detail": detail}]);
            }
            Some(outgoing(topology::REPLIES.name, key, body, JSON))
        }
        (Ok(_), None) => None,
        (Err(refusal), _) if may_pass(&refusal) => return Err(Fault::because("a notification cannot be accepted now")),
        (Err(refusal), reply_to) => {
            let id = delivery.message_id.as_deref().filter(|id| check_idempotency_key(id.as_bytes()).is_some());
            let body = Problem::from(refusal).body(&id.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned));
            let (exchange, key) = match reply_to {
                Some(key) => (topology::REPLIES.name, key.as_str()),
                None => (topology::REFUSED.name, REFUSED_KEY),
            };
            Some(outgoing(exchange, key, body, "application/problem+json"))
        }
    };
    Ok(effect.map(|effect| addressed(effect, delivery)).into_iter().collect())
}

fn may_pass(refusal: &Refusal) -> bool {
    let passing = [ErrorCode::Unavailable, ErrorCode::RateLimited, ErrorCode::IdempotencyInProgress];
    refusal.code.is_some_and(|code| passing.contains(&code))
}

/// Nobody listening for an answer is no reason to keep the event.
fn outgoing(exchange: &str, key: &str, body: serde_json::Value, content_type: &str) -> Outgoing {
    Outgoing::routed(exchange, key, &Raw(body.to_string().into())).with_content_type(content_type).unheard()
}

/// The answer's id follows from the event's, so that an answer that is published again is known.
fn addressed(mut effect: Outgoing, delivery: &Delivery) -> Outgoing {
    if let Some(id) = &delivery.correlation_id {
        effect = effect.with_correlation_id(id);
    }
    match delivery.message_id.as_ref().filter(|id| !id.is_empty()) {
        Some(id) => effect.with_id(id),
        None => effect,
    }
}
