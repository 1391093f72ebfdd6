//! Settings of the segmenter.

use carillon_domain::limits;
use carillon_runtime::config::ServiceConfig;
use serde::Deserialize;
use std::num::NonZeroUsize;

/// All sections that the segmenter reads.
#[derive(Debug, Deserialize)]
pub struct Config {
    /// The broker.
    pub amqp: carillon_broker::Config,
    /// The database.
    pub database: carillon_store::Config,
    /// The segmenter's own.
    #[serde(default)]
    pub segmenter: SegmenterConfig,
}

impl ServiceConfig for Config {
    const SECTIONS: &'static [&'static str] = &["amqp", "database", "segmenter"];
    const WORKER_THREADS: Option<NonZeroUsize> = NonZeroUsize::new(1);

    fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let s = &self.segmenter;
        if !(1..=limits::CHUNK_RECIPIENTS).contains(&s.chunk_recipients) {
            faults.push(("segmenter.chunk_recipients", format!("must be between 1 and {}", limits::CHUNK_RECIPIENTS)));
        }
        if !(1..=50_000).contains(&s.page_recipients) {
            faults.push(("segmenter.page_recipients", "must be between 1 and 50000".into()));
        }
        for (key, value) in [
            ("segmenter.transactional_concurrency", s.transactional_concurrency),
            ("segmenter.bulk_concurrency", s.bulk_concurrency),
        ] {
            if !(1..=64).contains(&value) {
                faults.push((key, "must be between 1 and 64".into()));
            }
        }
        if s.outstanding_chunks < 1 {
            faults.push(("segmenter.outstanding_chunks", "must be at least 1".into()));
        }
        faults
    }
}

/// Section `segmenter`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SegmenterConfig {
    /// Recipients after which a chunk is closed, 1-500.
    pub chunk_recipients: usize,
    /// Recipients read in one transaction of a campaign, 1-50,000.
    pub page_recipients: usize,
    /// Wake-ups of the transactional lane handled at once, 1-64. Most of their time they wait for a commit or a confirm.
    pub transactional_concurrency: usize,
    /// Campaigns walked at once, 1-64.
    pub bulk_concurrency: usize,
    /// Chunks outstanding per platform in the bulk lane, and 64 times as many in the transactional one, whose chunks are small and travel
    /// together. A tenant's campaigns have a share of them in hand (`share.rs`).
    pub outstanding_chunks: i64,
}

impl SegmenterConfig {
    /// Chunks of a page that is full.
    pub(crate) fn page_chunks(&self) -> i64 {
        self.page_recipients.div_ceil(self.chunk_recipients) as i64
    }
}

impl Default for SegmenterConfig {
    fn default() -> Self {
        Self {
            chunk_recipients: limits::CHUNK_RECIPIENTS,
            page_recipients: 5_000,
            transactional_concurrency: 16,
            bulk_concurrency: 4,
            outstanding_chunks: limits::OUTSTANDING_CHUNKS as i64,
        }
    }
}
