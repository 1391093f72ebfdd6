//! Text messages: a tenant's gateways and sender names, and what operators report.

mod gateways;
mod reference;
mod report;
mod senders;

pub use gateways::*;
pub use reference::SmsReference;
pub use report::*;
pub use senders::*;
