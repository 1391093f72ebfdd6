//! Evidence about deliveries: written by reports and receipts with one upsert, counted by what is new, told in batches.

use crate::Result;
use crate::begun::{Parameters, Ready};
use crate::status_batch::{StatusChange, encode};
use carillon_domain::delivery_status::{Evidence, Reason, Status, Tally};
use carillon_domain::ids::{RunId, TenantKey};
use carillon_domain::platform::Platform;
use deadpool_postgres::GenericClient;
use jiff::Timestamp;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Which delivery: in a run, a device's key (push) or `-1 - person number` (text message, or nobody to push to), and the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId {
    /// The run.
    pub run: RunId,
    /// The device's key, or `-1 - person number`.
    pub subject: i64,
    /// 0 = the notification's own pushes, 1.. = its cascade's links.
    pub link: i16,
}

impl DeliveryId {
    /// The subject of a person without a device, by the person's number in the run.
    pub const fn person_subject(person_number: i32) -> i64 {
        -1 - person_number as i64
    }
}

/// News about one delivery.
#[derive(Clone, Debug)]
pub(crate) struct News {
    pub id: DeliveryId,
    pub tenant: TenantKey,
    pub platform: Option<Platform>,
    pub status: Status,
    pub reason: Option<Reason>,
    pub person: Option<String>,
    pub provider_id: Option<String>,
    pub at: Timestamp,
}

const UPSERT: &str = "
    INSERT INTO deliveries AS d (run_id, subject, link, tenant_key, platform, bits, reason, person, provider_id,
        closed_at, sent_at, undelivered_at, delivered_at, displayed_at, dismissed_at, opened_at, clicked_at)
    SELECT run_id, subject, link, tenant_key, platform, bits, reason, person, provider_id,
        CASE WHEN bits & 62 <> 0 THEN at END, CASE WHEN bits & 64 <> 0 THEN at END,
        CASE WHEN bits & 128 <> 0 THEN at END, CASE WHEN bits & 256 <> 0 THEN at END,
        CASE WHEN bits & 512 <> 0 THEN at END, CASE WHEN bits & 1024 <> 0 THEN at END,
        CASE WHEN bits & 2048 <> 0 THEN at END, CASE WHEN bits & 4096 <> 0 THEN at END
    FROM unnest($1::uuid[], $2::int8[], $3::int2[], $4::int4[], $5::int2[], $6::int2[], $7::int2[], $8::text[], $9::text[],
                $10::timestamptz[])
         AS n(run_id, subject, link, tenant_key, platform, bits, reason, person, provider_id, at)
    ON CONFLICT (run_id, subject, link) DO UPDATE SET
        prev = d.bits,
        bits = d.bits | excluded.bits,
        platform = coalesce(d.platform, excluded.platform),
        person = coalesce(d.person, excluded.person),
        provider_id = coalesce(d.provider_id, excluded.provider_id),
        reason = CASE WHEN excluded.bits > d.bits THEN excluded.reason
                      WHEN excluded.bits = d.bits THEN greatest(d.reason, excluded.reason) ELSE d.reason END,
        closed_at = least(d.closed_at, excluded.closed_at),
        sent_at = least(d.sent_at, excluded.sent_at),
        undelivered_at = least(d.undelivered_at, excluded.undelivered_at),
        delivered_at = least(d.delivered_at, excluded.delivered_at),
        displayed_at = least(d.displayed_at, excluded.displayed_at),
        dismissed_at = least(d.dismissed_at, excluded.dismissed_at),
        opened_at = least(d.opened_at, excluded.opened_at),
        clicked_at = least(d.clicked_at, excluded.clicked_at)
    WHERE d.bits | excluded.bits <> d.bits
    RETURNING run_id, subject, link, prev, bits, reason, platform";

const TELL: &str = "INSERT INTO status_batches (changes, due_at) VALUES ($1, now())";

const COUNT: &str = "
    INSERT INTO run_counters AS c (run_id, channel, slot, suppressed, cancelled, expired, unknown, failed, sent,
        undelivered, delivered, displayed, dismissed, opened, clicked)
    SELECT * FROM unnest($1::uuid[], $2::int2[], $3::int2[], $4::int8[], $5::int8[], $6::int8[], $7::int8[], $8::int8[],
        $9::int8[], $10::int8[], $11::int8[], $12::int8[], $13::int8[], $14::int8[], $15::int8[])
    ON CONFLICT (run_id, channel, slot) DO UPDATE SET
        suppressed = c.suppressed + excluded.suppressed, cancelled = c.cancelled + excluded.cancelled,
        expired = c.expired + excluded.expired, unknown = c.unknown + excluded.unknown,
        failed = c.failed + excluded.failed, sent = c.sent + excluded.sent,
        undelivered = c.undelivered + excluded.undelivered, delivered = c.delivered + excluded.delivered,
        displayed = c.displayed + excluded.displayed, dismissed = c.dismissed + excluded.dismissed,
        opened = c.opened + excluded.opened, clicked = c.clicked + excluded.clicked";

/// Writes news: deliveries, then counters (in this order everywhere), then the batch to be told.
///
/// `slot` spreads the counters of one run, so that processes do not wait for each other; any constant of the process will do.
pub(crate) async fn write_news(client: &impl GenericClient, news: Vec<News>, slot: i16) -> Result<()> {
    let news = joined(news);
    if news.is_empty() {
        return Ok(());
    }
    let changes = upsert(client, &news).await?;
    let (tallies, told) = sum_up(&changes);
    for statement in [counting(client, &tallies, slot).await?, telling(client, &told).await?].into_iter().flatten() {
        statement.send(client).await?;
    }
    Ok(())
}

/// What changes add to the counters, and what of them is to be told.
pub(crate) fn sum_up(changes: &[Grown]) -> (Tallies, Vec<StatusChange>) {
    let mut tallies = Tallies::new();
    let mut told = Vec::with_capacity(changes.len());
    for change in changes {
        let channel = if change.id.link == 0 { 1 } else { 2 };
        let tally = tallies.entry((change.id.run.0, channel)).or_default();
        tally.add(Tally::change(change.before, change.after));
        if change.before.status() != change.after.status() {
            told.push(StatusChange {
                run: change.id.run.0,
                subject: change.id.subject,
                link: change.id.link,
                status: change.after.status().number(),
                reason: change.reason,
                platform: change.platform,
                at_ms: change.at.as_millisecond(),
            });
        }
    }
    (tallies, told)
}

/// One row a delivery: an upsert must not meet the same row twice in a statement. The evidence is joined, the earliest time and the reason of
/// the greater status stay. Sorted, so that two transactions lock in the same order.
pub(crate) fn joined(news: Vec<News>) -> Vec<(News, Evidence)> {
    let with_evidence = |item: News| {
        let evidence = item.status.implied();
        (item, evidence)
    };
    let mut all: Vec<(News, Evidence)> = news.into_iter().map(with_evidence).collect();
    all.sort_by_key(|(item, _)| item.id);
    all.dedup_by(|(item, evidence), (kept, bits)| {
        if item.id != kept.id {
            return false;
        }
        *bits = bits.join(*evidence);
        kept.at = kept.at.min(item.at);
        if item.status > kept.status {
            kept.status = item.status;
            kept.reason = item.reason;
        }
        kept.provider_id = kept.provider_id.take().or(item.provider_id.take());
        true
    });
    all
}

/// What is new of a delivery.
pub(crate) struct Grown {
    pub id: DeliveryId,
    pub before: Evidence,
    pub after: Evidence,
    pub reason: Option<i16>,
    pub platform: Option<i16>,
    pub at: Timestamp,
}

/// By run and channel.
pub(crate) type Tallies = BTreeMap<(Uuid, i16), Tally>;

async fn upsert(client: &impl GenericClient, news: &[(News, Evidence)]) -> Result<Vec<Grown>> {
    let bits = |n: u16| i16::from_ne_bytes(n.to_ne_bytes());
    let statement = client.prepare_cached(UPSERT).await?;
    let rows = client
        .query(
            &statement,
            &[
                &news.iter().map(|(n, _)| n.id.run.0).collect::<Vec<_>>(),
                &news.iter().map(|(n, _)| n.id.subject).collect::<Vec<_>>(),
                &news.iter().map(|(n, _)| n.id.link).collect::<Vec<_>>(),
                &news.iter().map(|(n, _)| n.tenant.0).collect::<Vec<_>>(),
                &news.iter().map(|(n, _)| n.platform.map(Platform::number)).collect::<Vec<_>>(),
                &news.iter().map(|(_, e)| bits(e.0)).collect::<Vec<_>>(),
                &news.iter().map(|(n, _)| n.reason.map(Reason::number)).collect::<Vec<_>>(),
                &news.iter().map(|(n, _)| n.person.as_deref()).collect::<Vec<_>>(),
                &news.iter().map(|(n, _)| n.provider_id.as_deref()).collect::<Vec<_>>(),
                &news.iter().map(|(n, _)| n.at).collect::<Vec<_>>(),
            ],
        )
        .await?;
    let evidence = |n: i16| Evidence(u16::from_ne_bytes(n.to_ne_bytes()));
    Ok(rows
        .iter()
        .map(|row| {
            let id = DeliveryId { run: RunId(row.get(0)), subject: row.get(1), link: row.get(2) };
            // What was written is sorted.
            let mine = news.binary_search_by_key(&id, |(n, _)| n.id).ok().and_then(|i| news.get(i));
            Grown {
                id,
                before: evidence(row.get(3)),
                after: evidence(row.get(4)),
                reason: row.get(5),
                platform: row.get(6),
                at: mine.map_or(Timestamp::UNIX_EPOCH, |(n, _)| n.at),
            }
        })
        .collect())
}

/// Adds to the counters, if there is anything to add.
pub(crate) async fn counting<'a>(
    client: &impl GenericClient,
    tallies: &Tallies,
    slot: i16,
) -> Result<Option<Ready<'a>>> {
    let tallies: Vec<_> = tallies.iter().filter(|(_, t)| !t.is_zero()).collect();
    if tallies.is_empty() {
        return Ok(None);
    }
    let runs: Vec<Uuid> = tallies.iter().map(|((run, _), _)| *run).collect();
    let channels: Vec<i16> = tallies.iter().map(|((_, channel), _)| *channel).collect();
    let mut parameters: Parameters<'_> = vec![Box::new(runs), Box::new(channels), Box::new(vec![slot; tallies.len()])];
    for status in 1..13 {
        parameters.push(Box::new(tallies.iter().map(|(_, t)| t.0[status]).collect::<Vec<i64>>()));
    }
    Ready::new(client, COUNT, parameters).await.map(Some)
}

/// Leaves a batch to be told, if there is anything to tell; the status collector's pump publishes it.
pub(crate) async fn telling<'a>(client: &impl GenericClient, changes: &[StatusChange]) -> Result<Option<Ready<'a>>> {
    if changes.is_empty() {
        return Ok(None);
    }
    Ready::new(client, TELL, vec![Box::new(encode(changes)?)]).await.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(status: Status, reason: Option<Reason>) -> News {
        News {
            id: DeliveryId { run: RunId(Uuid::nil()), subject: 1, link: 0 },
            tenant: TenantKey(1),
            platform: None,
            status,
            reason,
            person: None,
            provider_id: None,
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn news_of_one_delivery_in_one_group_become_one_row() {
        let all = joined(vec![
            news(Status::Failed, Some(Reason::ProviderRejected)),
            news(Status::Sent, None),
            news(Status::Expired, Some(Reason::Ttl)),
        ]);
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].1.status(), all[0].0.reason), (Status::Sent, None));
    }
}
