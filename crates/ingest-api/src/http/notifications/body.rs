//! Bodies of sends: read whole and strictly, before anything of them is believed.

use std::marker::PhantomData;

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use carillon_domain::limits;
use jiff::Timestamp;

use super::super::body::{check_json, read_body};
use super::super::frame::Frame;
use super::super::idempotency::check_idempotency_key;
use super::Problem;
use crate::bodies::draft::{Valid, read_value};
use crate::json::{Findings, Json, Object, Unknown};
use crate::refusal::Refusal;

/// How large a body may be.
pub(super) trait Size {
    const BYTES: usize;
}

/// One notification.
pub(super) struct Single;

/// Many notifications.
pub(super) struct Batch;

impl Size for Single {
    const BYTES: usize = limits::BODY_BYTES;
}

impl Size for Batch {
    const BYTES: usize = limits::BATCH_BODY_BYTES;
}

/// The bytes of a JSON body, of which there are at most so many. What is parsed of them borrows from them.
pub(super) struct RawJson<L> {
    pub(super) bytes: Bytes,
    limit: PhantomData<L>,
}

impl<L: Size, S: Send + Sync> FromRequest<S> for RawJson<L> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let frame = parts.extensions.get::<Frame>().ok_or_else(Refusal::internal)?;
        let bytes = read_body(&parts.headers, body, L::BYTES, frame).await?;
        check_json(&parts.headers)?;
        Ok(Self { bytes, limit: PhantomData })
    }
}

/// The items of a batch, each with its idempotency key: `{"items": [{"notification": {..}, "idempotency_key": ".."}]}`.
///
/// # Errors
/// Only for the batch as a whole; what is wrong with one item is that item's answer.
#[expect(clippy::type_complexity, reason = "what send_all takes")]
pub(super) fn read_batch(
    body: &Json<'_>,
    now: Timestamp,
) -> Result<Vec<(Result<Valid, Refusal>, Option<String>)>, Refusal> {
    let findings = Findings::new(Unknown::Refuse);
    let items = Object::root(body, &findings).and_then(|mut object| {
        let items = object.need("items", |object, name| object.list(name, limits::BATCH))?;
        if items.is_empty() {
            object.fault("items", "must not be empty");
        }
        Some(items.iter().map(|item| read_item(item.value(), now)).collect())
    });
    let (faults, _) = findings.into_parts();
    match items {
        Some(items) if faults.is_empty() => Ok(items),
        _ => Err(faults.into()),
    }
}

fn read_item(item: &Json<'_>, now: Timestamp) -> (Result<Valid, Refusal>, Option<String>) {
    let findings = Findings::new(Unknown::Refuse);
    let read = Object::root(item, &findings).map(|mut object| {
        let key = object.parsed("idempotency_key", "must be 1-255 printable ASCII characters", |text| {
            check_idempotency_key(text.as_bytes())
        });
        let _ = object.need("notification", |object, name| object.value(name));
        key
    });
    let (faults, _) = findings.into_parts();
    match (read, item.as_object().and_then(|item| item.get("notification"))) {
        (Some(key), Some(notification)) if faults.is_empty() => {
            let sent = read_value(notification, now).and_then(|sent| match sent.dry_run {
                false => Ok(sent.notification),
                true => Err(Refusal::fault(
                    carillon_domain::fault::ErrorCode::InvalidRequest,
                    "/dry_run",
                    "belongs to a call with one notification",
                )),
            });
            (sent.map_err(|refusal| refusal.below("/notification")), key)
        }
        _ => (Err(faults.into()), None),
    }
}
