//! What the providers saw, independent of anything that was told to them afterwards. Append-only and compact: some fifty
//! bytes a request stay for ever, headers and bodies as long as they fit into a bound.

mod book;
mod details;
mod record;

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use tokio::sync::watch;
use uuid::Uuid;

use crate::reply::Provider;
use crate::script::canonical;
use book::{Book, NONE};
use details::Details;
use record::{Flags, Line};
pub use record::{ProviderSummary, Query, Record, Summary};

/// One request as its provider hands it over.
pub(crate) struct Entry<'a> {
    pub(crate) provider: Provider,
    /// In canonical form.
    pub(crate) token: &'a str,
    pub(crate) at_ms: i64,
    pub(crate) status: u16,
    pub(crate) reason: Option<&'a str>,
    /// The provider took responsibility for it: the device or person gets it.
    pub(crate) accepted: bool,
    /// The client was told.
    pub(crate) answered: bool,
    pub(crate) identity: Identity<'a>,
    pub(crate) headers: &'a HeaderMap,
    /// Stands in for the value of `authorization`.
    pub(crate) fingerprint: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) violations: Vec<String>,
}

/// What makes two accepted requests to one token the same message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity<'a> {
    /// `carillon.n`; for SMS the part of `idx` that is an id.
    pub(crate) notification: Option<Cow<'a, str>>,
    /// `carillon.l`.
    pub(crate) link: i64,
    /// For SMS the whole `idx`, which alone makes a message the same.
    pub(crate) index: Option<Cow<'a, str>>,
}

/// The ledger of all providers.
#[derive(Debug)]
pub struct Ledger {
    inner: Mutex<Inner>,
    keeps: bool,
    last: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    /// Sequence number before the first line: grows when the ledger is cleared.
    base: u64,
    lines: Vec<Line>,
    books: [Book; 5],
    details: Details,
    /// Notification ids that are no UUID, by sequence number.
    odd_ids: std::collections::HashMap<u64, Box<str>>,
    violations: std::collections::HashMap<u64, Box<[String]>>,
}

impl Ledger {
    pub(crate) fn new(keep_bytes: usize) -> Self {
        let inner = Inner {
            base: 0,
            lines: Vec::new(),
            books: Default::default(),
            details: Details::new(keep_bytes),
            odd_ids: Default::default(),
            violations: Default::default(),
        };
        Self { inner: Mutex::new(inner), keeps: keep_bytes > 0, last: watch::Sender::new(0) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes one request down.
    pub(crate) fn append(&self, entry: &mut Entry<'_>) {
        // Outside of the lock, and not at all where nothing is kept.
        let detail = self.keeps.then(|| Details::encode(entry.headers, entry.fingerprint, entry.body));
        let last = {
            let mut inner = self.lock();
            inner.append(entry, detail);
            inner.base + inner.lines.len() as u64
        };
        if self.last.receiver_count() > 0 {
            self.last.send_replace(last);
        }
    }

    /// The records that answer the query, oldest first, at most `limit`.
    pub fn records(&self, query: &Query) -> Vec<Record> {
        let mut found = Vec::new();
        self.visit(query, |record| found.push(record));
        found
    }

    /// As [`Ledger::records`], one by one: for more of them than memory holds with their bodies.
    pub fn visit(&self, query: &Query, mut each: impl FnMut(Record)) {
        let mut left = query.limit.unwrap_or(usize::MAX);
        let mut page = query.clone();
        while left > 0 {
            let (some, next) = self.page(&page, left.min(1000));
            left -= some.len();
            some.into_iter().for_each(&mut each);
            match next {
                Some(after) => page.after = after,
                None => break,
            }
        }
    }

    /// At most so many records, and where to go on, if there is more to look at.
    pub(crate) fn page(&self, query: &Query, most: usize) -> (Vec<Record>, Option<u64>) {
        let inner = self.lock();
        let end = inner.base + inner.lines.len() as u64;
        let mut found = Vec::new();
        for seq in inner.candidates(query) {
            if let Some(line) = inner.line(seq)
                && query.admits(line)
            {
                found.push(inner.record(seq, line));
                if found.len() >= most {
                    return (found, (seq < end).then_some(seq));
                }
            }
        }
        (found, None)
    }

    /// How many records answer the query; `limit` plays no part.
    pub fn count(&self, query: &Query) -> usize {
        let inner = self.lock();
        inner.candidates(query).filter(|seq| inner.line(*seq).is_some_and(|line| query.admits(line))).count()
    }

    /// Waits until at least so many records answer the query; what there is when the deadline passes.
    pub async fn wait(&self, query: &Query, count: usize, deadline: Duration) -> Vec<Record> {
        let mut last = self.last.subscribe();
        let enough = async {
            loop {
                if self.count(query) >= count || last.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(deadline, enough).await;
        self.records(query)
    }

    /// Counts by provider and status.
    pub fn summary(&self) -> Summary {
        let inner = self.lock();
        let providers =
            Provider::ALL.map(|provider| (provider.name().to_owned(), inner.books[provider.index()].summary()));
        let total = |count: fn(&ProviderSummary) -> u64| providers.iter().map(|(_, one)| count(one)).sum();
        Summary {
            duplicates: total(|one| one.duplicates),
            violations: total(|one| one.violations),
            details_dropped: inner.details.dropped(),
            providers: providers.into_iter().collect(),
        }
    }

    /// Forgets everything; sequence numbers go on.
    pub fn clear(&self) {
        let mut inner = self.lock();
        inner.base += inner.lines.len() as u64;
        inner.lines = Vec::new();
        inner.books = Default::default();
        inner.details.clear();
        inner.odd_ids.clear();
        inner.violations.clear();
    }
}

impl Inner {
    fn append(&mut self, entry: &mut Entry<'_>, detail: Option<Box<[u8]>>) {
        let index = self.lines.len() as u32;
        let seq = self.base + u64::from(index) + 1;
        let book = &mut self.books[entry.provider.index()];
        let token = book.token(entry.token);
        let duplicate = entry.accepted && book.accept(token, &entry.identity);
        let id = entry.identity.notification.as_deref().map(|text| (Uuid::try_parse(text).ok(), text));
        if let Some((None, text)) = id {
            self.odd_ids.insert(seq, text.chars().take(64).collect::<String>().into_boxed_str());
        }
        let line = Line {
            at_ms: entry.at_ms,
            notification: id.and_then(|(uuid, _)| uuid).unwrap_or_default(),
            token,
            previous: book.follow(token, index),
            link: i32::try_from(entry.identity.link).unwrap_or(i32::MAX),
            status: entry.status,
            reason: book.count(entry),
            provider: entry.provider,
            flags: Flags {
                accepted: entry.accepted,
                answered: entry.answered,
                duplicate,
                identified: id.is_some(),
                violating: !entry.violations.is_empty(),
            },
        };
        if !entry.violations.is_empty() {
            self.violations.insert(seq, std::mem::take(&mut entry.violations).into_boxed_slice());
        }
        if let Some(detail) = detail {
            self.details.push(seq, detail);
        }
        self.lines.push(line);
    }

    fn line(&self, seq: u64) -> Option<&Line> {
        let index = seq.checked_sub(self.base + 1)?;
        self.lines.get(usize::try_from(index).ok()?)
    }

    /// The sequence numbers to look at, in order.
    fn candidates<'a>(&'a self, query: &Query) -> Box<dyn Iterator<Item = u64> + 'a> {
        let after = query.after.max(self.base);
        match &query.token {
            Some(token) => Box::new(self.of_token(query.provider, token).into_iter().filter(move |seq| *seq > after)),
            None => Box::new(after + 1..=self.base + self.lines.len() as u64),
        }
    }

    fn of_token(&self, provider: Option<Provider>, token: &str) -> Vec<u64> {
        let mut found = Vec::new();
        for one in Provider::ALL.into_iter().filter(|one| provider.is_none_or(|wanted| wanted == *one)) {
            let book = &self.books[one.index()];
            let mut next = book.last_of(&canonical(one, token));
            while next != NONE {
                found.push(self.base + u64::from(next) + 1);
                next = self.lines.get(next as usize).map_or(NONE, |line| line.previous);
            }
        }
        found.sort_unstable();
        found
    }

    fn record(&self, seq: u64, line: &Line) -> Record {
        let book = &self.books[line.provider.index()];
        let (headers, body) = self.details.decode(seq);
        let flags = line.flags;
        let odd = self.odd_ids.get(&seq).map(|text| text.to_string());
        Record {
            seq,
            provider: line.provider,
            token: book.name_of(line.token).to_owned(),
            notification_id: flags.identified.then(|| odd.unwrap_or_else(|| line.notification.to_string())),
            link: flags.identified.then_some(line.link),
            at: jiff::Timestamp::from_millisecond(line.at_ms).unwrap_or_default(),
            status: line.status,
            reason: book.reason_of(line.reason),
            accepted: flags.accepted,
            answered: flags.answered,
            duplicate: flags.duplicate,
            headers,
            body,
            violations: self.violations.get(&seq).map(|found| found.to_vec()).unwrap_or_default(),
        }
    }
}

/// The first bytes of a credential's hash: enough to see whether two requests used the same one.
pub(crate) fn fingerprint(secret: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, secret);
    let mut text = String::with_capacity(19);
    text.push_str("sha256:");
    for byte in digest.as_ref().iter().take(6) {
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
    }
    text
}
