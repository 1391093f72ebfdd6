//! The dispatch engine, written once for every provider.
//!
//! A dispatcher is a [`Provider`] (one protocol: how a message is sent, what an answer means) and [`start`]. The engine does
//! the rest: it consumes both lanes of a platform, claims chunks from the ledger, sends what is open with bounded
//! concurrency, reports as it goes, and lets the broker forget a message only after its last result is committed.
//!
//! What holds whatever dies:
//! - Nothing is started without a lease, nor while 64 results of a chunk are not committed. So a dispatcher that is killed
//!   repeats at most 64 messages per chunk in work and what was in flight.
//! - A result is told until the ledger has it; a ledger that is away stops new sends when the lease runs out.
//! - One app's refused credential, exhausted quota or unreachable host defers that app's messages (to that host) and no others.
//! - Only [`Verdict`]s come from providers; what they mean for retries, tokens and statuses is decided in one pure place.

mod brake;
mod breaker;
mod chunk;
mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
mod credentials;
mod dispatcher;
mod engine;
mod flight;
mod flights;
mod gate;
mod host;
mod ledger;
mod line;
mod metrics;
mod opening;
mod outbox;
mod pace;
mod plan;
mod provider;
mod room;
mod sections;
mod sending;
mod start;
mod taken;
#[cfg(test)]
mod tests;
mod trace;

/// Section `amqp`.
pub use carillon_broker::Config as AmqpConfig;
pub use config::{Config, DispatchConfig, InternalConfig, LedgerConfig, SecretsConfig};
pub use ledger::LedgerError;
pub use provider::{ChunkFacts, Message, Misconfigured, Provider, Quota, Scope, TokenFate, Verdict};
pub use start::start;
pub use trace::CallSpan;
