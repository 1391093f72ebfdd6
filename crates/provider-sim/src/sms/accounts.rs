//! Whom the gateway knows and what they sent: tokens, sender names, used `idx`.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use super::reports::Reports;
use crate::Error;
use crate::config::Config;

/// Values of `idx` that an account's messages are remembered by.
const MOST_INDEXES: usize = 10_000_000;

/// An account to make known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmsAccount {
    /// The bearer token.
    pub token: String,
    /// The name shown in delivery reports.
    #[serde(default = "SmsAccount::usual_name")]
    pub username: String,
    /// The sender names that it may use; any well-formed one when empty.
    #[serde(default)]
    pub senders: Vec<String>,
}

impl SmsAccount {
    /// An account that may use any well-formed sender name.
    pub fn new(token: impl Into<String>) -> Self {
        Self { token: token.into(), username: Self::usual_name(), senders: Vec::new() }
    }

    fn usual_name() -> String {
        "sim".to_owned()
    }
}

/// An account that is known.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) username: String,
    pub(crate) senders: Vec<String>,
    indexes: Mutex<HashSet<Box<str>>>,
}

impl Account {
    /// Remembers a message's `idx`.
    pub(crate) fn use_index(&self, index: &str) {
        let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        if indexes.len() >= MOST_INDEXES {
            indexes.clear();
        }
        indexes.insert(index.into());
    }

    pub(crate) fn has_used(&self, index: &str) -> bool {
        self.indexes.lock().unwrap_or_else(PoisonError::into_inner).contains(index)
    }
}

/// The gateway's accounts, message numbers and reports under way.
pub(crate) struct Gateway {
    accounts: RwLock<HashMap<String, Arc<Account>>>,
    messages: AtomicU64,
    /// Held while a request is decided, so that of two with one `idx` only one passes.
    pub(crate) turn: Mutex<()>,
    pub(crate) reports: Arc<Reports>,
}

impl Gateway {
    pub(crate) fn new(config: &Config, callbacks: Arc<rustls::ClientConfig>) -> Self {
        Self {
            accounts: RwLock::default(),
            messages: AtomicU64::new(0),
            turn: Mutex::new(()),
            reports: Arc::new(Reports::new(config, callbacks)),
        }
    }

    pub(crate) fn register(&self, account: SmsAccount) -> Result<(), Error> {
        if account.token.is_empty() {
            return Err(Error::refused("token must not be empty"));
        }
        let known = Account { username: account.username, senders: account.senders, indexes: Mutex::default() };
        self.accounts.write().unwrap_or_else(PoisonError::into_inner).insert(account.token, Arc::new(known));
        Ok(())
    }

    pub(crate) fn account(&self, token: &str) -> Option<Arc<Account>> {
        self.accounts.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    /// The id of the next message: 24 hexadecimal digits, as SMSAPI's are.
    pub(crate) fn next_id(&self) -> String {
        let number = self.messages.fetch_add(1, Ordering::Relaxed) + 1;
        format!("{:012X}{number:012X}", uuid::Uuid::new_v4().as_u64_pair().0 >> 16)
    }
}
