//! Unread in time becomes one SMS: timers, gateways, delivery reports.
//!
//! A cascade is a row with a time (`carillon-store`). [`start`] takes rows that are due, in groups and under a lease, and sends each as
//! one text message. What keeps it at one:
//! * The row's lock decides between this service and a receipt: who was first is what the receipt is told.
//! * Before a gateway is given a message, the row says which one. After a crash, or a time-out, the message is repeated there
//!   and nowhere else, with the same reference (`idx`), which the gateway refuses to take twice (`check_idx`).
//! * Where that cannot be relied on any more, the message is `unknown`, and only a delivery report changes that.
//!
//! Delivery reports come in through ingest-api.

mod backlog;
mod batch;
mod config;
mod deliver;
mod gateways;
mod meters;
mod plan;
mod route;
mod segments;
mod smsapi;

pub use config::{CascadeConfig, Config, PublicUrl, SecretsConfig, SmsapiConfig};

use carillon_runtime::{Scope, StartError};
use carillon_store::Store;
use std::sync::Arc;

/// Starts the service; returns once it looks for due cascades. The database may come later.
///
/// # Errors
/// [`StartError`] when the configuration cannot work.
pub async fn start(config: Config, scope: Scope) -> Result<(), StartError> {
    let store =
        Store::open(&config.database, "sms-cascade").map_err(|error| StartError::misconfigured(error.to_string()))?;
    let sender = deliver::Sender::new(&config, &scope)?;
    let batches = Arc::new(batch::Batches::new(&config.cascade, store.clone(), sender, &scope));
    backlog::start(&config.cascade, store, batches, &scope);
    Ok(())
}
