//! From a valid notification to an accepted one: what has to be known of the app, sizes, the idempotency key.

mod repeats;
mod senders;
mod sizes;
mod unready;

pub(crate) use unready::{Unready, Warning};

use super::Answer;
use super::fingerprint::body_and_fingerprint;
use crate::auth::{Caller, TenantRef};
use crate::bodies::draft::Valid;
use crate::ingest::Ingest;
use crate::refusal::Refusal;
use carillon_domain::cascade::CascadeLink;
use carillon_domain::fault::ErrorCode;
use carillon_domain::ids::{AppKey, NotificationId, TenantKey};
use carillon_domain::notification::{Notification, State};
use carillon_domain::platform::Platform;
use carillon_store::{App, NewNotification};
use carillon_telemetry::{metrics, names};
use jiff::Timestamp;
use std::time::Instant;
use uuid::Uuid;

/// A notification that was accepted, now or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) id: NotificationId,
    pub(crate) state: State,
    pub(crate) replayed: bool,
    /// What would keep it waiting, as things are now.
    pub(crate) unready: Unready,
}

/// What would be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rehearsed {
    pub(crate) state: State,
    pub(crate) unready: Unready,
}

/// Which intake a notification came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Rest,
    Grpc,
    Amqp,
}

impl Api {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Grpc => "grpc",
            Self::Amqp => "amqp",
        }
    }

    /// Counts what became of a notification.
    fn count(self, answer: &Result<Accepted, Refusal>) {
        let outcome = match answer {
            Ok(accepted) if accepted.replayed => "duplicate",
            Ok(_) => "accepted",
            Err(refusal) => match refusal.code {
                None | Some(ErrorCode::Unavailable) => "error",
                Some(ErrorCode::RateLimited | ErrorCode::QuotaExceeded) => "throttled",
                Some(_) => "rejected",
            },
        };
        let labels = [("api", self.as_str()), ("outcome", outcome)];
        metrics::counter(&names::NOTIFICATIONS_RECEIVED, &labels).inc();
    }
}

/// Accepts one notification.
///
/// # Errors
/// Every refusal of the contract; when it comes, nothing was accepted, except that after `unavailable` nobody knows.
pub(crate) async fn send(
    ingest: &Ingest,
    api: Api,
    caller: &Caller,
    valid: Valid,
    key: Option<String>,
) -> Result<Accepted, Refusal> {
    let began = Instant::now();
    let answer = match admit_or_replay(ingest, caller, valid, key).await {
        Ok(Admitted::New(item, unready)) => accepted(ingest.acceptor.accept(*item).await, unready),
        Ok(Admitted::Replayed(accepted)) => Ok(accepted),
        Err(refusal) => Err(refusal),
    };
    api.count(&answer);
    metrics::histogram(&names::ACCEPT_SECONDS, &[("api", api.as_str())]).since(began);
    answer
}

/// Accepts many, each by itself; most of them share a commit. The answers are in the order of the items. An item whose key an earlier one
/// has is answered as if that one had been a call before.
pub(crate) async fn send_all(
    ingest: &Ingest,
    api: Api,
    caller: &Caller,
    items: Vec<(Result<Valid, Refusal>, Option<String>)>,
) -> Vec<Result<Accepted, Refusal>> {
    let mut batch = repeats::Batch::default();
    for (valid, key) in items {
        let admitted = match valid {
            Ok(valid) => admit_or_replay(ingest, caller, valid, key).await,
            Err(refusal) => Err(refusal),
        };
        match admitted {
            Ok(Admitted::New(item, unready)) => batch.submit(*item, unready),
            Ok(Admitted::Replayed(accepted)) => batch.know(Ok(accepted)),
            Err(refusal) => batch.know(Err(refusal)),
        }
    }
    let answers = batch.accept(ingest).await;
    answers.iter().for_each(|answer| api.count(answer));
    answers
}

/// Says in which state it would be accepted, and does nothing.
///
/// # Errors
/// As [`send`].
pub(crate) async fn rehearse(ingest: &Ingest, caller: &Caller, valid: &Valid) -> Result<Rehearsed, Refusal> {
    if let Some(late) = &valid.late {
        return Err(late.clone());
    }
    let permitted = permit(ingest, caller, &valid.notification).await?;
    let state = if permitted.scheduled_at.is_some() { State::Scheduled } else { State::Sending };
    Ok(Rehearsed { state, unready: permitted.unready })
}

enum Admitted {
    New(Box<NewNotification>, Unready),
    Replayed(Accepted),
}

/// What was accepted once is answered as it was then, even if it would be refused by now (its time is past, push was
/// switched off).
async fn admit_or_replay(
    ingest: &Ingest,
    caller: &Caller,
    valid: Valid,
    key: Option<String>,
) -> Result<Admitted, Refusal> {
    let Valid { notification, late } = valid;
    let refusal = match late {
        Some(late) => late,
        None => match permit(ingest, caller, &notification).await {
            Ok(permitted) => {
                let unready = permitted.unready;
                return Ok(Admitted::New(Box::new(permitted.admit(notification, key)), unready));
            }
            Err(refusal) => refusal,
        },
    };
    match replayed(ingest, caller, &notification, key.as_deref(), &refusal).await? {
        Some(accepted) => Ok(Admitted::Replayed(accepted)),
        None => Err(refusal),
    }
}

async fn replayed(
    ingest: &Ingest,
    caller: &Caller,
    notification: &Notification,
    key: Option<&str>,
    refusal: &Refusal,
) -> Result<Option<Accepted>, Refusal> {
    let forbidden = matches!(refusal.code, None | Some(ErrorCode::Forbidden | ErrorCode::Unavailable));
    let (Some(key), Some(tenant), false) = (key, caller.tenant(), forbidden) else { return Ok(None) };
    let earlier = ingest.store.idempotent_answer(tenant.key, key).await?;
    let Some(earlier) = earlier.filter(|earlier| earlier.fingerprint == body_and_fingerprint(notification.clone()).1)
    else {
        return Ok(None);
    };
    let app = ingest.app(tenant.key, &notification.draft().app).await;
    let unready = match app {
        Ok(app) => unready(ingest, tenant, &app, notification).await?.0,
        Err(_) => Unready::default(),
    };
    Ok(Some(Accepted { id: earlier.notification_id, state: earlier.state, replayed: true, unready }))
}

/// What is meant and not ready, and what is meant and ready.
async fn unready(
    ingest: &Ingest,
    tenant: &TenantRef,
    app: &App,
    notification: &Notification,
) -> Result<(Unready, Vec<Platform>), Refusal> {
    let to = &notification.draft().to;
    let ready = ingest.permits.platforms(tenant.key, app.app_key).await?;
    let meant = ready.iter().copied().filter(|platform| to.admits(*platform)).collect();
    Ok((Unready::of(to, &ready), meant))
}

/// What is known of a notification that may be accepted.
struct Permitted {
    id: NotificationId,
    tenant: TenantKey,
    app: AppKey,
    scheduled_at: Option<Timestamp>,
    unready: Unready,
}

async fn permit(ingest: &Ingest, caller: &Caller, notification: &Notification) -> Result<Permitted, Refusal> {
    let tenant = caller.tenant().ok_or_else(Refusal::internal)?;
    let draft = notification.draft();
    caller.check_app(&draft.app)?;
    let app = ingest.app(tenant.key, &draft.app).await.map_err(|refusal| match refusal.code {
        Some(ErrorCode::NotFound) => Refusal::fault(ErrorCode::InvalidRequest, "/app", "there is no such app"),
        _ => refusal,
    })?;
    ingest.permits.check_switch(tenant, &app).await?;
    if !draft.cascade.is_empty() {
        check_senders(ingest, tenant.key, &draft.cascade).await?;
    }
    let (unready, meant) = unready(ingest, tenant, &app, notification).await?;
    let id = NotificationId(Uuid::now_v7());
    let now = ingest.clock.now();
    sizes::check(notification, id, &app, &meant, now)?;
    let scheduled_at = draft.send_at.filter(|_| notification.is_scheduled(now));
    Ok(Permitted { id, tenant: tenant.key, app: app.app_key, scheduled_at, unready })
}

impl Permitted {
    fn admit(self, notification: Notification, key: Option<String>) -> NewNotification {
        let (reference, lane) = (notification.draft().reference.clone(), notification.draft().to.lane());
        let (body, idempotency) = match key {
            Some(key) => {
                let (body, fingerprint) = body_and_fingerprint(notification);
                (body, Some((key, fingerprint)))
            }
            None => (carillon_wire::into_body(notification), None),
        };
        NewNotification {
            notification_id: self.id,
            tenant_key: self.tenant,
            app_key: self.app,
            reference,
            body,
            lane,
            scheduled_at: self.scheduled_at,
            idempotency,
            traceparent: String::new(),
        }
    }
}

async fn check_senders(ingest: &Ingest, tenant: TenantKey, links: &[CascadeLink]) -> Result<(), Refusal> {
    let remembered = ingest.permits.remembers_sms_ways(tenant);
    let checked = senders::check(links, &*ingest.permits.sms_ways(tenant).await?);
    if checked.is_ok() || !remembered {
        return Ok(checked?);
    }
    // What is remembered may be older than the sender that another process was told of a moment ago.
    Ok(senders::check(links, &*ingest.permits.sms_ways_anew(tenant).await?)?)
}

fn accepted(answer: Answer, unready: Unready) -> Result<Accepted, Refusal> {
    match answer {
        Answer::Accepted { id, state, replayed } => Ok(Accepted { id, state, replayed, unready }),
        Answer::Conflict => {
            let detail = "This idempotency key was used for another notification.";
            Err(Refusal::new(ErrorCode::IdempotencyConflict, detail))
        }
        Answer::InProgress => {
            let detail = "The first call with this idempotency key has no answer yet.";
            Err(Refusal::new(ErrorCode::IdempotencyInProgress, detail))
        }
        Answer::Busy => {
            metrics::counter(&names::SHED, &[("reason", "queue_full")]).inc();
            Err(Refusal::unavailable())
        }
        Answer::Unavailable => Err(Refusal::unavailable()),
        Answer::Refused => Err(Refusal::internal()),
    }
}
