//! The ledger, as a dispatcher sees it: it grants chunks and is told what became of them.

mod client;
mod clock;
mod reporter;

pub use client::LedgerError;
pub(crate) use client::{Claimed, Ledger};
pub(crate) use reporter::{Answer, Reporter};
