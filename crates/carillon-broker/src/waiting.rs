//! Messages that cannot be sent yet.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::publisher::{PublishError, Request};

/// Messages that wait for a connection; at most a window of them.
pub(crate) struct Waiting {
    queue: VecDeque<Request>,
    patience: Duration,
    away_since: Option<Instant>,
}

impl Waiting {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { queue: VecDeque::new(), patience, away_since: Some(Instant::now()) }
    }

    pub(crate) fn connected(&mut self) {
        self.away_since = None;
    }

    pub(crate) fn disconnected(&mut self) {
        self.away_since = Some(Instant::now());
    }

    /// A short outage is waited out; in a long one callers hear at once.
    pub(crate) fn push(&mut self, request: Request) {
        if self.away_since.is_some_and(|since| since.elapsed() >= self.patience) {
            let _ = request.answer.send(Err(PublishError::Unavailable));
        } else {
            self.queue.push_back(request);
        }
    }

    /// Deadlines are in the order of arrival, up to the time a caller waited for its place; close enough to look at the front.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.queue.front().map(|request| request.deadline)
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        while self.queue.front().is_some_and(|request| request.deadline <= now) {
            if let Some(request) = self.queue.pop_front() {
                let _ = request.answer.send(Err(PublishError::Unavailable));
            }
        }
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Request> + '_ {
        self.queue.drain(..)
    }

    pub(crate) fn fail_all(&mut self, error: &PublishError) {
        for request in self.queue.drain(..) {
            let _ = request.answer.send(Err(error.clone()));
        }
    }
}
