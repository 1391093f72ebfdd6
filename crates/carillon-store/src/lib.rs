//! The only crate that knows SQL: migrations, and one file per aggregate.
//!
//! Every query of a tenant's things carries the tenant. Nothing here decides: rules are the domain's, this crate keeps what
//! they decided, in as few statements as it takes.

mod accept;
mod apps;
mod begun;
mod cascades;
mod claim;
mod commit;
mod config;
mod credentials;
mod devices;
mod error;
mod expand;
mod finishing;
mod first_word;
mod held;
mod history;
mod keys;
mod last_sent;
mod listen;
mod loan;
mod migrate;
mod parked;
mod partitions;
mod pausing;
mod pool;
mod presence;
mod receipts;
mod report;
mod scan;
mod sms;
mod statement;
mod status_batch;
mod status_events;
mod statuses;
mod steer;
mod tenants;
mod tls;

pub use accept::*;
pub use apps::*;
pub use cascades::*;
pub use claim::*;
pub use config::Config;
pub use credentials::*;
pub use devices::*;
pub use error::{Error, Result};
pub use expand::*;
pub use history::*;
pub use keys::*;
pub use last_sent::SentTo;
pub use listen::*;
pub use parked::SetAside;
pub use pausing::{DuePaused, TakenUp};
pub use pool::Store;
pub use receipts::*;
pub use report::*;
pub use scan::*;
pub use sms::*;
pub use status_batch::StatusChange;
pub use status_events::*;
pub use statuses::*;
pub use steer::Steered;
pub use tenants::*;
