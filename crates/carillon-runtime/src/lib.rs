//! The life of a process: configuration, signals, supervised tasks, admin port, drain.
//!
//! A service is a library with `async fn start(config: Config, scope: Scope) -> Result<(), StartError>` that returns once
//! everything is started, and a `main` of one line:
//!
//! ```no_run
//! use carillon_runtime::config::{HumanDuration, ServiceConfig};
//! use carillon_runtime::{Scope, StartError};
//!
//! #[derive(serde::Deserialize)]
//! struct Config {
//!     segmenter: Segmenter,
//! }
//!
//! #[derive(serde::Deserialize)]
//! struct Segmenter {
//!     scan_every: HumanDuration,
//! }
//!
//! impl ServiceConfig for Config {
//!     const SECTIONS: &'static [&'static str] = &["segmenter"];
//! }
//!
//! async fn start(config: Config, scope: Scope) -> Result<(), StartError> {
//!     let stopping = scope.stopping();
//!     let mut ticks = tokio::time::interval(config.segmenter.scan_every.get());
//!     scope.spawn("scan", async move {
//!         while stopping.run_until_cancelled(ticks.tick()).await.is_some() {
//!             // look for what is due
//!         }
//!         Ok::<_, StartError>(())
//!     });
//!     Ok(())
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     carillon_runtime::run("segmenter", start)
//! }
//! ```
//!
//! [`run`] does, in order: arguments, configuration, telemetry, admin port, start, ready; on SIGTERM, SIGINT or a failed
//! task: not ready, a short wait for load balancers, stop, drain within the grace period, flush of telemetry, exit code.

mod admin;
mod arguments;
mod clock;
pub mod config;
mod dependency;
mod error;
mod failpoints;
mod healthy;
mod readiness;
mod run;
mod scope;
mod serve;
mod signals;
mod supervisor;
mod test_scope;

/// The allocator of every process that has a life to be looked after (ADR 24).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

pub use clock::Clock;
pub use error::{BoxError, StartError};
pub use readiness::ReadyHandle;
pub use run::{EXIT_CONFIG, EXIT_FAILURE, run};
pub use scope::Scope;
pub use serve::serve_with_grace;
pub use supervisor::{TaskFailure, Unclean};
pub use test_scope::TestScope;

pub use tokio_util::sync::CancellationToken;
