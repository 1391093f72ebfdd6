//! The service from outside, on a real PostgreSQL and a real RabbitMQ.

mod devices;
mod http;
mod sending;
mod world;
