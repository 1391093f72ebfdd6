//! The provider against provider-sim, over TLS and HTTP/2, and against a push service that speaks HTTP/1.1 only.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod browser;
mod conformance;
mod old_service;
mod requests;
mod verdicts;
