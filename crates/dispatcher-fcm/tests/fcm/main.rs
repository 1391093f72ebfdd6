//! The provider against provider-sim, over TLS and HTTP/2.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conformance;
mod google;
mod tokens;
mod verdicts;
