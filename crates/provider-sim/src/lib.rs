//! Strict simulators of push providers and an SMS gateway, on their real protocols.
//!
//! [`Sim::start`] brings up APNs (production and sandbox), FCM HTTP v1 with its OAuth token endpoint, a Web Push service and
//! an SMS gateway in SMSAPI's style, with a certificate authority of its own. Whoever may send has to be made known first;
//! requests are refused where the real provider would refuse them; every request that was read to its end is in the
//! [`Ledger`]. A [`Script`] makes a token answer otherwise, [`Conditions`] a whole provider. The crate depends on nothing of
//! the platform that it judges, so that it cannot repeat its mistakes.
//!
//! ```no_run
//! # async fn example() -> Result<(), provider_sim::Error> {
//! use provider_sim::{Config, Provider, Query, Reply, Sim};
//!
//! let sim = Sim::start(Config::default()).await?;
//! sim.script(Provider::Apns, "ab12", [Reply::unregistered(Provider::Apns)])?;
//! // ... let something push to sim.urls().apns, trusting sim.ca_pem() ...
//! for record in sim.ledger().records(&Query::provider(Provider::Apns)) {
//!     assert!(record.violations.is_empty());
//! }
//! sim.stop().await;
//! # Ok(())
//! # }
//! ```

mod apns;
mod clock;
mod conditions;
mod config;
mod control;
mod controls;
mod device;
mod error;
mod exchange;
mod fcm;
mod jwt;
mod ledger;
mod listener;
mod reply;
mod script;
mod serve;
mod sim;
mod sms;
mod state;
mod tasks;
mod tls;
mod webpush;

pub use apns::{ApnsCertificate, ApnsKey, ApnsToken, Environment, IssuedCertificate};
pub use conditions::{Conditions, Failure, Throttle};
pub use config::{Config, Listen};
pub use controls::{Controls, Urls};
pub use error::Error;
pub use fcm::{FcmProject, FcmTokens};
pub use ledger::{Ledger, ProviderSummary, Query, Record, Summary};
pub use reply::{Fate, Outcome, Provider, Reply, Report, Times};
pub use script::Script;
pub use sim::Sim;
pub use sms::{ReportRecord, SmsAccount};
pub use webpush::{NewSubscriptions, Subscription, SubscriptionKeys};
