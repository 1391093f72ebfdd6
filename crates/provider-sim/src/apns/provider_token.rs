//! Provider tokens ("Establishing a token-based connection"): checked once a connection, then compared byte by byte.

use std::sync::Arc;

use http::HeaderValue;

use super::identities::{Environment, Identities, Key};
use super::reason::Reason;
use crate::jwt::Jwt;
use crate::ledger::fingerprint;

/// Seconds after `iat` in which a token is good.
const LIFETIME: i64 = 60 * 60;
/// Seconds between two tokens that one key may issue.
const UPDATE_INTERVAL: i64 = 20 * 60;
/// Seconds that a client's clock may be ahead.
const SKEW: i64 = 60;
/// Tokens of one connection that are remembered; older ones are checked anew.
const MOST_REMEMBERED: usize = 8;

/// The tokens that were good on one connection.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    tokens: Vec<Good>,
    /// Team and key of the first push on this connection.
    bound: Option<(String, String)>,
    /// The connection has a client certificate: what it stands for, or nothing if it is not known.
    certificate: Option<Option<Arc<Key>>>,
}

/// On what ground a push is taken.
pub(crate) enum Ground<'a> {
    Token(&'a Good),
    Certificate(Arc<Key>),
}

impl Ground<'_> {
    /// What it allows, and what the ledger shows of it.
    pub(crate) fn parts(&self) -> (&Key, Arc<str>) {
        match self {
            Self::Token(good) => (&good.key, Arc::clone(&good.fingerprint)),
            Self::Certificate(key) => (key, Arc::from("")),
        }
    }
}

/// A token whose signature was checked.
#[derive(Debug)]
pub(crate) struct Good {
    value: HeaderValue,
    issued_at: i64,
    key: Arc<Key>,
    /// What the ledger shows instead of it.
    fingerprint: Arc<str>,
}

impl Seen {
    /// For a connection with this client certificate, if any.
    pub(crate) fn new(certificate: Option<Option<Arc<Key>>>) -> Self {
        Self { certificate, ..Self::default() }
    }

    /// Checks the `authorization` header of a request that came at `now` (seconds since 1970); without one, the
    /// connection's certificate.
    pub(crate) fn check(
        &mut self,
        value: Option<&HeaderValue>,
        identities: &Identities,
        environment: Environment,
        now: i64,
    ) -> Result<Ground<'_>, Reason> {
        let value = match (value, &self.certificate) {
            (Some(value), _) => value,
            (None, None) => return Err(Reason::MissingProviderToken),
            (None, Some(None)) => return Err(Reason::BadCertificate),
            (None, Some(Some(key))) if key.is_revoked() => return Err(Reason::BadCertificate),
            (None, Some(Some(key))) if key.environment.is_some_and(|own| own != environment) => {
                return Err(Reason::BadCertificateEnvironment);
            }
            (None, Some(Some(key))) => return Ok(Ground::Certificate(Arc::clone(key))),
        };
        let place = match self.tokens.iter().position(|good| good.value == value) {
            Some(place) => place,
            None => self.verify(value, identities, environment, now)?,
        };
        let good = self.tokens.get(place).ok_or(Reason::InvalidProviderToken)?;
        if good.key.is_revoked() {
            return Err(Reason::InvalidProviderToken);
        }
        if now - good.issued_at > LIFETIME {
            return Err(Reason::ExpiredProviderToken);
        }
        Ok(Ground::Token(good))
    }

    fn verify(
        &mut self,
        value: &HeaderValue,
        identities: &Identities,
        environment: Environment,
        now: i64,
    ) -> Result<usize, Reason> {
        let text = value.to_str().map_err(|_| Reason::InvalidProviderToken)?;
        let (scheme, token) = text.split_once(' ').ok_or(Reason::MissingProviderToken)?;
        if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
            return Err(Reason::MissingProviderToken);
        }
        let jwt = Jwt::parse(token).ok_or(Reason::InvalidProviderToken)?;
        let team_id = jwt.text("iss").ok_or(Reason::InvalidProviderToken)?;
        let key_id = jwt.header.kid.as_deref().ok_or(Reason::InvalidProviderToken)?;
        let issued_at = jwt.seconds("iat").ok_or(Reason::InvalidProviderToken)?;
        let key = identities.key(team_id, key_id).ok_or(Reason::InvalidProviderToken)?;
        if !jwt.is_signed_es256(&key.point) || issued_at > now + SKEW {
            return Err(Reason::InvalidProviderToken);
        }
        if now - issued_at > LIFETIME {
            return Err(Reason::ExpiredProviderToken);
        }
        if key.environment.is_some_and(|own| own != environment) {
            return Err(Reason::BadEnvironmentKeyIdInToken);
        }
        let owner = self.bound.get_or_insert_with(|| (team_id.to_owned(), key_id.to_owned()));
        if owner.0 != team_id || owner.1 != key_id {
            return Err(Reason::UnrelatedKeyIdInToken);
        }
        if self.tokens.iter().any(|good| (good.issued_at - issued_at).abs() < UPDATE_INTERVAL) {
            return Err(Reason::TooManyProviderTokenUpdates);
        }
        if self.tokens.len() >= MOST_REMEMBERED {
            self.tokens.remove(0);
        }
        let fingerprint = fingerprint(value.as_bytes()).into();
        self.tokens.push(Good { value: value.clone(), issued_at, key, fingerprint });
        Ok(self.tokens.len() - 1)
    }
}
