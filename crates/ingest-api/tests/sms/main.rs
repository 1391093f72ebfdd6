//! SMS gateways, senders and delivery reports from outside, on a real PostgreSQL and a real RabbitMQ.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may")]

mod callbacks;
mod resources;
mod world;
