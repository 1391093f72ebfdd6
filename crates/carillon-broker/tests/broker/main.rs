//! The crate against a real RabbitMQ, whose URL is in CARILLON_AMQP__URL (`make test` starts one). Every test has queues and
//! exchanges of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod consuming;
mod draining;
mod inspecting;
mod parking;
mod place;
mod proxy;
mod publishing;
mod reconnecting;
