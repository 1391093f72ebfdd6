//! What a page's commit writes: chunk rows, cascade rows, who is not tried, the cursor.

use crate::Result;
use crate::begun::{Begun, Parameters, Ready};
use crate::statuses::{DeliveryId, News, write_news};
use carillon_domain::cascade::Unless;
use carillon_domain::delivery_status::{Reason, Status};
use carillon_domain::ids::{AppKey, DeviceKey, NotificationId, RunId, TenantKey};
use carillon_domain::person::Person;
use carillon_domain::platform::{Lane, Platform};
use carillon_failpoint::Point;
use deadpool_postgres::Object;
use futures::future::try_join_all;
use jiff::Timestamp;
use std::sync::LazyLock;

/// A chunk to insert.
pub struct NewChunk {
    /// Its platform.
    pub platform: Platform,
    /// Device keys in order.
    pub devices: Vec<DeviceKey>,
    /// Persons' numbers in the same order, with a cascade.
    pub person_numbers: Option<Vec<i32>>,
    /// Published right after the commit by the caller; else it waits for the scan.
    pub published: bool,
    /// The lease granted in advance, for a small published chunk.
    pub lease: Option<i64>,
}

/// A recipient that is not even tried.
pub struct Suppressed {
    /// The device, or the person's number where there is none.
    pub subject: i64,
    /// The device's platform.
    pub platform: Option<Platform>,
    /// The person, where there is no device.
    pub person: Option<Person>,
    /// Why.
    pub reason: Reason,
}

/// A cascade row to insert.
pub struct NewCascade {
    /// The person's number in the run.
    pub person_number: i32,
    /// The person.
    pub person: Person,
    /// Where to text.
    pub phone: Option<String>,
    /// In which language.
    pub locale: Option<String>,
    /// What keeps it quiet.
    pub unless: Unless,
    /// How long it waits, in seconds.
    pub within: u32,
    /// Devices in chunks.
    pub open_devices: i16,
    /// With no open device: whether it goes on at once (`true`) or never (`false`).
    pub fires: bool,
}

/// A page of a run: what its commit writes.
pub struct Page {
    /// The run's row as it was locked.
    pub notification_id: NotificationId,
    /// Whose.
    pub tenant_key: TenantKey,
    /// Which app's.
    pub app_key: AppKey,
    /// Its lane.
    pub lane: Lane,
    /// The run.
    pub run: RunId,
    /// When the run started.
    pub run_started_at: Timestamp,
    /// When its messages expire.
    pub expires_at: Timestamp,
    /// The number of the page's first chunk.
    pub first_chunk: i32,
    /// The chunks.
    pub chunks: Vec<NewChunk>,
    /// Recipients that are not tried.
    pub suppressed: Vec<Suppressed>,
    /// Cascade rows.
    pub cascades: Vec<NewCascade>,
    /// Persons in this page.
    pub persons: i32,
    /// The page's last person.
    pub cursor: Option<String>,
    /// No page follows.
    pub last: bool,
    /// The next one is not to be woken now: the row is looked at again in a moment.
    pub rests: bool,
}

/// Writes pages, and commits them.
pub(super) async fn commit(
    transaction: Begun,
    pages: &[Page],
    now: Timestamp,
    slot: i16,
    publisher: Option<i32>,
) -> Result<()> {
    let client = transaction.client()?;
    // What is advanced looks for cascades.
    let writing = [
        chunks(client, pages, publisher).await?,
        cascades(client, pages).await?,
        Some(Ready::new(client, &ADVANCE, advance(pages)).await?),
    ];
    let writing: Vec<Ready<'_>> = writing.into_iter().flatten().collect();
    let news: Vec<News> =
        pages.iter().flat_map(|page| page.suppressed.iter().map(|s| not_tried(page, s, now))).collect();
    if news.is_empty() {
        return transaction.commit_behind(Point::PagesCommit, writing).await;
    }
    try_join_all(writing.into_iter().map(|statement| statement.send(client))).await?;
    write_news(client, news, slot).await?;
    transaction.commit(Point::PagesCommit).await
}

fn not_tried(page: &Page, suppressed: &Suppressed, now: Timestamp) -> News {
    News {
        id: DeliveryId { run: page.run, subject: suppressed.subject, link: 0 },
        tenant: page.tenant_key,
        platform: suppressed.platform,
        status: Status::Suppressed,
        reason: Some(suppressed.reason),
        person: suppressed.person.as_ref().map(|p| p.key().to_owned()),
        provider_id: None,
        at: now,
    }
}

const INSERT_CHUNKS: &str = "
    INSERT INTO chunks (run_id, chunk, notification_id, tenant_key, app_key, platform, lane, device_keys, person_numbers, states,
        run_started_at, expires_at, due_at, copies, lease, lease_until, outstanding, publisher)
    SELECT run_id, chunk, notification_id, tenant_key, app_key, platform, lane, device_keys, person_numbers, states,
        run_started_at, expires_at,
        CASE WHEN published THEN now() + CASE lane WHEN 1 THEN interval '5 seconds' ELSE interval '60 seconds' END ELSE now() END,
        CASE WHEN published THEN 1 ELSE 0 END, coalesce(lease, 0),
        CASE WHEN lease IS NOT NULL THEN now() + interval '3 seconds' END, published,
        CASE WHEN published THEN $15::int4 END
    FROM unnest($1::uuid[], $2::int4[], $3::uuid[], $4::int4[], $5::int4[], $6::int2[], $7::int2[], $8::bytea[], $9::bytea[],
                $10::bytea[], $11::timestamptz[], $12::timestamptz[], $13::bool[], $14::int8[])
         AS c(run_id, chunk, notification_id, tenant_key, app_key, platform, lane, device_keys, person_numbers, states,
              run_started_at, expires_at, published, lease)";

async fn chunks<'a>(client: &Object, pages: &'a [Page], publisher: Option<i32>) -> Result<Option<Ready<'a>>> {
    let all: Vec<(&Page, i32, &NewChunk)> = pages
        .iter()
        .flat_map(|p| p.chunks.iter().enumerate().map(move |(i, c)| (p, p.first_chunk + i as i32, c)))
        .collect();
    if all.is_empty() {
        return Ok(None);
    }
    let keys = |c: &NewChunk| c.devices.iter().flat_map(|d| d.0.to_be_bytes()).collect::<Vec<u8>>();
    let persons = |c: &NewChunk| {
        c.person_numbers.as_ref().map(|all| all.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<u8>>())
    };
    let parameters: Parameters<'_> = vec![
        Box::new(all.iter().map(|(p, ..)| p.run.0).collect::<Vec<_>>()),
        Box::new(all.iter().map(|(_, n, _)| *n).collect::<Vec<_>>()),
        Box::new(all.iter().map(|(p, ..)| p.notification_id.0).collect::<Vec<_>>()),
        Box::new(all.iter().map(|(p, ..)| p.tenant_key.0).collect::<Vec<_>>()),
        Box::new(all.iter().map(|(p, ..)| p.app_key.0).collect::<Vec<_>>()),
        Box::new(all.iter().map(|(.., c)| c.platform.number()).collect::<Vec<_>>()),
        Box::new(all.iter().map(|(p, ..)| p.lane.number()).collect::<Vec<_>>()),
        Box::new(all.iter().map(|(.., c)| keys(c)).collect::<Vec<_>>()),
        Box::new(all.iter().map(|(.., c)| persons(c)).collect::<Vec<_>>()),
        Box::new(all.iter().map(|(.., c)| vec![0u8; c.devices.len()]).collect::<Vec<_>>()),
        Box::new(all.iter().map(|(p, ..)| p.run_started_at).collect::<Vec<_>>()),
        Box::new(all.iter().map(|(p, ..)| p.expires_at).collect::<Vec<_>>()),
        Box::new(all.iter().map(|(.., c)| c.published).collect::<Vec<_>>()),
        Box::new(all.iter().map(|(.., c)| c.lease).collect::<Vec<_>>()),
        Box::new(publisher),
    ];
    Ready::new(client, INSERT_CHUNKS, parameters).await.map(Some)
}

const INSERT_CASCADES: &str = "
    INSERT INTO cascades (run_id, link, person_number, notification_id, tenant_key, app_key, person, phone, locale, unless,
        within_seconds, open_devices, any_fires, state, released_at, due_at)
    SELECT run_id, 1, person_number, notification_id, tenant_key, app_key, person, phone, locale, unless, within_seconds, open_devices,
        fires, CASE WHEN open_devices = 0 AND NOT fires THEN 4 ELSE 1 END, now(),
        CASE WHEN open_devices > 0 THEN now() + within_seconds * interval '1 second' WHEN fires THEN now() END
    FROM unnest($1::uuid[], $2::int4[], $3::uuid[], $4::int4[], $5::int4[], $6::text[], $7::text[], $8::text[], $9::int2[],
                $10::int4[], $11::int2[], $12::bool[])
         AS c(run_id, person_number, notification_id, tenant_key, app_key, person, phone, locale, unless, within_seconds,
              open_devices, fires)";

async fn cascades<'a>(client: &Object, pages: &'a [Page]) -> Result<Option<Ready<'a>>> {
    let all: Vec<(&Page, &NewCascade)> = pages.iter().flat_map(|p| p.cascades.iter().map(move |c| (p, c))).collect();
    if all.is_empty() {
        return Ok(None);
    }
    let parameters: Parameters<'_> = vec![
        Box::new(all.iter().map(|(p, _)| p.run.0).collect::<Vec<_>>()),
        Box::new(all.iter().map(|(_, c)| c.person_number).collect::<Vec<_>>()),
        Box::new(all.iter().map(|(p, _)| p.notification_id.0).collect::<Vec<_>>()),
        Box::new(all.iter().map(|(p, _)| p.tenant_key.0).collect::<Vec<_>>()),
        Box::new(all.iter().map(|(p, _)| p.app_key.0).collect::<Vec<_>>()),
        Box::new(all.iter().map(|(_, c)| c.person.key()).collect::<Vec<_>>()),
        Box::new(all.iter().map(|(_, c)| c.phone.as_deref()).collect::<Vec<_>>()),
        Box::new(all.iter().map(|(_, c)| c.locale.as_deref()).collect::<Vec<_>>()),
        Box::new(all.iter().map(|(_, c)| c.unless.number()).collect::<Vec<_>>()),
        Box::new(all.iter().map(|(_, c)| c.within as i32).collect::<Vec<_>>()),
        Box::new(all.iter().map(|(_, c)| c.open_devices).collect::<Vec<_>>()),
        Box::new(all.iter().map(|(_, c)| c.fires).collect::<Vec<_>>()),
    ];
    Ready::new(client, INSERT_CASCADES, parameters).await.map(Some)
}

/// Where nothing was queued by any page of the run, and no cascade waits, it is finished as its last page is committed.
static ADVANCE: LazyLock<String> = LazyLock::new(|| {
    let idle = "n.next_chunk + p.chunks = 0
            AND NOT EXISTS (SELECT 1 FROM cascades c WHERE c.run_id = p.run_id AND c.state IN (1, 2))";
    format!(
        "
    UPDATE notifications n SET
        state = CASE WHEN p.last AND {idle} THEN 5 ELSE 2 END,
        finished_at = CASE WHEN p.last AND {idle} THEN now() END,
        reason = CASE WHEN p.last AND n.recipients + p.persons = 0 THEN 'no_recipients' ELSE n.reason END,
        run_id = p.run_id, run_started_at = p.run_started_at, expires_at = p.expires_at, epoch = n.epoch + 1,
        cursor_person = coalesce(p.cursor, n.cursor_person),
        next_chunk = n.next_chunk + p.chunks, next_person = n.next_person + p.persons,
        recipients = n.recipients + p.persons, pushes = n.pushes + p.pushes,
        expanded = p.last, copies = 0,
        due_at = CASE WHEN p.last THEN NULL WHEN p.rests THEN now() + interval '250 milliseconds'
                      ELSE now() + CASE n.lane WHEN 1 THEN interval '5 seconds' ELSE interval '20 seconds' END END
    FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::int4[], $7::int4[], $8::int8[],
                $9::bool[], $10::bool[])
         AS p(notification_id, run_id, run_started_at, expires_at, cursor, chunks, persons, pushes, last, rests)
    WHERE n.notification_id = p.notification_id"
    )
});

fn advance(pages: &[Page]) -> Parameters<'_> {
    let pushes = |p: &Page| p.chunks.iter().map(|c| c.devices.len() as i64).sum::<i64>() + p.suppressed.len() as i64;
    vec![
        Box::new(pages.iter().map(|p| p.notification_id.0).collect::<Vec<_>>()),
        Box::new(pages.iter().map(|p| p.run.0).collect::<Vec<_>>()),
        Box::new(pages.iter().map(|p| p.run_started_at).collect::<Vec<_>>()),
        Box::new(pages.iter().map(|p| p.expires_at).collect::<Vec<_>>()),
        Box::new(pages.iter().map(|p| p.cursor.as_deref()).collect::<Vec<_>>()),
        Box::new(pages.iter().map(|p| p.chunks.len() as i32).collect::<Vec<_>>()),
        Box::new(pages.iter().map(|p| p.persons).collect::<Vec<_>>()),
        Box::new(pages.iter().map(pushes).collect::<Vec<_>>()),
        Box::new(pages.iter().map(|p| p.last).collect::<Vec<_>>()),
        Box::new(pages.iter().map(|p| p.rests).collect::<Vec<_>>()),
    ]
}
