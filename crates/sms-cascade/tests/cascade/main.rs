//! The SMS cascade against a real PostgreSQL and a strict gateway.

mod gateways;
mod overtaking;
mod racing;
mod world;
