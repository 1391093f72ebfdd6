//! What the process can see of the broker.

use tokio::sync::watch;

/// The state of a process's two connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    /// The publishing connection is up and its topology is declared.
    pub publishing: bool,
    /// The consuming connection is up and its topology is declared.
    pub consuming: bool,
    /// The broker takes no messages from us: it is short of memory or disk.
    pub blocked: bool,
}

impl Status {
    /// Both connections are up.
    pub fn connected(&self) -> bool {
        self.publishing && self.consuming
    }

    /// Whether all is well, and what there is to say to an operator.
    pub fn summary(&self) -> (bool, &'static str) {
        match (self.connected(), self.blocked) {
            (true, false) => (true, "connected"),
            (true, true) => (false, "takes no messages: it is short of memory or disk"),
            (false, _) => (false, "is not connected"),
        }
    }

    /// A message published now would be taken.
    pub fn accepts(&self) -> bool {
        self.publishing && !self.blocked
    }
}

/// The writing side, shared by the two supervisors.
#[derive(Debug, Clone)]
pub(crate) struct StatusBoard(watch::Sender<Status>);

impl StatusBoard {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Status::default()))
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Status> {
        self.0.subscribe()
    }

    /// Wakes watchers only if something changed.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Status)) {
        self.0.send_if_modified(|status| {
            let before = *status;
            change(status);
            *status != before
        });
    }
}
