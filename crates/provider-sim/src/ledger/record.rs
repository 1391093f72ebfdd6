//! The forms of a ledger entry: the compact one that is kept and the one that is shown.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::reply::Provider;

#[derive(Debug)]
pub(super) struct Line {
    pub(super) at_ms: i64,
    pub(super) notification: Uuid,
    pub(super) token: u32,
    /// The token's line before this one.
    pub(super) previous: u32,
    pub(super) link: i32,
    pub(super) status: u16,
    pub(super) reason: u16,
    pub(super) provider: Provider,
    pub(super) flags: Flags,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Flags {
    pub(super) accepted: bool,
    pub(super) answered: bool,
    pub(super) duplicate: bool,
    pub(super) identified: bool,
    pub(super) violating: bool,
}

/// One request that a provider read to its end.
#[derive(Debug, Clone, Serialize)]
pub struct Record {
    /// Counts from 1, in the order of arrival, over all providers.
    pub seq: u64,
    /// Who read it.
    pub provider: Provider,
    /// APNs hex token, FCM token or fid, Web Push endpoint, phone number; for `fcm_token` the service account.
    pub token: String,
    /// From the reserved key `carillon` (`n`); for SMS the id that `idx` begins with.
    pub notification_id: Option<String>,
    /// From the reserved key `carillon` (`l`).
    pub link: Option<i32>,
    /// When it was read, by the simulator's clock.
    pub at: Timestamp,
    /// The HTTP status that was decided on.
    pub status: u16,
    /// The provider's word for a refusal.
    pub reason: Option<String>,
    /// The provider took it: the device or person gets it, even if the client was never told.
    pub accepted: bool,
    /// The client was told, or is about to be; false for cut, reset and hanging requests.
    pub answered: bool,
    /// The same (token, notification, link) was accepted before.
    pub duplicate: bool,
    /// The request's headers, `authorization` replaced by a hash; empty when they were dropped for space.
    pub headers: BTreeMap<String, String>,
    /// The request's JSON (Web Push: decrypted); null when it was dropped for space.
    pub body: Value,
    /// What a device would not understand.
    pub violations: Vec<String>,
}

/// Which records are wanted; the default wants all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Query {
    /// Only of this provider.
    pub provider: Option<Provider>,
    /// Only of this token.
    pub token: Option<String>,
    /// Only of this notification, in the form it was read.
    pub notification_id: Option<String>,
    /// Only with a sequence number above this one.
    pub after: u64,
    /// At most so many.
    pub limit: Option<usize>,
    /// Only accepted ones, or only others.
    pub accepted: Option<bool>,
    /// Only accepted repetitions of an accepted message.
    pub duplicate: Option<bool>,
    /// Only with violations, or only without.
    pub violating: Option<bool>,
}

impl Query {
    /// What one provider saw.
    pub fn provider(provider: Provider) -> Self {
        Self { provider: Some(provider), ..Self::default() }
    }

    /// What one provider saw for one token.
    pub fn token(provider: Provider, token: impl Into<String>) -> Self {
        Self { provider: Some(provider), token: Some(token.into()), ..Self::default() }
    }

    pub(super) fn admits(&self, line: &Line) -> bool {
        let flags = line.flags;
        self.provider.is_none_or(|wanted| wanted == line.provider)
            && self.accepted.is_none_or(|wanted| wanted == flags.accepted)
            && self.duplicate.is_none_or(|wanted| wanted == flags.duplicate)
            && self.violating.is_none_or(|wanted| wanted == flags.violating)
            && self.notification_id.as_deref().is_none_or(|wanted| {
                flags.identified && Uuid::try_parse(wanted).is_ok_and(|wanted| wanted == line.notification)
            })
    }
}

/// Counts since the start or the last clearing.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// By provider's name.
    pub providers: BTreeMap<String, ProviderSummary>,
    /// Over all providers.
    pub duplicates: u64,
    /// Over all providers.
    pub violations: u64,
    /// Records whose headers and body were dropped for space.
    pub details_dropped: u64,
}

impl Summary {
    /// One provider's part.
    pub fn of(&self, provider: Provider) -> ProviderSummary {
        self.providers.get(provider.name()).cloned().unwrap_or_default()
    }
}

/// Counts of one provider.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ProviderSummary {
    /// Requests read to their end.
    pub requests: u64,
    /// Those that were accepted.
    pub accepted: u64,
    /// Requests by the status decided on.
    pub by_status: BTreeMap<u16, u64>,
    /// Refusals by the provider's word.
    pub by_reason: BTreeMap<String, u64>,
    /// Different tokens with at least one accepted request.
    pub accepted_tokens: u64,
    /// Accepted requests whose (token, notification, link) was accepted before.
    pub duplicates: u64,
    /// Breaches of the contract seen by devices, counted one by one.
    pub violations: u64,
}
