//! Receipts: evidence from devices, effective before it is answered.

use crate::cascades::{CascadeEvidence, stop_cascades};
use crate::commit::commit;
use crate::statuses::{DeliveryId, News, write_news};
use crate::{Result, Store};
use carillon_domain::ids::{AppKey, DeviceKey, NotificationId, RunId, TenantKey};
use carillon_domain::platform::Platform;
use carillon_domain::receipt::{CascadeEffect, Event, Recorded};
use carillon_domain::reference::Reference;
use carillon_failpoint::Point;
use deadpool_postgres::Transaction;
use jiff::Timestamp;
use std::collections::{BTreeMap, HashSet};
use tokio_postgres::Row;
use uuid::Uuid;

/// What a caller says a device did.
#[derive(Clone, Debug)]
pub struct ReceiptItem {
    /// Only of this app, where the caller's key says so.
    pub app_scope: Option<AppKey>,
    /// Only of this device, where the caller is the device.
    pub device_scope: Option<DeviceKey>,
    /// The notification, needed when there is no reference. A delivery that has another one is not meant.
    pub notification_id: Option<NotificationId>,
    /// The reference that travelled with the push.
    pub reference: Option<Reference>,
    /// The device's public id, needed when there is no reference.
    pub device: Option<String>,
    /// What it did.
    pub event: Event,
    /// When, by the device's clock; never later than the database's.
    pub at: Option<Timestamp>,
    /// The button that was pressed, where it was one.
    pub action: Option<String>,
}

/// What a receipt did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptResult {
    /// Whether it was news.
    pub recorded: Recorded,
    /// What it did to the person's cascade.
    pub cascade: CascadeEffect,
}

/// By reference: the chunk's row says which device and which person.
const BY_REFERENCE: &str = "
    SELECT k.i, c.run_id, c.link, c.platform, d.device_key,
           CASE WHEN length(c.person_numbers) >= k.position * 4 + 4
                THEN ('x' || encode(substring(c.person_numbers FROM k.position * 4 + 1 FOR 4), 'hex'))::bit(32)::int END,
           d.device, d.app_key, c.notification_id, now()
    FROM unnest($1::int[], $2::uuid[], $3::int[], $4::int[]) AS k(i, run_id, chunk, position)
    JOIN chunks c ON c.run_id = k.run_id AND c.chunk = k.chunk AND c.tenant_key = $5 AND length(c.device_keys) >= k.position * 8 + 8
    JOIN devices d ON d.device_key = ('x' || encode(substring(c.device_keys FROM k.position * 8 + 1 FOR 8), 'hex'))::bit(64)::bigint";

/// By names, what was reported before: the delivery's own row.
const REPORTED_BY_NAME: &str = "
    SELECT k.i, n.run_id, x.link, x.platform, d.device_key, NULL::int, d.device, d.app_key, n.notification_id, now(), d.person
    FROM unnest($1::int[], $2::uuid[], $3::text[]) AS k(i, notification_id, device)
    JOIN notifications n ON n.notification_id = k.notification_id AND n.tenant_key = $4
    JOIN devices d ON d.app_key = n.app_key AND d.device = k.device AND d.state <> 5
    JOIN deliveries x ON x.run_id = n.run_id AND x.subject = d.device_key AND x.bits <> 2
    ORDER BY k.i, x.link";

/// By names, what was not reported yet: it can only lie in a chunk that was published and has something open. A key is looked for as
/// bytes; where it lies across two others', every place is compared.
const OPEN_BY_NAME: &str = "
    SELECT k.i, c.run_id, c.link, c.platform, d.device_key, NULL::int, d.device, d.app_key, c.notification_id, now(), d.person
    FROM unnest($1::int[], $2::uuid[], $3::text[]) AS k(i, notification_id, device)
    JOIN notifications n ON n.notification_id = k.notification_id AND n.tenant_key = $4
    JOIN devices d ON d.app_key = n.app_key AND d.device = k.device AND d.state <> 5
    JOIN chunks c ON c.run_id = n.run_id AND c.platform = d.platform AND c.copies > 0 AND c.due_at IS NOT NULL
    CROSS JOIN LATERAL (SELECT position(int8send(d.device_key) IN c.device_keys) AS at OFFSET 0) found
    WHERE found.at > 0
      AND (found.at % 8 = 1 OR EXISTS (
          SELECT 1 FROM generate_series(0, length(c.device_keys) / 8 - 1) AS place
          WHERE substring(c.device_keys FROM place * 8 + 1 FOR 8) = int8send(d.device_key)))";

/// Persons are numbered in the order of their keys, so a person's number in a run is found by halving.
const PERSON_NUMBERS: &str = "
    WITH RECURSIVE search AS (
        SELECT k.i, k.run_id, k.person COLLATE \"C\" AS person, 0 AS low, n.next_person AS high
        FROM unnest($1::int[], $2::uuid[], $3::text[]) AS k(i, run_id, person)
        JOIN notifications n ON n.run_id = k.run_id
        WHERE EXISTS (SELECT 1 FROM cascades c WHERE c.run_id = k.run_id AND c.link = 1 AND c.person_number = 0)
        UNION ALL
        SELECT s.i, s.run_id, s.person, CASE WHEN c.person < s.person THEN c.person_number + 1 ELSE s.low END,
               CASE WHEN c.person < s.person THEN s.high ELSE c.person_number END
        FROM search s
        JOIN cascades c ON c.run_id = s.run_id AND c.link = 1 AND c.person_number = (s.low + s.high) / 2
        WHERE s.low < s.high
    )
    SELECT s.i, s.low FROM search s
    JOIN cascades c ON c.run_id = s.run_id AND c.link = 1 AND c.person_number = s.low AND c.person = s.person
    WHERE s.low = s.high";

struct Found {
    i: usize,
    id: DeliveryId,
    platform: Option<Platform>,
    person_number: Option<i32>,
    now: Timestamp,
}

impl Store {
    /// Records receipts. Evidence may come before the report of the push it is about, late, or twice. When it returns, a read is
    /// effective: no text goes out to a person whose receipt says `stopped`.
    ///
    /// # Errors
    /// Nothing is recorded, or, if the connection broke at the commit, all or nothing is: repeating it changes nothing twice.
    pub async fn record_receipts(
        &self,
        tenant: TenantKey,
        items: &[ReceiptItem],
        slot: i16,
    ) -> Result<Vec<ReceiptResult>> {
        let mut connection = self.connection().await?;
        let transaction = connection.transaction().await?;
        let found = find(&transaction, tenant, items).await?;
        let evidence: Vec<CascadeEvidence> = found
            .iter()
            .filter_map(|f| {
                let evidence = items[f.i].event.status().implied();
                f.person_number.map(|person_number| CascadeEvidence { run: f.id.run, person_number, evidence })
            })
            .collect();
        let effects = stop_cascades(&transaction, &evidence).await?;
        let news = found.iter().map(|f| news_of(f, tenant, &items[f.i])).collect();
        let known = known_evidence(&transaction, &found).await?;
        write_news(&transaction, news, slot).await?;
        keep_actions(&transaction, &found, items).await?;
        commit(transaction, Point::ReceiptsCommit).await?;

        let unknown = ReceiptResult { recorded: Recorded::Unknown, cascade: CascadeEffect::None };
        let mut results = vec![unknown; items.len()];
        let mut seen: HashSet<(DeliveryId, Event)> = HashSet::new();
        let mut effects = effects.into_iter();
        for f in &found {
            let event = items[f.i].event;
            let repeated = known.contains(&(f.id, event)) || !seen.insert((f.id, event));
            let cascade = if f.person_number.is_some() { effects.next() } else { None };
            results[f.i] = ReceiptResult {
                recorded: if repeated { Recorded::Duplicate } else { Recorded::Recorded },
                cascade: cascade.unwrap_or(CascadeEffect::None),
            };
        }
        Ok(results)
    }
}

fn news_of(found: &Found, tenant: TenantKey, item: &ReceiptItem) -> News {
    News {
        id: found.id,
        tenant,
        platform: found.platform,
        status: item.event.status(),
        reason: None,
        person: None,
        provider_id: None,
        // A device's clock may be wrong; the future certainly is.
        at: item.at.filter(|at| *at <= found.now).unwrap_or(found.now),
    }
}

async fn find(transaction: &Transaction<'_>, tenant: TenantKey, items: &[ReceiptItem]) -> Result<Vec<Found>> {
    let mut found = Matches { items, found: BTreeMap::new() };
    let by_reference: Vec<(i32, Reference)> =
        items.iter().enumerate().filter_map(|(i, item)| Some((i as i32, item.reference?))).collect();
    if !by_reference.is_empty() {
        let statement = transaction.prepare_cached(BY_REFERENCE).await?;
        let (is, runs): (Vec<i32>, Vec<Uuid>) = by_reference.iter().map(|(i, r)| (*i, r.chunk.run.0)).unzip();
        let chunks: Vec<i32> = by_reference.iter().map(|(_, r)| r.chunk.number as i32).collect();
        let positions: Vec<i32> = by_reference.iter().map(|(_, r)| i32::from(r.position)).collect();
        let rows = transaction.query(&statement, &[&is, &runs, &chunks, &positions, &tenant.0]).await?;
        rows.iter().for_each(|row| found.take(row));
    }
    let mut persons = Vec::new();
    for statement in [REPORTED_BY_NAME, OPEN_BY_NAME] {
        let by_name: Vec<(i32, Uuid, &str)> = items
            .iter()
            .enumerate()
            .filter(|(i, item)| item.reference.is_none() && !found.found.contains_key(i))
            .filter_map(|(i, item)| Some((i as i32, item.notification_id?.0, item.device.as_deref()?)))
            .collect();
        if by_name.is_empty() {
            break;
        }
        let statement = transaction.prepare_cached(statement).await?;
        let is: Vec<i32> = by_name.iter().map(|n| n.0).collect();
        let ids: Vec<Uuid> = by_name.iter().map(|n| n.1).collect();
        let devices: Vec<&str> = by_name.iter().map(|n| n.2).collect();
        for row in &transaction.query(&statement, &[&is, &ids, &devices, &tenant.0]).await? {
            found.take(row);
            persons.push((row.get::<_, i32>(0), row.get::<_, Uuid>(1), row.get::<_, String>(10)));
        }
    }
    number_persons(transaction, &persons, &mut found.found).await?;
    Ok(found.found.into_values().collect())
}

/// What receipts are about, the first place of each that fits what the receipt says.
struct Matches<'a> {
    items: &'a [ReceiptItem],
    found: BTreeMap<usize, Found>,
}

impl Matches<'_> {
    fn take(&mut self, row: &Row) {
        let i = row.get::<_, i32>(0) as usize;
        let item = &self.items[i];
        let device_key: i64 = row.get(4);
        let fits = item.device.as_deref().is_none_or(|d| d == row.get::<_, &str>(6))
            && item.app_scope.is_none_or(|a| a.0 == row.get::<_, i32>(7))
            && item.notification_id.is_none_or(|n| n.0 == row.get::<_, Uuid>(8))
            && item.device_scope.is_none_or(|d| d.0 == device_key);
        if fits {
            self.found.entry(i).or_insert_with(|| Found {
                i,
                id: DeliveryId { run: RunId(row.get(1)), subject: device_key, link: row.get(2) },
                platform: row.get::<_, Option<i16>>(3).and_then(Platform::from_number),
                person_number: row.get(5),
                now: row.get(9),
            });
        }
    }
}

/// Finds the persons' cascades, where the runs have any.
async fn number_persons(
    transaction: &Transaction<'_>,
    persons: &[(i32, Uuid, String)],
    found: &mut BTreeMap<usize, Found>,
) -> Result<()> {
    if persons.is_empty() {
        return Ok(());
    }
    let statement = transaction.prepare_cached(PERSON_NUMBERS).await?;
    let is: Vec<i32> = persons.iter().map(|p| p.0).collect();
    let runs: Vec<Uuid> = persons.iter().map(|p| p.1).collect();
    let keys: Vec<&str> = persons.iter().map(|p| p.2.as_str()).collect();
    for row in &transaction.query(&statement, &[&is, &runs, &keys]).await? {
        if let Some(found) = found.get_mut(&(row.get::<_, i32>(0) as usize)) {
            found.person_number = Some(row.get(1));
        }
    }
    Ok(())
}

/// The button of the first click stays. The rows are locked by now, if only to find that they say nothing new.
async fn keep_actions(transaction: &Transaction<'_>, found: &[Found], items: &[ReceiptItem]) -> Result<()> {
    const SQL: &str = "
        UPDATE deliveries d SET action = k.action
        FROM (SELECT DISTINCT ON (run_id, subject, link) run_id, subject, link, action
              FROM unnest($1::uuid[], $2::int8[], $3::int2[], $4::text[]) WITH ORDINALITY
                   AS k(run_id, subject, link, action, i)
              ORDER BY run_id, subject, link, i) k
        WHERE d.run_id = k.run_id AND d.subject = k.subject AND d.link = k.link AND d.action IS NULL";
    let pressed: Vec<(&Found, &str)> = found.iter().filter_map(|f| Some((f, items[f.i].action.as_deref()?))).collect();
    if pressed.is_empty() {
        return Ok(());
    }
    let statement = transaction.prepare_cached(SQL).await?;
    let runs: Vec<Uuid> = pressed.iter().map(|(f, _)| f.id.run.0).collect();
    let subjects: Vec<i64> = pressed.iter().map(|(f, _)| f.id.subject).collect();
    let links: Vec<i16> = pressed.iter().map(|(f, _)| f.id.link).collect();
    let actions: Vec<&str> = pressed.iter().map(|(_, action)| *action).collect();
    transaction.execute(&statement, &[&runs, &subjects, &links, &actions]).await?;
    Ok(())
}

/// Which of these events were known before.
async fn known_evidence(transaction: &Transaction<'_>, found: &[Found]) -> Result<HashSet<(DeliveryId, Event)>> {
    let statement = transaction
        .prepare_cached(
            "SELECT d.run_id, d.subject, d.link, d.bits
             FROM unnest($1::uuid[], $2::int8[], $3::int2[]) AS k(run_id, subject, link)
             JOIN deliveries d ON d.run_id = k.run_id AND d.subject = k.subject AND d.link = k.link",
        )
        .await?;
    let runs: Vec<Uuid> = found.iter().map(|f| f.id.run.0).collect();
    let subjects: Vec<i64> = found.iter().map(|f| f.id.subject).collect();
    let links: Vec<i16> = found.iter().map(|f| f.id.link).collect();
    let rows = transaction.query(&statement, &[&runs, &subjects, &links]).await?;
    let mut known = HashSet::new();
    for row in &rows {
        let id = DeliveryId { run: RunId(row.get(0)), subject: row.get(1), link: row.get(2) };
        let bits = carillon_domain::delivery_status::Evidence(row.get::<_, i16>(3) as u16);
        known.extend(Event::ALL.iter().filter(|e| bits.has(e.status())).map(|e| (id, *e)));
    }
    Ok(known)
}
