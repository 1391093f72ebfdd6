//! A Web Push service (RFC 8030) that holds both ends of its subscriptions, so that it can read what it is sent.

mod encryption;
mod request;
mod subscriptions;
mod vapid;

pub(crate) use request::Push;
pub(crate) use subscriptions::Subscriptions;
pub use subscriptions::{NewSubscriptions, Subscription, SubscriptionKeys};
