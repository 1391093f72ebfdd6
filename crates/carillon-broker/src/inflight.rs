//! Messages that were sent and not yet confirmed.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use crate::door::Sending;
use crate::message::Unheard;
use crate::publisher::{PublishError, Request};

/// The unconfirmed messages of one channel, in the order of sending.
pub(crate) struct InFlight {
    sent: BTreeMap<u64, Sent>,
    next: u64,
    timeout: Duration,
}

struct Sent {
    id: String,
    deadline: Instant,
    if_unheard: Unheard,
    returned: bool,
    answer: oneshot::Sender<Result<(), PublishError>>,
    _place: OwnedSemaphorePermit,
}

impl InFlight {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { sent: BTreeMap::new(), next: 0, timeout }
    }

    /// Notes a message that is about to be sent; returns its number and what is to be sent.
    pub(crate) fn add(&mut self, request: Request) -> (u64, Sending) {
        let Request { outgoing, properties, address: (exchange, key), answer, _place, .. } = request;
        let number = self.next;
        self.next += 1;
        let deadline = Instant::now() + self.timeout;
        self.sent.insert(
            number,
            Sent { id: outgoing.id, deadline, if_unheard: outgoing.if_unheard, returned: false, answer, _place },
        );
        (
            number,
            Sending { exchange, key, mandatory: outgoing.if_unheard != Unheard::Fine, properties, body: outgoing.body },
        )
    }

    /// The broker sent every message with this id back; returns of how many that means that a queue is missing. Their confirms
    /// still come.
    pub(crate) fn unroutable(&mut self, id: &str) -> usize {
        let mut count = 0;
        for sent in self.sent.values_mut().filter(|sent| sent.id == id) {
            sent.returned = true;
            count += usize::from(sent.if_unheard == Unheard::Fault);
        }
        count
    }

    /// Answers the caller of one message; unknown numbers (already given up) are nobody's.
    pub(crate) fn confirm(&mut self, number: u64, result: Result<(), PublishError>) {
        if let Some(sent) = self.sent.remove(&number) {
            let result = if sent.returned { Err(PublishError::Unroutable) } else { result };
            // A caller that went away does not mind.
            let _ = sent.answer.send(result);
        }
    }

    /// Tells all callers that nobody knows.
    pub(crate) fn fail_all(&mut self, why: &str) {
        for (_, sent) in std::mem::take(&mut self.sent) {
            let _ = sent.answer.send(Err(PublishError::Unknown(why.to_owned())));
        }
    }

    /// When the oldest message has waited too long.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.sent.first_key_value().map(|(_, sent)| sent.deadline)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }
}
