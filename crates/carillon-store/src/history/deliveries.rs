//! Deliveries: what is in the table, and what is still open in chunks or claimed cascades.

use crate::{Cursor, DeliveryId, Error, Listed, PageRequest, Result, Store};
use carillon_domain::delivery_status::{Evidence, Reason, Status};
use carillon_domain::ids::{NotificationId, RunId, TenantKey};
use carillon_domain::person::Person;
use carillon_domain::phone::Phone;
use carillon_domain::platform::{Os, Platform};
use jiff::Timestamp;
use std::fmt;
use std::str::FromStr;
use tokio_postgres::Row;

/// What a listing of deliveries is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// The greatest evidence.
    pub status: Option<Status>,
    /// Push (`true`) or text messages (`false`).
    pub push: Option<bool>,
    /// The tenant's user.
    pub user_id: Option<String>,
}

/// One delivery. `Debug` shows no phone.
#[derive(Clone, Debug)]
pub struct DeliveryRow {
    /// Which.
    pub id: DeliveryId,
    /// The device's public id; none for a text message, or for a person without a device.
    pub device: Option<String>,
    /// The tenant's user.
    pub user_id: Option<String>,
    /// The person's phone.
    pub phone: Option<Phone>,
    /// Whose token.
    pub platform: Option<Platform>,
    /// The device's operating system.
    pub os: Option<Os>,
    /// What carried a text message.
    pub gateway: Option<String>,
    /// All that is known.
    pub evidence: Evidence,
    /// Why it ended as it did.
    pub reason: Option<Reason>,
    /// The provider's own id of the message.
    pub provider_id: Option<String>,
    /// What is known since when, in the order of time.
    pub steps: Vec<(Status, Timestamp)>,
}

/// Where a page of deliveries ends. Stable while deliveries come and change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryPlace {
    /// See [`DeliveryId`].
    pub subject: i64,
    /// See [`DeliveryId`].
    pub link: i16,
}

impl fmt::Display for DeliveryPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.subject, self.link)
    }
}

impl FromStr for DeliveryPlace {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let (subject, link) = text.split_once('.').ok_or(())?;
        Ok(Self { subject: subject.parse().map_err(|_| ())?, link: link.parse().map_err(|_| ())? })
    }
}

/// An open position of a chunk has no row of its own, unless a receipt was faster than the report; neither has a text message
/// that a worker is just sending.
const DELIVERIES: &str = "
    WITH run AS (
        SELECT n.run_id, n.app_key FROM notifications n JOIN apps a ON a.app_key = n.app_key
        WHERE n.tenant_key = $1 AND n.notification_id = $2 AND ($3::text[] IS NULL OR a.app = ANY($3))
    ), known AS (
        SELECT x.run_id, x.subject, x.link, x.platform, x.bits, x.reason, x.person, x.provider_id, x.closed_at, x.sent_at,
            x.undelivered_at, x.delivered_at, x.displayed_at, x.dismissed_at, x.opened_at, x.clicked_at
        FROM run JOIN deliveries x ON x.run_id = run.run_id
    ), open AS (
        SELECT c.run_id, ('x' || encode(substring(c.device_keys FROM i * 8 + 1 FOR 8), 'hex'))::bit(64)::int8 AS subject, c.link,
            c.platform
        FROM run JOIN chunks c ON c.run_id = run.run_id, generate_series(0, length(c.states) - 1) i
        WHERE c.due_at IS NOT NULL AND get_byte(c.states, i) < 128 AND $5 IN (-1, 0)
        UNION ALL
        SELECT c.run_id, -1 - c.person_number::int8, c.link, NULL FROM run JOIN cascades c ON c.run_id = run.run_id
        WHERE c.state = 2 AND $5 IN (-1, 0)
    ), both_kinds AS (
        SELECT * FROM known WHERE ($5 = -1 OR $5 > 0 AND bits >= 1 << $5 AND bits < 1 << ($5 + 1))
        UNION ALL
        SELECT o.run_id, o.subject, o.link, o.platform, 0::smallint, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
        FROM open o WHERE NOT EXISTS (SELECT 1 FROM known k WHERE k.subject = o.subject AND k.link = o.link)
    )
    SELECT b.run_id, b.subject, b.link, b.platform, b.bits, b.reason, b.provider_id, d.device, d.os,
        coalesce(d.person, s.person, b.person), coalesce(d.user_id, ''), coalesce(d.phone, s.phone), s.gateway,
        b.closed_at, b.sent_at, b.undelivered_at, b.delivered_at, b.displayed_at, b.dismissed_at, b.opened_at, b.clicked_at
    FROM both_kinds b
    LEFT JOIN devices d ON d.device_key = b.subject
    LEFT JOIN cascades s ON b.subject < 0 AND s.run_id = b.run_id AND s.link = greatest(b.link, 1)
        AND s.person_number = -1 - b.subject
    WHERE ($4::bool IS NULL OR (b.link = 0) = $4)
      AND ($6::text IS NULL OR coalesce(d.person, s.person, b.person) = $6)
      AND (b.subject, b.link) > ($7, $8)
    ORDER BY b.subject, b.link LIMIT $9";

/// The columns of times, from the 13th on, with what they are times of. The first is of whichever status closed it.
const STEPS: [Status; 7] = [
    Status::Sent,
    Status::Undelivered,
    Status::Delivered,
    Status::Displayed,
    Status::Dismissed,
    Status::Opened,
    Status::Clicked,
];

impl Store {
    /// A page of a notification's deliveries, of `only` these apps if given. Empty for a notification that does not exist.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn list_deliveries(
        &self,
        tenant: TenantKey,
        id: NotificationId,
        only: Option<&[String]>,
        filter: &DeliveryFilter,
        page: &PageRequest<DeliveryPlace>,
    ) -> Result<Listed<DeliveryRow, DeliveryPlace>> {
        let (_, after, limit) = page.parts();
        let after = after.copied().unwrap_or(DeliveryPlace { subject: i64::MIN, link: i16::MIN });
        let status = filter.status.map_or(-1, |status| i32::from(status.number()));
        let person = filter.user_id.as_deref().map(|user| Person::user(user).key().to_owned());
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 9] =
            [&tenant.0, &id.0, &only, &filter.push, &status, &person, &after.subject, &after.link, &limit];
        let rows = self.rows(DELIVERIES, &parameters).await?;
        page.cut(&rows, read, |row| Cursor {
            at: Timestamp::UNIX_EPOCH,
            id: DeliveryPlace { subject: row.id.subject, link: row.id.link },
        })
    }
}

fn read(row: &Row) -> Result<DeliveryRow> {
    let corrupt = || Error::corrupt("a delivery");
    let evidence = Evidence(u16::try_from(row.get::<_, i16>(4)).map_err(|_| corrupt())?);
    let person = row.get::<_, Option<String>>(9).map(Person::from_key);
    let named = |text: String| (!text.is_empty()).then_some(text);
    let phone = row.get::<_, Option<String>>(11).or_else(|| person.as_ref()?.phone_number().map(str::to_owned));
    Ok(DeliveryRow {
        id: DeliveryId { run: RunId(row.get(0)), subject: row.get(1), link: row.get(2) },
        device: row.get(7),
        user_id: named(row.get(10)).or_else(|| person.as_ref()?.user_id().map(str::to_owned)),
        phone: phone.map(Phone::from_e164),
        platform: row.get::<_, Option<i16>>(3).and_then(Platform::from_number),
        os: row.get::<_, Option<i16>>(8).and_then(Os::from_number),
        gateway: row.get(12),
        evidence,
        reason: row.get::<_, Option<i16>>(5).and_then(Reason::from_number),
        provider_id: row.get(6),
        steps: steps(row, evidence),
    })
}

fn steps(row: &Row, evidence: Evidence) -> Vec<(Status, Timestamp)> {
    let closed = Status::ALL[..Status::Sent as usize].iter().rev().find(|status| evidence.has(**status));
    let columns = closed.into_iter().chain(&STEPS).zip(if closed.is_some() { 13.. } else { 14.. });
    let mut steps: Vec<(Status, Timestamp)> = columns
        .filter(|(status, _)| evidence.has(**status))
        .filter_map(|(status, column)| Some((*status, row.get::<_, Option<Timestamp>>(column)?)))
        .collect();
    steps.sort_by_key(|(status, at)| (*at, *status));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_back() {
        for place in [DeliveryPlace { subject: -7, link: 1 }, DeliveryPlace { subject: i64::MAX, link: 0 }] {
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        assert!(["", "1", "a.b", "1.99999"].iter().all(|text| text.parse::<DeliveryPlace>().is_err()));
    }
}
