//! The service from outside, on a real PostgreSQL and a real RabbitMQ.

mod devices;
mod draining;
mod grpc;
mod history;
mod http;
mod intake;
mod sending;
mod world;
