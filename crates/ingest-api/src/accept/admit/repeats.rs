//! Items of one batch that have the same idempotency key.

use super::{Accepted, Answer, Unready, accepted};
use crate::ingest::Ingest;
use crate::refusal::Refusal;
use carillon_domain::ids::TenantKey;
use carillon_store::NewNotification;
use std::collections::HashMap;

/// The items of a batch, in its order.
#[derive(Default)]
pub(super) struct Batch {
    items: Vec<Item>,
    /// What is submitted, each key once.
    submitted: Vec<NewNotification>,
    /// Where in `submitted` a key stands.
    keys: HashMap<String, usize>,
}

enum Item {
    /// Answered without asking the writer.
    Known(Result<Accepted, Refusal>),
    /// One of those that are submitted.
    Submitted(usize, Unready),
    /// It has the key of one that is submitted, and this meaning.
    Repeats { first: usize, tenant: TenantKey, key: String, meaning: [u8; 32], unready: Unready },
}

impl Batch {
    /// The next item is answered already.
    pub(super) fn know(&mut self, answer: Result<Accepted, Refusal>) {
        self.items.push(Item::Known(answer));
    }

    /// The next item is to be accepted.
    pub(super) fn submit(&mut self, item: NewNotification, unready: Unready) {
        if let Some((key, meaning)) = &item.idempotency {
            if let Some(first) = self.keys.get(key) {
                let (first, tenant, key, meaning) = (*first, item.tenant_key, key.clone(), *meaning);
                self.items.push(Item::Repeats { first, tenant, key, meaning, unready });
                return;
            }
            self.keys.insert(key.clone(), self.submitted.len());
        }
        self.items.push(Item::Submitted(self.submitted.len(), unready));
        self.submitted.push(item);
    }

    /// Accepts what was submitted and answers every item.
    pub(super) async fn accept(self, ingest: &Ingest) -> Vec<Result<Accepted, Refusal>> {
        let meanings: Vec<Option<[u8; 32]>> =
            self.submitted.iter().map(|item| item.idempotency.as_ref().map(|(_, meaning)| *meaning)).collect();
        let committed = ingest.acceptor.accept_all(self.submitted).await;
        let of = |i: usize| committed.get(i).copied().unwrap_or(Answer::Refused);
        let mut answers = Vec::with_capacity(self.items.len());
        for item in self.items {
            answers.push(match item {
                Item::Known(answer) => answer,
                Item::Submitted(i, unready) => accepted(of(i), unready),
                Item::Repeats { first, tenant, key, meaning, unready } => {
                    let same = meanings.get(first).copied().flatten() == Some(meaning);
                    match repeated(of(first), same) {
                        Some(answer) => accepted(answer, unready),
                        None => accepted(earlier(ingest, tenant, &key, meaning).await, unready),
                    }
                }
            });
        }
        answers
    }
}

/// What the answer to the first one means for one that repeats its key. `None`: the key was used before this batch, with another meaning than the
/// first one's; this one's may be that.
fn repeated(first: Answer, same_meaning: bool) -> Option<Answer> {
    match (first, same_meaning) {
        (Answer::Accepted { id, state, .. }, true) => Some(Answer::Accepted { id, state, replayed: true }),
        (Answer::Accepted { .. }, false) => Some(Answer::Conflict),
        (Answer::Conflict, false) => None,
        // The first one may be committed or not; so this one does not know either.
        (answer, _) => Some(answer),
    }
}

async fn earlier(ingest: &Ingest, tenant: TenantKey, key: &str, meaning: [u8; 32]) -> Answer {
    match ingest.store.idempotent_answer(tenant, key).await {
        Ok(Some(known)) if known.fingerprint == meaning => {
            Answer::Accepted { id: known.notification_id, state: known.state, replayed: true }
        }
        Ok(_) => Answer::Conflict,
        Err(error) if error.is_unavailable() => Answer::Unavailable,
        Err(error) => {
            tracing::error!(%error, "an earlier answer cannot be read");
            Answer::Refused
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_domain::ids::NotificationId;
    use carillon_domain::notification::State;
    use uuid::Uuid;

    #[test]
    fn one_that_repeats_a_key_is_answered_as_a_call_after_the_first() {
        let id = NotificationId(Uuid::from_u128(7));
        let of = |replayed| Answer::Accepted { id, state: State::Sending, replayed };
        for first in [of(false), of(true)] {
            assert_eq!(repeated(first, true), Some(of(true)));
            assert_eq!(repeated(first, false), Some(Answer::Conflict));
        }
        assert_eq!(repeated(Answer::Conflict, true), Some(Answer::Conflict));
        assert_eq!(repeated(Answer::Conflict, false), None);
        for first in [Answer::Unavailable, Answer::Busy, Answer::InProgress, Answer::Refused] {
            assert_eq!((repeated(first, true), repeated(first, false)), (Some(first), Some(first)));
        }
    }
}
