//! The service from outside, on a real PostgreSQL and a real RabbitMQ.

mod away;
mod devices;
mod draining;
mod grpc;
mod history;
mod http;
mod intake;
mod sending;
mod way;
mod world;
