//! The REST surface, seen from outside: the service in this process on a port of the system's choice, a real PostgreSQL
//! (`CARILLON_DATABASE__URL`), requests over real connections.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may")]

mod apps;
mod auth;
mod bad_input;
mod client;
mod credentials;
mod database;
mod frame;
mod hostile;
mod keys;
mod limit;
mod tenants;
mod world;
