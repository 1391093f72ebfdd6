//! The provider against provider-sim, over TLS and HTTP/2.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod apple;
mod conformance;
mod specials;
