//! Cascades whose time has come: taken under a lease, with all that a text message needs.

use crate::commit::commit;
use crate::statuses::{DeliveryId, News, write_news};
use crate::{Result, Store};
use carillon_domain::delivery_status::{Reason, Status};
use carillon_domain::ids::{AppKey, NotificationId, RunId, TenantKey};
use carillon_domain::phone::Phone;
use carillon_failpoint::Point;
use deadpool_postgres::Transaction;
use jiff::Timestamp;
use std::collections::HashMap;
use std::time::Duration;
use tokio_postgres::Row;
use uuid::Uuid;

/// Which cascade row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CascadeId {
    /// The run.
    pub run: RunId,
    /// The cascade's link, from 1.
    pub link: i16,
    /// The person's number in the run.
    pub person_number: i32,
}

impl CascadeId {
    /// The delivery of its text message.
    pub fn delivery(self) -> DeliveryId {
        super::sms_delivery(self.run, self.link, self.person_number)
    }
}

/// A cascade that this caller sends.
#[derive(Clone, Debug)]
pub struct DueCascade {
    /// The row.
    pub id: CascadeId,
    /// Which claim this is, from 1; a result of an older claim changes nothing.
    pub attempt: i16,
    /// The notification; what it says is in [`DueCascades::notifications`].
    pub notification_id: NotificationId,
    /// Whose.
    pub tenant_key: TenantKey,
    /// Which app's.
    pub app_key: AppKey,
    /// Where to text.
    pub phone: Phone,
    /// In which language.
    pub locale: Option<String>,
    /// Devices of which a push is still queued; see [`Store::close_cascaded`].
    pub open_devices: i16,
    /// The gateway that was given the message by an earlier claim and may have taken it. Only there may it be repeated, and
    /// only if the gateway refuses a reference that it knows.
    pub tried: Option<String>,
    /// The notification was cancelled while the fate of an earlier try is open: nothing may be repeated.
    pub cancelled: bool,
    /// How long ago the earlier claim's lease ended; nothing for a first claim.
    pub abandoned: Option<Duration>,
    /// How long it was due.
    pub late: Duration,
    /// When the wait was over at the latest; the message's time to live counts from here.
    pub deadline: Timestamp,
}

/// What a notification says, and to whom.
pub struct Said {
    /// What was accepted (`carillon_wire::decode_body`).
    pub body: Vec<u8>,
    /// The app's default locale, else the tenant's.
    pub default_locale: Option<String>,
}

/// What [`Store::due_cascades`] took.
pub struct DueCascades {
    /// What this caller sends now.
    pub cascades: Vec<DueCascade>,
    /// Their notifications.
    pub notifications: HashMap<NotificationId, Said>,
    /// The database's clock.
    pub now: Timestamp,
    /// Rows looked at; a full batch means that more may wait.
    pub taken: usize,
    /// Rows that ended because the notification was cancelled.
    pub cancelled: usize,
    /// Rows that ended because there is nobody to text.
    pub without_phone: usize,
    /// Runs of which a row ended: they may be finished now.
    pub ended_runs: Vec<RunId>,
}

/// Takes rows and decides about each: cancelled (4), nobody to text (6), or claimed (2). The phone is kept in the row, so that a
/// repetition goes to the same number. `due_at` becomes the end of the lease: after a crash the row is found again.
///
/// Of a paused notification a row is set aside (0), as chunks are (`pausing.rs`); where there were pauses that its wait does not count, it
/// waits on.
const TAKE: &str = "
    WITH due AS MATERIALIZED (
        SELECT c.run_id, c.link, c.person_number, c.notification_id, c.app_key, c.person, c.phone, c.gateway, c.due_at,
               c.lease_until, c.state, c.open_devices, c.any_sent, coalesce(c.first_sent_at, c.released_at) AS started_at,
               c.within_seconds * interval '1 second' AS within
        FROM cascades c
        WHERE c.due_at <= now() AND c.state IN (1, 2)
        ORDER BY c.due_at LIMIT $1
        FOR UPDATE SKIP LOCKED
    ), paused AS MATERIALIZED (
        SELECT n.notification_id FROM notifications n
        WHERE n.notification_id = ANY(ARRAY(SELECT notification_id FROM due)) AND n.state = 3
        FOR SHARE SKIP LOCKED
    ), judged AS MATERIALIZED (
        SELECT due.*, n.state = 4 AS cancelled, n.state = 3 AS waits, paused.notification_id IS NOT NULL AS aside,
            CASE WHEN n.pauses IS NULL THEN due.started_at + due.within
                 ELSE carillon_waited(due.started_at, due.within, n.pauses) END AS deadline,
            n.pauses IS NOT NULL AND due.state = 1 AND (due.open_devices > 0 OR due.any_sent) AS counts_down,
            coalesce(due.phone,
                     CASE WHEN starts_with(due.person, 'p:') THEN substring(due.person FROM 3) END,
                     (SELECT d.phone FROM devices d
                      WHERE d.app_key = due.app_key AND d.person = due.person AND d.phone IS NOT NULL AND d.state <> 5
                      ORDER BY d.state, d.last_seen_at DESC, d.device_key LIMIT 1)) AS to_phone
        FROM due JOIN notifications n ON n.notification_id = due.notification_id
        LEFT JOIN paused ON paused.notification_id = due.notification_id
    ), decided AS MATERIALIZED (
        SELECT judged.*, CASE WHEN waits THEN 0 WHEN cancelled AND gateway IS NULL THEN 4 WHEN counts_down AND deadline > now() THEN 0
                              WHEN to_phone IS NULL THEN 6 ELSE 2 END::smallint AS next
        FROM judged WHERE aside OR NOT waits
    )
    UPDATE cascades c SET
        state = CASE WHEN d.next = 0 THEN c.state ELSE d.next END,
        phone = CASE WHEN d.next = 0 THEN c.phone ELSE d.to_phone END,
        attempts = CASE WHEN d.next = 0 THEN c.attempts ELSE least(c.attempts, 32000) + 1 END,
        lease_until = CASE d.next WHEN 2 THEN now() + $2::float8 * interval '1 second' WHEN 0 THEN c.lease_until END,
        due_at = CASE WHEN d.next = 2 THEN now() + $2::float8 * interval '1 second' WHEN d.next = 0 AND NOT d.aside THEN d.deadline END
    FROM decided d
    WHERE c.run_id = d.run_id AND c.link = d.link AND c.person_number = d.person_number
    RETURNING c.run_id, c.link, c.person_number, c.notification_id, c.tenant_key, c.app_key, c.person, c.phone, c.locale,
        d.next, c.attempts, c.open_devices, d.gateway, d.cancelled,
        extract(epoch FROM now() - d.due_at)::float8, extract(epoch FROM now() - d.lease_until)::float8, d.deadline, now()";

/// Notes which gateway is given the message, before it is: whoever finds the row after a crash asks the same one. Only for
/// claims that still hold.
const ASSIGN: &str = "
    WITH held AS (
        SELECT c.run_id, c.link, c.person_number, a.gateway
        FROM unnest($1::uuid[], $2::int2[], $3::int4[], $4::int2[], $5::text[])
             AS a(run_id, link, person_number, attempts, gateway)
        JOIN cascades c ON c.run_id = a.run_id AND c.link = a.link AND c.person_number = a.person_number
        WHERE c.state = 2 AND c.attempts = a.attempts AND c.lease_until > now()
        ORDER BY c.run_id, c.link, c.person_number
        FOR UPDATE OF c
    )
    UPDATE cascades c SET gateway = held.gateway
    FROM held WHERE c.run_id = held.run_id AND c.link = held.link AND c.person_number = held.person_number
    RETURNING c.run_id, c.link, c.person_number";

impl Store {
    /// Takes at most `limit` cascades that are due, the longest waiting first, each under a lease. Those of cancelled notifications and of
    /// persons without a phone end here. Two callers never take the same row; a receipt that comes meanwhile waits for the row
    /// and then reads that it is too late.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`]: nothing was taken, or rows were taken that nobody knows of and that are found again when their lease ends.
    pub async fn due_cascades(&self, limit: i64, lease: Duration, slot: i16) -> Result<DueCascades> {
        let mut connection = self.connection().await?;
        let transaction = connection.transaction().await?;
        let statement = transaction.prepare_cached(TAKE).await?;
        let rows = transaction.query(&statement, &[&limit, &lease.as_secs_f64()]).await?;
        let mut taken = DueCascades {
            cascades: Vec::with_capacity(rows.len()),
            notifications: HashMap::new(),
            now: rows.first().map_or(Timestamp::UNIX_EPOCH, |row| row.get(17)),
            taken: rows.len(),
            cancelled: 0,
            without_phone: 0,
            ended_runs: Vec::new(),
        };
        let mut news = Vec::new();
        for row in &rows {
            match row.get::<_, i16>(9) {
                0 => continue,
                4 => taken.cancelled += 1,
                6 => {
                    taken.without_phone += 1;
                    news.push(no_phone(row));
                }
                _ => {
                    taken.cascades.push(due_cascade(row));
                    continue;
                }
            }
            taken.ended_runs.push(cascade_id(row).run);
        }
        taken.ended_runs.sort_unstable();
        taken.ended_runs.dedup();
        taken.notifications = said(&transaction, &taken.cascades).await?;
        write_news(&transaction, news, slot).await?;
        commit(transaction, Point::CascadesDueCommit).await?;
        Ok(taken)
    }

    /// Notes, before a gateway is given a message, which one it is. Returns the rows whose claim still holds; the others are
    /// somebody else's by now and must not be sent.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`]: nothing may be sent; the rows are found again when their lease ends.
    pub async fn assign_gateways(&self, rows: &[(CascadeId, i16, &str)]) -> Result<Vec<CascadeId>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let held = self
            .write(
                Point::CascadesAssignCommit,
                ASSIGN,
                &[
                    &rows.iter().map(|r| r.0.run.0).collect::<Vec<_>>(),
                    &rows.iter().map(|r| r.0.link).collect::<Vec<_>>(),
                    &rows.iter().map(|r| r.0.person_number).collect::<Vec<_>>(),
                    &rows.iter().map(|r| r.1).collect::<Vec<_>>(),
                    &rows.iter().map(|r| r.2).collect::<Vec<_>>(),
                ],
            )
            .await?;
        Ok(held.iter().map(cascade_id).collect())
    }
}

/// The first three columns of a row.
pub(super) fn cascade_id(row: &Row) -> CascadeId {
    CascadeId { run: RunId(row.get(0)), link: row.get(1), person_number: row.get(2) }
}

fn due_cascade(row: &Row) -> DueCascade {
    let seconds = |s: f64| Duration::try_from_secs_f64(s).unwrap_or_default();
    DueCascade {
        id: cascade_id(row),
        attempt: row.get(10),
        notification_id: NotificationId(row.get(3)),
        tenant_key: TenantKey(row.get(4)),
        app_key: AppKey(row.get(5)),
        phone: Phone::from_e164(row.get::<_, Option<String>>(7).unwrap_or_default()),
        locale: row.get(8),
        open_devices: row.get(11),
        tried: row.get(12),
        cancelled: row.get(13),
        late: seconds(row.get(14)),
        abandoned: row.get::<_, Option<f64>>(15).map(seconds),
        deadline: row.get(16),
    }
}

fn no_phone(row: &Row) -> News {
    News {
        id: cascade_id(row).delivery(),
        tenant: TenantKey(row.get(4)),
        platform: None,
        status: Status::Suppressed,
        reason: Some(Reason::NoPhone),
        person: row.get(6),
        provider_id: None,
        at: row.get(17),
    }
}

const SAID: &str = "
    SELECT n.notification_id, n.body, coalesce(a.default_locale, t.default_locale)
    FROM notifications n LEFT JOIN apps a ON a.app_key = n.app_key LEFT JOIN tenants t ON t.tenant_key = n.tenant_key
    WHERE n.notification_id = ANY($1)";

async fn said(transaction: &Transaction<'_>, cascades: &[DueCascade]) -> Result<HashMap<NotificationId, Said>> {
    let mut ids: Vec<Uuid> = cascades.iter().map(|c| c.notification_id.0).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let statement = transaction.prepare_cached(SAID).await?;
    let rows = transaction.query(&statement, &[&ids]).await?;
    let read = |row: &Row| (NotificationId(row.get(0)), Said { body: row.get(1), default_locale: row.get(2) });
    Ok(rows.iter().map(read).collect())
}
