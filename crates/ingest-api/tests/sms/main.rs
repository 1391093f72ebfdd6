//! SMS gateways, senders and delivery reports from outside, on a real PostgreSQL and a real RabbitMQ.

mod callbacks;
mod resources;
mod world;
