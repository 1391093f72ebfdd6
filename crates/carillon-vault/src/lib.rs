//! Sealing and opening secrets: AES-256-GCM with a key per kind, and rotation. API keys: minting, checking, hashing.
//!
//! A [`Vault`] holds the master keys and makes a [`KindVault`] per kind of secret (`apns`, `webhook`, ...). Whoever works
//! with one kind holds only that kind's [`KindKeys`]: from them neither the master nor another kind's key can be computed
//! (HKDF-SHA256, RFC 5869). What was sealed for one tenant, app, kind and version opens for nothing else, so that rows
//! cannot be swapped in the database.

mod api_key;
mod base62;
mod context;
mod error;
mod kind_vault;
mod master;

pub use api_key::{ApiKey, ApiKeyKind, MalformedKey, constant_time_eq, hash_key};
pub use context::Context;
pub use error::Error;
pub use kind_vault::{KindKeys, KindVault, MAX_PLAINTEXT, Opened};
pub use master::{MasterKey, Vault};
