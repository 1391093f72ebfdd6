//! Logs, traces and metrics: set-up, propagation, every name, redaction.
//!
//! - [`init`] sets up logs (JSON lines, scrubbed of secrets) and, if the standard `OTEL_EXPORTER_OTLP_ENDPOINT` is set,
//!   traces by OTLP over gRPC.
//! - [`inject`] and [`extract`] carry a trace across the broker and through the database (W3C Trace Context).
//! - [`names`] lists every metric and every field name; [`metrics`] turns them into handles for the hot path.
//! - [`Secret`], [`Redacted`] and [`mask_phone`] keep out of sight what must not be seen.
//!
//! Metrics are kept by the `prometheus` crate, not by OpenTelemetry's: a handle with its labels bound once costs one
//! atomic addition where OpenTelemetry's counter looks its attributes up on every call (about 94 ns), its bound
//! instruments are still experimental, and names appear in `/metrics` exactly as they stand in [`names`].

mod config;
mod error;
mod filter;
mod lines;
pub mod metrics;
pub mod names;
mod propagation;
mod redact;
mod sampler;
mod scrub;
mod setup;
mod traces;

pub use config::{Config, LogFormat};
pub use error::Error;
pub use metrics::exposition;
pub use propagation::{RemoteContext, extract, inject};
pub use redact::{Redacted, Secret, mask_phone};
pub use scrub::scrub;
pub use setup::{Guard, init};
