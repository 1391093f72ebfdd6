//! The World: a whole platform in a test, every service in two replicas, with real RabbitMQ, real PostgreSQL and the provider
//! simulators.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot be set up says where")]

mod environment;
mod kept;
mod replicas;
mod spans;
mod world;

pub use environment::{Environment, server};
pub use kept::{End, Kept, binary};
pub use replicas::Service;
pub use spans::{Seen, Spans};
pub use world::{Phone, World, eventually};
