//! Firebase Cloud Messaging HTTP v1 and the OAuth 2 endpoint that its bearer tokens come from.

mod error;
mod message;
mod oauth;
mod projects;
mod schema;
mod send;
mod shape;

pub(crate) use error::knows;
pub(crate) use oauth::{PATH as TOKEN_PATH, TokenEndpoint};
pub(crate) use projects::Projects;
pub use projects::{FcmProject, FcmTokens};
pub(crate) use send::Send;
