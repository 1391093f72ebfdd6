//! Words and rules of push notifications: pure, no IO, no async, no serialisation.
//!
//! Everything that decides something without asking anybody lives here: what a valid notification is, how evidence adds
//! up to a status, when a cascade fires. `now` is always an argument. Other crates carry these words over wires, into
//! tables and to providers; none of them decides again.

pub mod audience;
pub mod backoff;
pub mod cascade;
pub mod chunk;
pub mod condition;
pub mod content;
pub mod delivery_status;
pub mod device;
pub mod fault;
pub mod ids;
pub mod limits;
pub mod names;
pub mod notification;
pub mod outcome;
pub mod person;
pub mod phone;
pub mod platform;
pub mod push_token;
pub mod receipt;
pub mod reference;
pub mod sms_way;
pub mod span;
