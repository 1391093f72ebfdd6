//! First evidence about deliveries: nearly every report is the first word about its messages, so their rows are simply inserted, and what is
//! counted and told is known before the database answers.

use crate::Result;
use crate::begun::{Begun, Parameters, Ready};
use crate::statuses::{Grown, News, counting, joined, sum_up, telling};
use carillon_domain::delivery_status::{Evidence, Reason, Status};
use carillon_domain::platform::Platform;
use carillon_failpoint::Point;
use deadpool_postgres::Object;
use futures::future::try_join4;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio_postgres::Statement;
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

/// Writes news of which nothing is there yet, and commits: `before`, then deliveries, counters, and the batch to be told. All of them are sent before
/// the first is answered, but for what follows deliveries that are copied.
///
/// # Errors
/// [`crate::Error::Duplicate`]: a row is there, and nothing is committed; whoever called does it again by `write_news`.
pub(crate) async fn commit_first(
    transaction: Begun,
    point: Point,
    before: Option<Ready<'_>>,
    news: Vec<News>,
    slot: i16,
) -> Result<()> {
    let news = joined(news);
    let changes: Vec<Grown> = news.iter().map(first).collect();
    let (tallies, told) = sum_up(&changes);
    let client = transaction.client()?;
    let (counting, telling) = (counting(client, &tallies, slot).await?, telling(client, &told).await?);
    if news.len() < MANY {
        let last = [before, inserting(client, &news).await?, counting, telling];
        return transaction.commit_behind(point, last.into_iter().flatten().collect()).await;
    }
    // Copying is several ways there and back by itself.
    let statement = client.prepare_cached(COPY).await?;
    let written =
        try_join4(send(client, before), copy(client, &statement, &news), send(client, counting), send(client, telling));
    if let Err(error) = written.await {
        transaction.undo().await?;
        return Err(error);
    }
    transaction.commit(point).await
}

async fn send(client: &Object, statement: Option<Ready<'_>>) -> Result<()> {
    match statement {
        Some(statement) => statement.send(client).await,
        None => Ok(()),
    }
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

async fn inserting<'a>(client: &Object, news: &'a [(News, Evidence)]) -> Result<Option<Ready<'a>>> {
    if news.is_empty() {
        return Ok(None);
    }
    let parameters: Parameters<'_> = vec![
        Box::new(news.iter().map(|(n, _)| n.id.run.0).collect::<Vec<_>>()),
        Box::new(news.iter().map(|(n, _)| n.id.subject).collect::<Vec<_>>()),
        Box::new(news.iter().map(|(n, _)| n.id.link).collect::<Vec<_>>()),
        Box::new(news.iter().map(|(n, _)| n.tenant.0).collect::<Vec<_>>()),
        Box::new(news.iter().map(|(n, _)| n.platform.map(Platform::number)).collect::<Vec<_>>()),
        Box::new(news.iter().map(|(_, e)| i16::from_ne_bytes(e.0.to_ne_bytes())).collect::<Vec<_>>()),
        Box::new(news.iter().map(|(n, _)| n.reason.map(Reason::number)).collect::<Vec<_>>()),
        Box::new(news.iter().map(|(n, _)| n.provider_id.as_deref()).collect::<Vec<_>>()),
        Box::new(news.iter().map(|(n, _)| n.at).collect::<Vec<_>>()),
    ];
    Ready::new(client, INSERT, parameters).await.map(Some)
}

async fn copy(client: &Object, statement: &Statement, news: &[(News, Evidence)]) -> Result<()> {
    let sink = client.copy_in(statement).await?;
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
