//! Platform tests: all services, real RabbitMQ, real PostgreSQL, the provider simulators.

#![allow(clippy::unwrap_used, reason = "tests")]

mod arrows;
mod doors;
mod skeleton;
mod statuses;
mod trace;
mod waiting;
