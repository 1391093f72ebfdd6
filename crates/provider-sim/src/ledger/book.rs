//! One provider's counts, its tokens by number, and which messages it accepted already.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::record::ProviderSummary;
use super::{Entry, Identity};

/// No line.
pub(super) const NONE: u32 = u32::MAX;
/// Different reasons that are told apart; providers have some dozens.
const MOST_REASONS: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct Book {
    numbers: HashMap<Arc<str>, u32>,
    tokens: Vec<Token>,
    reasons: Vec<(Box<str>, u64)>,
    statuses: BTreeMap<u16, u64>,
    requests: u64,
    accepted: u64,
    accepted_tokens: u64,
    duplicates: u64,
    violations: u64,
    /// Accepted messages by two independent hashes of token and identity.
    seen: HashSet<u128>,
    hashers: (RandomState, RandomState),
}

#[derive(Debug)]
struct Token {
    name: Arc<str>,
    last: u32,
    accepted: bool,
}

impl Book {
    /// The token's number; a new one when it was not seen before.
    pub(super) fn token(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.tokens.len() as u32;
        let name: Arc<str> = Arc::from(name);
        self.numbers.insert(Arc::clone(&name), number);
        self.tokens.push(Token { name, last: NONE, accepted: false });
        number
    }

    /// Notes an accepted message and tells whether it was accepted before.
    pub(super) fn accept(&mut self, token: u32, identity: &Identity<'_>) -> bool {
        self.accepted += 1;
        if let Some(token) = self.tokens.get_mut(token as usize)
            && !token.accepted
        {
            token.accepted = true;
            self.accepted_tokens += 1;
        }
        let key = match identity {
            Identity { index: Some(index), .. } => (token, index.as_ref(), i64::MIN),
            Identity { notification: Some(notification), link, .. } => (token, notification.as_ref(), *link),
            _ => return false,
        };
        let hash = (u128::from(self.hashers.0.hash_one(key)) << 64) | u128::from(self.hashers.1.hash_one(key));
        let duplicate = !self.seen.insert(hash);
        self.duplicates += u64::from(duplicate);
        duplicate
    }

    /// Makes the line the token's last one and tells which one was before.
    pub(super) fn follow(&mut self, token: u32, line: u32) -> u32 {
        self.tokens.get_mut(token as usize).map_or(NONE, |token| std::mem::replace(&mut token.last, line))
    }

    /// Counts the request; the number of its reason, from 1.
    pub(super) fn count(&mut self, entry: &Entry<'_>) -> u16 {
        self.requests += 1;
        self.violations += entry.violations.len() as u64;
        *self.statuses.entry(entry.status).or_default() += 1;
        let Some(reason) = entry.reason else { return 0 };
        let place = self.reasons.iter().position(|(name, _)| name.as_ref() == reason);
        let place = place.unwrap_or_else(|| {
            if self.reasons.len() >= MOST_REASONS {
                return MOST_REASONS - 1;
            }
            self.reasons.push((reason.into(), 0));
            self.reasons.len() - 1
        });
        if let Some((_, count)) = self.reasons.get_mut(place) {
            *count += 1;
        }
        u16::try_from(place + 1).unwrap_or(0)
    }

    pub(super) fn last_of(&self, name: &str) -> u32 {
        let number = self.numbers.get(name).and_then(|number| self.tokens.get(*number as usize));
        number.map_or(NONE, |token| token.last)
    }

    pub(super) fn name_of(&self, token: u32) -> &str {
        self.tokens.get(token as usize).map_or("", |token| &token.name)
    }

    pub(super) fn reason_of(&self, reason: u16) -> Option<String> {
        let place = usize::from(reason).checked_sub(1)?;
        self.reasons.get(place).map(|(name, _)| name.to_string())
    }

    pub(super) fn summary(&self) -> ProviderSummary {
        ProviderSummary {
            requests: self.requests,
            accepted: self.accepted,
            by_status: self.statuses.clone(),
            by_reason: self.reasons.iter().map(|(name, count)| (name.to_string(), *count)).collect(),
            accepted_tokens: self.accepted_tokens,
            duplicates: self.duplicates,
            violations: self.violations,
        }
    }
}
