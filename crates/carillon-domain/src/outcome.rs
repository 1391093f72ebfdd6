//! What a dispatcher reports about one position of a chunk.

use crate::delivery_status::{Reason, Status};
use jiff::Timestamp;

/// What should happen to the device's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenVerdict {
    /// Nothing.
    Keep,
    /// It is dead. With a time, only if the device was not registered again after it (APNs 410); always only if the device
    /// still has the generation that was sent to.
    Retire {
        /// Since when the provider knows.
        since: Option<Timestamp>,
    },
}

/// How far a position came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Done, with a closing status (`Sent`, `Failed`, `Expired`, `Suppressed`).
    Closed {
        /// The status.
        status: Status,
        /// Why, unless it was sent.
        reason: Option<Reason>,
        /// The provider's own id of the message, where it gives one.
        provider_id: Option<String>,
    },
    /// Not yet: to be tried again, not before a time.
    Deferred {
        /// Earliest next try.
        not_before: Timestamp,
        /// Provider calls so far.
        attempts: u8,
    },
}

/// One position's outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Position in the chunk.
    pub position: u16,
    /// How far it came.
    pub progress: Progress,
    /// What should happen to the token.
    pub token: TokenVerdict,
    /// The generation of the token that was sent to.
    pub generation: u32,
}
