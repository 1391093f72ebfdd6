//! The segmenter against a real RabbitMQ and a real PostgreSQL, with replicas that come and go.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may")]

mod timing;
mod walking;
#[path = "../../../ingest-api/tests/api/way.rs"]
mod way;
mod world;
