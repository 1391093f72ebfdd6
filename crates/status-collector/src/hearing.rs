//! Who is listened for: of the events with one routing key, one asks whether any queue takes them before the others are made.
//!
//! A topic that nobody is bound to is the rule: an event per push would be looked up, written and sent to the broker to be thrown away there. The
//! answer is used for what was committed before the question only, so that whoever binds a queue misses nothing that is
//! committed from then on.

use crate::routing_key::{Owners, RoutingKeys};
use carillon_store::StatusChange;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What one round of the pump knows.
pub(crate) struct Hearing {
    keys: RoutingKeys,
    /// Keys that a queue takes, or not.
    known: HashMap<Arc<str>, bool>,
}

impl Hearing {
    pub(crate) fn new(owners: Owners) -> Self {
        Self { keys: RoutingKeys::new(owners), known: HashMap::new() }
    }

    /// The key under which a change is told; nothing if its run or its status is not known.
    pub(crate) fn key(&mut self, change: &StatusChange) -> Option<Arc<str>> {
        self.keys.of(change)
    }

    /// One change of each key that nothing is known of yet.
    pub(crate) fn questions(&mut self, changes: &[StatusChange]) -> Vec<StatusChange> {
        let mut asked = HashSet::new();
        let new = changes.iter().filter(|change| {
            self.keys.of(change).is_some_and(|key| !self.known.contains_key(&key) && asked.insert(key))
        });
        new.cloned().collect()
    }

    /// Takes note of an answer.
    pub(crate) fn learn(&mut self, change: &StatusChange, heard: bool) {
        if let Some(key) = self.keys.of(change) {
            self.known.insert(key, heard);
        }
    }

    /// The changes that are to be told, without those that asked already.
    pub(crate) fn rest(&mut self, changes: &[StatusChange], asked: &[StatusChange]) -> Vec<StatusChange> {
        // Of what no key can be made nothing can be told; where a question had no answer, all are told.
        let mut heard = |change: &StatusChange| {
            self.keys.of(change).is_some_and(|key| self.known.get(&key).copied().unwrap_or(true))
        };
        changes.iter().filter(|change| heard(change) && !asked.contains(change)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_domain::delivery_status::Status;
    use carillon_domain::platform::Platform;
    use uuid::Uuid;

    fn run(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn owners() -> Owners {
        let owner = |n, app: &str| (run(n), ("acme".to_owned(), app.to_owned()));
        [owner(1, "shop"), owner(2, "shop"), owner(3, "news")].into()
    }

    fn change(n: u128, subject: i64, platform: Option<Platform>, status: Status) -> StatusChange {
        let (platform, status) = (platform.map(Platform::number), status.number());
        StatusChange { run: run(n), subject, link: 0, status, reason: None, platform, at_ms: 0 }
    }

    const APNS: Option<Platform> = Some(Platform::Apns);

    #[test]
    fn one_change_of_each_key_asks_and_none_of_a_run_that_is_gone() {
        let mut hearing = Hearing::new(owners());
        let changes = [
            change(1, 1, APNS, Status::Sent),
            change(1, 2, APNS, Status::Sent),
            // Another run of the same app has the same key.
            change(2, 3, APNS, Status::Sent),
            change(1, 4, APNS, Status::Failed),
            change(1, 5, Some(Platform::Fcm), Status::Sent),
            change(3, 6, APNS, Status::Sent),
            change(1, -1, None, Status::Suppressed),
            change(9, 7, APNS, Status::Sent),
        ];
        let asking: Vec<_> = hearing.questions(&changes).iter().map(|change| change.subject).collect();
        assert_eq!(asking, [1, 4, 5, 6, -1]);
    }

    #[test]
    fn what_somebody_listens_to_is_told_once_and_the_rest_not_at_all() {
        let mut hearing = Hearing::new(owners());
        let changes: Vec<_> = (1..=3)
            .flat_map(|subject| [change(1, subject, APNS, Status::Sent), change(3, subject, APNS, Status::Sent)])
            .collect();
        let asked = hearing.questions(&changes);
        assert_eq!(asked.len(), 2);
        hearing.learn(&asked[0], true);
        hearing.learn(&asked[1], false);
        let rest = hearing.rest(&changes, &asked);
        assert_eq!(rest, [change(1, 2, APNS, Status::Sent), change(1, 3, APNS, Status::Sent)]);
        assert_eq!(hearing.questions(&changes), [], "what is known is not asked again");
        assert_eq!(hearing.rest(&changes, &[]).len(), 3, "another batch asked nothing");
    }
}
