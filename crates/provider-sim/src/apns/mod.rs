//! The Apple Push Notification service, on the `h2` crate: it is a load target too.

mod body;
mod connection;
mod gate;
mod identities;
mod payload;
mod provider_token;
mod reason;
mod request;

pub(crate) use connection::Door;
pub(crate) use identities::Identities;
pub use identities::{ApnsCertificate, ApnsKey, ApnsToken, Environment, IssuedCertificate};
pub(crate) use reason::Reason;
