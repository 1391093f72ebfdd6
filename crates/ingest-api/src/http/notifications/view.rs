//! A notification as callers see it.

use carillon_domain::delivery_status::{Reason, Status};
use carillon_domain::platform::Platform;
use carillon_store::{ChannelCounts, NotificationRow, RecipientCounts};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Accepted, Problem};
use crate::accept::{self, Rehearsed};
use crate::refusal::Refusal;

/// The answer to a send.
#[derive(Serialize, ToSchema)]
pub(super) struct Receipt {
    /// Null for a dry run.
    pub(super) id: Option<Uuid>,
    /// scheduled, sending.
    pub(super) state: &'static str,
    /// What keeps it from reaching all that are meant, as things are at the moment; absent when nothing does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) warnings: Vec<Warning>,
}

impl Receipt {
    pub(super) fn of(accepted: &Accepted) -> Self {
        let warnings = accepted.unready.warning().map(Warning::of).into_iter().collect();
        Self { id: Some(accepted.id.0), state: accepted.state.as_str(), warnings }
    }

    pub(super) fn rehearsed(rehearsed: &Rehearsed) -> Self {
        let warnings = rehearsed.unready.warning().map(Warning::of).into_iter().collect();
        Self { id: None, state: rehearsed.state.as_str(), warnings }
    }
}

/// What keeps messages waiting until somebody does something.
#[derive(Serialize, ToSchema)]
pub(super) struct Warning {
    /// credential: the app has none for these platforms, and messages to such devices wait until there is one.
    reason: &'static str,
    platforms: Vec<&'static str>,
    detail: String,
}

impl Warning {
    fn of(warning: accept::Warning) -> Self {
        let platforms = warning.platforms.iter().map(|platform| platform.as_str()).collect();
        Self { reason: warning.reason.as_str(), platforms, detail: warning.detail }
    }
}

/// The answers to a batch, in the order of its items.
#[derive(Serialize, ToSchema)]
pub(super) struct BatchAnswer {
    pub(super) answers: Vec<Answer>,
}

/// One item's answer: exactly one of the two.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// It is committed.
    Accepted(AcceptedItem),
    /// The problem+json that the item alone would have been answered with.
    #[schema(value_type = Object)]
    Problem(Value),
}

/// An accepted item.
#[derive(Serialize, ToSchema)]
pub(super) struct AcceptedItem {
    id: Uuid,
    /// scheduled, sending.
    state: &'static str,
    /// The answer to an earlier item or call with the same key.
    idempotent_replayed: bool,
    /// As in the answer to a single one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

impl Answer {
    pub(super) fn of(answer: Result<Accepted, Refusal>, request_id: &str) -> Self {
        match answer {
            Ok(accepted) => Answer::Accepted(AcceptedItem {
                id: accepted.id.0,
                state: accepted.state.as_str(),
                idempotent_replayed: accepted.replayed,
                warnings: accepted.unready.warning().map(Warning::of).into_iter().collect(),
            }),
            Err(refusal) => Answer::Problem(Problem::from(refusal).body(request_id)),
        }
    }
}

/// A notification.
#[derive(Serialize, ToSchema)]
pub(super) struct Notification {
    id: Uuid,
    app: String,
    reference: Option<String>,
    metadata: BTreeMap<String, String>,
    /// scheduled, sending, paused, cancelled, finished (nothing is queued and no cascade waits).
    state: &'static str,
    /// no_recipients, when it finished because nobody was meant.
    reason: Option<String>,
    created_at: Timestamp,
    scheduled_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    counts: Counts,
    /// Platforms of which messages are queued and cannot go out, and why.
    held: Vec<Held>,
}

/// What keeps a platform's messages queued.
#[derive(Serialize, ToSchema)]
struct Held {
    platform: &'static str,
    /// credential: the app has none.
    reason: &'static str,
}

impl Held {
    fn of(platform: Platform) -> Self {
        Self { platform: platform.as_str(), reason: Reason::Credential.as_str() }
    }
}

/// Counts of one moment. Totals are null until the audience is known.
#[derive(Serialize, ToSchema)]
struct Counts {
    recipients: Recipients,
    push: PushCounts,
    sms: SmsCounts,
}

/// Persons. Only the total without a cascade; with one it is the sum of the other four.
#[derive(Serialize, ToSchema)]
struct Recipients {
    total: Option<i64>,
    pending: Option<i64>,
    read: Option<i64>,
    /// A channel accepted, and the person did not read.
    reached: Option<i64>,
    unreached: Option<i64>,
}

/// total = pending + sent + failed + expired + suppressed + cancelled; undelivered ... clicked are cumulative parts of sent.
#[derive(Serialize, ToSchema)]
struct PushCounts {
    total: Option<i64>,
    pending: Option<i64>,
    sent: i64,
    failed: i64,
    expired: i64,
    suppressed: i64,
    cancelled: i64,
    undelivered: i64,
    delivered: i64,
    displayed: i64,
    dismissed: i64,
    opened: i64,
    clicked: i64,
}

/// As for pushes, and what the gateway did not say.
#[derive(Serialize, ToSchema)]
struct SmsCounts {
    #[serde(flatten)]
    counts: PushCounts,
    unknown: i64,
    segments: i64,
}

impl Notification {
    pub(super) fn of(row: NotificationRow) -> Self {
        // A body that cannot be read is the sending's trouble; here it only has no metadata.
        let metadata = carillon_wire::decode_body(&row.body).map(|n| n.draft().metadata.iter().cloned().collect());
        Self {
            id: row.notification_id.0,
            app: row.app,
            reference: row.reference,
            metadata: metadata.unwrap_or_default(),
            state: row.state.as_str(),
            reason: row.reason,
            created_at: row.created_at,
            scheduled_at: row.scheduled_at,
            finished_at: row.finished_at,
            counts: Counts {
                recipients: recipients(row.recipients),
                push: channel(&row.push),
                sms: SmsCounts {
                    counts: channel(&row.sms),
                    unknown: row.sms.tally.of(Status::Unknown),
                    segments: row.sms.segments,
                },
            },
            held: row.held.into_iter().map(Held::of).collect(),
        }
    }
}

fn recipients(counts: RecipientCounts) -> Recipients {
    let RecipientCounts { total, pending, read, reached, unreached } = counts;
    Recipients { total, pending, read, reached, unreached }
}

fn channel(counts: &ChannelCounts) -> PushCounts {
    let of = |status| counts.tally.of(status);
    PushCounts {
        total: counts.total,
        pending: counts.pending,
        sent: of(Status::Sent),
        failed: of(Status::Failed),
        expired: of(Status::Expired),
        suppressed: of(Status::Suppressed),
        cancelled: of(Status::Cancelled),
        undelivered: of(Status::Undelivered),
        delivered: of(Status::Delivered),
        displayed: of(Status::Displayed),
        dismissed: of(Status::Dismissed),
        opened: of(Status::Opened),
        clicked: of(Status::Clicked),
    }
}
