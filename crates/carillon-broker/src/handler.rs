//! What a service writes to consume a queue.

use std::future::Future;

use crate::event::Event;
use crate::message::{Delivery, Outgoing};

/// Messages that a handler wants published. The shell publishes them, awaits their confirms and then acknowledges.
pub type Effects = Vec<Outgoing>;

/// Our own broker, ledger or database is away: the message stays unacknowledged, the consumer takes no new ones, and the same
/// message is handled again after a pause (50 ms, doubling to 1 s). What concerns one tenant, app or device is never a fault.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Fault {
    what: &'static str,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Fault {
    /// A fault with its cause.
    pub fn new(what: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { what, source: Some(source.into()) }
    }

    /// A fault that explains itself.
    pub fn because(what: &'static str) -> Self {
        Self { what, source: None }
    }
}

/// Handles the events of one queue.
///
/// A handler may see an event again at any time, also while an earlier call for it is still running (the connection was
/// lost): it works by the event's own id. A panic parks the message. A call that outlasts the handler timeout is cut, by
/// dropping its future, and counts as a fault.
pub trait Handler<E: Event>: Send + Sync + 'static {
    /// Handles one event.
    ///
    /// # Errors
    /// [`Fault`], only where our own broker, ledger or database is away.
    fn handle(&self, event: E, delivery: &Delivery) -> impl Future<Output = Result<Effects, Fault>> + Send;
}
