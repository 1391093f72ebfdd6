//! The SMS cascade against a real PostgreSQL and a strict gateway.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may")]

mod gateways;
mod overtaking;
mod pausing;
mod racing;
mod world;
