//! What a commit leaves to be told of statuses.
//!
//! Changes of one commit differ in little but whom they are about, so that they are kept in groups: a thousand pushes that a provider
//! took are one group with a thousand subjects.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// One change of a delivery's status, as status events carry it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusChange {
    /// The run.
    pub run: Uuid,
    /// See [`crate::DeliveryId`].
    pub subject: i64,
    /// See [`crate::DeliveryId`].
    pub link: i16,
    /// The new status's number (domain Status).
    pub status: i16,
    /// The reason's number (domain Reason).
    pub reason: Option<i16>,
    /// The platform's number; of a text message, or of somebody without a device, none.
    pub platform: Option<i16>,
    /// When, milliseconds since the epoch.
    pub at_ms: i64,
}

/// What changes have in common, but for whom they are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Shared {
    run: Uuid,
    link: i16,
    status: i16,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    reason: Option<i16>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    platform: Option<i16>,
    at_ms: i64,
}

impl Shared {
    fn of(change: &StatusChange) -> Self {
        let &StatusChange { run, link, status, reason, platform, at_ms, .. } = change;
        Self { run, link, status, reason, platform, at_ms }
    }

    fn about(self, subject: i64) -> StatusChange {
        let Self { run, link, status, reason, platform, at_ms } = self;
        StatusChange { run, subject, link, status, reason, platform, at_ms }
    }
}

#[derive(Serialize, Deserialize)]
struct Group {
    #[serde(flatten)]
    shared: Shared,
    subjects: Vec<i64>,
}

/// Writes changes as a row of `status_batches` holds them.
pub(crate) fn encode(changes: &[StatusChange]) -> Result<Vec<u8>> {
    let mut groups: BTreeMap<Shared, Vec<i64>> = BTreeMap::new();
    for change in changes {
        groups.entry(Shared::of(change)).or_default().push(change.subject);
    }
    let groups: Vec<Group> = groups.into_iter().map(|(shared, subjects)| Group { shared, subjects }).collect();
    serde_json::to_vec(&groups).map_err(|error| Error::Refused(error.to_string()))
}

/// Reads what [`encode`] wrote; the order is another.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<StatusChange>> {
    let groups: Vec<Group> = serde_json::from_slice(bytes).map_err(|_| Error::corrupt("a batch of status changes"))?;
    let changes = groups
        .into_iter()
        .flat_map(|Group { shared, subjects }| subjects.into_iter().map(move |subject| shared.about(subject)));
    Ok(changes.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn change() -> impl Strategy<Value = StatusChange> {
        let numbers = (0i16..3, 0i16..13, prop::option::of(1i16..20), prop::option::of(1i16..6));
        (0u128..3, -5i64..5, numbers, 0i64..2).prop_map(|(run, subject, (link, status, reason, platform), at_ms)| {
            StatusChange { run: Uuid::from_u128(run), subject, link, status, reason, platform, at_ms }
        })
    }

    fn sorted(mut changes: Vec<StatusChange>) -> Vec<String> {
        changes.sort_by_key(|change| format!("{change:?}"));
        changes.iter().map(|change| format!("{change:?}")).collect()
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(changes in prop::collection::vec(change(), 0..50)) {
            let read = decode(&encode(&changes).unwrap()).unwrap();
            prop_assert_eq!(sorted(read), sorted(changes));
        }

        #[test]
        fn bytes_that_are_something_else_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
            prop_assume!(bytes != b"[]");
            prop_assert!(decode(&bytes).is_err() || bytes.starts_with(b"["));
        }
    }

    #[test]
    fn a_thousand_pushes_that_were_sent_take_little_more_than_their_keys() {
        let of = |subject| StatusChange {
            run: Uuid::from_u128(9),
            subject,
            link: 0,
            status: 6,
            reason: None,
            platform: Some(1),
            at_ms: 1_790_000_000_123,
        };
        let bytes = encode(&(1_000_000..1_001_000).map(of).collect::<Vec<_>>()).unwrap();
        assert!(bytes.len() < 8_200, "{}", bytes.len());
    }
}
