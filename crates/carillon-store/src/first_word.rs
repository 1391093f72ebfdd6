//! First evidence about deliveries: nearly every report is the first word about its messages, so their rows are simply inserted, and what is
//! counted and told is known before the database answers.

use crate::Result;
use crate::statuses::{COUNT, Grown, News, TELL, count, joined, sum_up, tell};
use carillon_domain::delivery_status::{Evidence, Reason, Status};
use carillon_domain::platform::Platform;
use deadpool_postgres::Transaction;
use futures::future::try_join4;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};

/// Groups that ask for rows that are there already, after one found some unexpectedly: receipts are overtaking reports.
const CAREFUL: u32 = 15;

const INSERT: &str = "
    INSERT INTO deliveries (run_id, subject, link, tenant_key, platform, bits, reason, provider_id, closed_at, sent_at)
    SELECT run_id, subject, link, tenant_key, platform, bits, reason, provider_id,
        CASE WHEN bits & 62 <> 0 THEN at END, CASE WHEN bits & 64 <> 0 THEN at END
    FROM unnest($1::uuid[], $2::int8[], $3::int2[], $4::int4[], $5::int2[], $6::int2[], $7::int2[], $8::text[], $9::timestamptz[])
         AS n(run_id, subject, link, tenant_key, platform, bits, reason, provider_id, at)";

/// As many rows are copied: that writes a page of them at once, where an insert writes each by itself, and costs one more way there and back.
const MANY: usize = 48;

/// Evidence that a delivery ended without having been sent; the statement above says the same.
const ENDED: u16 = 62;

const COPY: &str = "
    COPY deliveries (run_id, subject, link, tenant_key, platform, bits, reason, provider_id, closed_at, sent_at)
    FROM STDIN (FORMAT binary)";
const COPIED: [Type; 10] = [
    Type::UUID,
    Type::INT8,
    Type::INT2,
    Type::INT4,
    Type::INT2,
    Type::INT2,
    Type::INT2,
    Type::TEXT,
    Type::TIMESTAMPTZ,
    Type::TIMESTAMPTZ,
];

/// Whether reports may take it that theirs is the first word.
#[derive(Default)]
pub(crate) struct FirstWord {
    careful: AtomicU32,
}

impl FirstWord {
    /// Whether the next group may try it. After one that must not, one group fewer has to be careful.
    pub(crate) fn may_be_tried(&self) -> bool {
        let step = |left: u32| left.checked_sub(1);
        self.careful.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).is_err()
    }

    /// It was not: a row was there.
    pub(crate) fn was_not(&self) {
        self.careful.store(CAREFUL, Ordering::Relaxed);
    }
}

/// Whether news can be the first about its delivery, as it is written here: a dispatcher's word, and no person's name.
pub(crate) fn can_be_first(news: &[News]) -> bool {
    news.iter().all(|n| n.status <= Status::Sent && n.person.is_none())
}

/// Writes news of which nothing is there yet: `before`, then deliveries, counters, and the batch to be told, all of them sent before the
/// first is answered, but for what follows deliveries that are copied. `before` must be ready to send, as what is written by one prepared statement is.
///
/// # Errors
/// [`crate::Error::Duplicate`]: a row is there; the transaction is over, and whoever called does it again by `write_news`.
pub(crate) async fn write_first(
    transaction: &Transaction<'_>,
    before: impl Future<Output = Result<()>>,
    news: Vec<News>,
    slot: i16,
) -> Result<()> {
    let news = joined(news);
    let changes: Vec<Grown> = news.iter().map(first).collect();
    let (tallies, told) = sum_up(&changes);
    // A statement that would have to be prepared first would be sent behind those that follow it.
    for statement in [if news.len() < MANY { INSERT } else { COPY }, COUNT, TELL] {
        transaction.prepare_cached(statement).await?;
    }
    let counting = count(transaction, &tallies, slot);
    if news.len() < MANY {
        try_join4(before, insert(transaction, &news), counting, tell(transaction, &told)).await?;
    } else {
        try_join4(before, copy(transaction, &news), counting, tell(transaction, &told)).await?;
    }
    Ok(())
}

fn first((news, evidence): &(News, Evidence)) -> Grown {
    Grown {
        id: news.id,
        before: Evidence::default(),
        after: *evidence,
        reason: news.reason.map(Reason::number),
        platform: news.platform.map(Platform::number),
        at: news.at,
    }
}

async fn insert(transaction: &Transaction<'_>, news: &[(News, Evidence)]) -> Result<()> {
    if news.is_empty() {
        return Ok(());
    }
    let statement = transaction.prepare_cached(INSERT).await?;
    transaction
        .execute(
            &statement,
            &[
                &news.iter().map(|(n, _)| n.id.run.0).collect::<Vec<_>>(),
                &news.iter().map(|(n, _)| n.id.subject).collect::<Vec<_>>(),
                &news.iter().map(|(n, _)| n.id.link).collect::<Vec<_>>(),
                &news.iter().map(|(n, _)| n.tenant.0).collect::<Vec<_>>(),
                &news.iter().map(|(n, _)| n.platform.map(Platform::number)).collect::<Vec<_>>(),
                &news.iter().map(|(_, e)| i16::from_ne_bytes(e.0.to_ne_bytes())).collect::<Vec<_>>(),
                &news.iter().map(|(n, _)| n.reason.map(Reason::number)).collect::<Vec<_>>(),
                &news.iter().map(|(n, _)| n.provider_id.as_deref()).collect::<Vec<_>>(),
                &news.iter().map(|(n, _)| n.at).collect::<Vec<_>>(),
            ],
        )
        .await?;
    Ok(())
}

async fn copy(transaction: &Transaction<'_>, news: &[(News, Evidence)]) -> Result<()> {
    let statement = transaction.prepare_cached(COPY).await?;
    let sink = transaction.copy_in(&statement).await?;
    let mut rows = pin!(BinaryCopyInWriter::new(sink, &COPIED));
    for (n, evidence) in news {
        let at = |bits: u16| Some(n.at).filter(|_| evidence.0 & bits != 0);
        let row: [&(dyn ToSql + Sync); 10] = [
            &n.id.run.0,
            &n.id.subject,
            &n.id.link,
            &n.tenant.0,
            &n.platform.map(Platform::number),
            &i16::from_ne_bytes(evidence.0.to_ne_bytes()),
            &n.reason.map(Reason::number),
            &n.provider_id,
            &at(ENDED),
            &at(Status::Sent.implied().0),
        ];
        rows.as_mut().write(&row).await?;
    }
    rows.finish().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_row_that_was_there_some_groups_look_before_they_write() {
        let word = FirstWord::default();
        assert!(word.may_be_tried() && word.may_be_tried());
        word.was_not();
        assert_eq!((0..30).filter(|_| word.may_be_tried()).count(), 15);
    }
}
