//! `carillon.v1.Notifications`.

mod view;

use carillon_domain::delivery_status::Status as DeliveryStatus;
use carillon_domain::fault::{ErrorCode, Faults};
use carillon_domain::ids::NotificationId;
use carillon_domain::limits;
use carillon_domain::notification::State;
use carillon_store::{DeliveryFilter, NotificationFilter, NotificationRow};
use carillon_wire::public as pb;
use prost::Message as _;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::call::{Call, answer};
use super::listing::{choice, filter, page};
use super::{refuse, time};
use crate::accept::{self, Accepted, Api, Wish};
use crate::auth::{Caller, Grant, TenantRef};
use crate::bodies::draft::{Valid, validate};
use crate::deliveries;
use crate::http::idempotency::check_idempotency_key;
use crate::http::notifications::{apps_of, only};
use crate::http::query::encode;
use crate::ingest::{Ingest, Shared};
use crate::refusal::Refusal;

/// The service.
#[derive(Clone)]
pub(super) struct Notifications(pub(super) Shared);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl pb::notifications_server::Notifications for Notifications {
    async fn send(&self, request: Request<pb::SendRequest>) -> Answer<pb::SendResponse> {
        let method = "carillon.v1.Notifications/Send";
        answer(&self.0, method, Grant::Send, request, async |call| send(&self.0, call).await).await
    }

    async fn send_batch(&self, request: Request<pb::SendBatchRequest>) -> Answer<pb::SendBatchResponse> {
        let method = "carillon.v1.Notifications/SendBatch";
        answer(&self.0, method, Grant::Send, request, async |call| send_batch(&self.0, call).await).await
    }

    async fn get(&self, request: Request<pb::GetNotificationRequest>) -> Answer<pb::Notification> {
        let method = "carillon.v1.Notifications/Get";
        answer(&self.0, method, Grant::Read, request, async |call| {
            let id = read_id(&call.message.id)?;
            find(&self.0, &call.caller, id).await.map(view::notification)
        })
        .await
    }

    async fn list(&self, request: Request<pb::ListNotificationsRequest>) -> Answer<pb::ListNotificationsResponse> {
        let method = "carillon.v1.Notifications/List";
        answer(&self.0, method, Grant::Read, request, async |call| list(&self.0, call).await).await
    }

    async fn list_deliveries(&self, request: Request<pb::ListDeliveriesRequest>) -> Answer<pb::ListDeliveriesResponse> {
        let method = "carillon.v1.Notifications/ListDeliveries";
        answer(&self.0, method, Grant::Read, request, async |call| list_deliveries(&self.0, call).await).await
    }

    async fn cancel(&self, request: Request<pb::CancelRequest>) -> Answer<pb::Notification> {
        let method = "carillon.v1.Notifications/Cancel";
        answer(&self.0, method, Grant::Send, request, async |call| {
            steered(&self.0, Wish::Cancel, &call.caller, &call.message.id).await
        })
        .await
    }

    async fn pause(&self, request: Request<pb::PauseRequest>) -> Answer<pb::Notification> {
        let method = "carillon.v1.Notifications/Pause";
        answer(&self.0, method, Grant::Send, request, async |call| {
            steered(&self.0, Wish::Pause, &call.caller, &call.message.id).await
        })
        .await
    }

    async fn resume(&self, request: Request<pb::ResumeRequest>) -> Answer<pb::Notification> {
        let method = "carillon.v1.Notifications/Resume";
        answer(&self.0, method, Grant::Send, request, async |call| {
            steered(&self.0, Wish::Resume, &call.caller, &call.message.id).await
        })
        .await
    }
}

/// Does what is wished, and shows the notification as it stands then.
async fn steered(ingest: &Ingest, wish: Wish, caller: &Caller, id: &str) -> Result<pb::Notification, Refusal> {
    let id = read_id(id)?;
    accept::steer(ingest, wish, tenant(caller)?, id, only(caller)).await?;
    find(ingest, caller, id).await.map(view::notification)
}

async fn send(ingest: &Ingest, call: Call<pb::SendRequest>) -> Result<pb::SendResponse, Refusal> {
    // The decoder's limit is the batch's.
    if call.message.encoded_len() > limits::BODY_BYTES {
        let detail = format!("The message may have at most {} bytes.", limits::BODY_BYTES);
        return Err(Refusal::new(ErrorCode::BodyTooLarge, detail));
    }
    let valid = valid(ingest, call.message)?;
    accept::send(ingest, Api::Grpc, &call.caller, valid, call.idempotency_key).await.map(response)
}

async fn send_batch(ingest: &Ingest, call: Call<pb::SendBatchRequest>) -> Result<pb::SendBatchResponse, Refusal> {
    if call.idempotency_key.is_some() {
        let each = "is each item's own: give `idempotency_key` in the items";
        return Err(Refusal::fault(ErrorCode::InvalidRequest, "/metadata/idempotency-key", each));
    }
    let items = call.message.items;
    if !(1..=limits::BATCH).contains(&items.len()) {
        let detail = format!("must have 1 to {} items", limits::BATCH);
        return Err(Refusal::fault(ErrorCode::InvalidRequest, "/items", detail));
    }
    let items = items.into_iter().map(|item| {
        let key = item.idempotency_key;
        let checked = check_idempotency_key(key.as_bytes());
        if checked.is_none() && !key.is_empty() {
            let must = "must be 1-255 printable ASCII characters";
            return (Err(Refusal::fault(ErrorCode::InvalidRequest, "/idempotency_key", must)), None);
        }
        let valid = valid(ingest, item.notification.unwrap_or_default());
        (valid.map_err(|refusal| refusal.below("/notification")), checked)
    });
    let answers = accept::send_all(ingest, Api::Grpc, &call.caller, items.collect()).await;
    let answers = answers.into_iter().map(|answer| {
        let answer = match answer {
            Ok(accepted) => pb::send_batch_response::answer::Answer::Accepted(response(accepted)),
            Err(refusal) => pb::send_batch_response::answer::Answer::Problem(refuse::problem(refusal)),
        };
        pb::send_batch_response::Answer { answer: Some(answer) }
    });
    Ok(pb::SendBatchResponse { answers: answers.collect() })
}

fn valid(ingest: &Ingest, request: pb::SendRequest) -> Result<Valid, Refusal> {
    validate(carillon_wire::draft_from_request(request)?, Faults::new(), ingest.clock.now())
}

fn response(accepted: Accepted) -> pb::SendResponse {
    pb::SendResponse {
        id: accepted.id.0.to_string(),
        state: accepted.state.as_str().to_owned(),
        idempotent_replayed: accepted.replayed,
        warnings: accepted.unready.warning().map(view::warning).into_iter().collect(),
    }
}

fn tenant(caller: &Caller) -> Result<&TenantRef, Refusal> {
    caller.tenant().ok_or_else(Refusal::internal)
}

/// What is no id names nothing.
fn read_id(text: &str) -> Result<NotificationId, Refusal> {
    Uuid::parse_str(text).map(NotificationId).map_err(|_| Refusal::not_found())
}

async fn find(ingest: &Ingest, caller: &Caller, id: NotificationId) -> Result<NotificationRow, Refusal> {
    let found = ingest.store.get_notification(tenant(caller)?.key, id, only(caller)).await?;
    found.ok_or_else(Refusal::not_found)
}

async fn list(
    ingest: &Ingest,
    call: Call<pb::ListNotificationsRequest>,
) -> Result<pb::ListNotificationsResponse, Refusal> {
    let (caller, m, mut faults) = (call.caller, call.message, Faults::new());
    let filter = NotificationFilter {
        apps: apps_of(&caller, filter(&mut faults, "/app", m.app).as_deref())?,
        state: choice(&mut faults, "/state", &m.state, State::from_text, &State::texts()),
        reference: filter(&mut faults, "/reference", m.reference),
        user_id: filter(&mut faults, "/user_id", m.user_id),
        from: time::read(&mut faults, "/from", m.from),
        to: time::read(&mut faults, "/to", m.to),
    };
    let page = page(&mut faults, m.limit, &m.cursor);
    faults.into_result(())?;
    let listed = ingest.store.list_notifications(tenant(&caller)?.key, &filter, &page).await?;
    Ok(pb::ListNotificationsResponse {
        next_cursor: listed.next.as_ref().map(encode).unwrap_or_default(),
        items: listed.items.into_iter().map(view::notification).collect(),
    })
}

async fn list_deliveries(
    ingest: &Ingest,
    call: Call<pb::ListDeliveriesRequest>,
) -> Result<pb::ListDeliveriesResponse, Refusal> {
    let (caller, m, mut faults) = (call.caller, call.message, Faults::new());
    let filter = DeliveryFilter {
        status: choice(&mut faults, "/status", &m.status, DeliveryStatus::from_text, &DeliveryStatus::texts()),
        push: choice(&mut faults, "/channel", &m.channel, deliveries::is_push, "push, sms"),
        user_id: filter(&mut faults, "/user_id", m.user_id),
    };
    let page = page(&mut faults, m.limit, &m.cursor);
    faults.into_result(())?;
    let (tenant, id) = (tenant(&caller)?.key, read_id(&m.notification_id)?);
    let listed = ingest.store.list_deliveries(tenant, id, only(&caller), &filter, &page).await?;
    if listed.items.is_empty() && !ingest.store.has_notification(tenant, id, only(&caller)).await? {
        return Err(Refusal::not_found());
    }
    Ok(pb::ListDeliveriesResponse {
        next_cursor: listed.next.as_ref().map(encode).unwrap_or_default(),
        items: listed.items.into_iter().map(view::delivery).collect(),
    })
}
