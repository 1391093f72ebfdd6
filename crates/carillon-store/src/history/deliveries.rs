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
    /// The device's public id, of one that was named and is not there too; none for a text message, or for a person without a device.
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
    /// The button of the first click, where it was one.
    pub action: Option<String>,
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

/// The statement, in one of two forms: with a user the rows are found by the user's devices, without one by walking on from the
/// cursor; either way a page of a large run costs a page.
///
/// An open position of a chunk has no row of its own, unless a receipt was faster than the report; neither has a text message
/// that a worker is just sending. Both have their place among the rows, so that a page cannot miss what closes meanwhile.
fn sql(of_user: bool) -> String {
    let mine = if of_user { "AND (x.subject < 0 OR x.subject = ANY(ARRAY(SELECT device_key FROM own)))" } else { "" };
    // Only with a user is it known after the joins which rows are meant.
    let early_limit = if of_user { "" } else { "LIMIT $9" };
    let named = |subject: &str, link: &str| {
        format!(
            "LEFT JOIN devices d ON d.device_key = {subject}
             LEFT JOIN cascades s ON {subject} < 0 AND s.run_id = x.run_id AND s.link = greatest({link}, 1::int2)
                 AND s.person_number = -1 - {subject}"
        )
    };
    format!(
        "WITH run AS MATERIALIZED (
            SELECT n.run_id, n.app_key FROM notifications n JOIN apps a ON a.app_key = n.app_key
            WHERE n.tenant_key = $1 AND n.notification_id = $2 AND ($3::text[] IS NULL OR a.app = ANY($3))
        ), own AS MATERIALIZED (
            SELECT d.device_key FROM run JOIN devices d ON d.app_key = run.app_key WHERE d.person = $6 AND d.state <> 5
        ), ready AS MATERIALIZED (
            SELECT DISTINCT c.platform FROM run JOIN credentials c ON c.app_key = run.app_key WHERE c.deleted_at IS NULL
        ), open AS (
            SELECT c.run_id, ('x' || encode(substring(c.device_keys FROM i * 8 + 1 FOR 8), 'hex'))::bit(64)::int8 AS subject,
                c.link, c.platform
            FROM ({OPEN_CHUNKS}) c, generate_series(0, length(c.states) - 1) i
            WHERE get_byte(c.states, i) < 128
            UNION ALL
            SELECT c.run_id, -1 - c.person_number::int8, c.link, NULL FROM cascades c
            WHERE c.run_id = (SELECT run_id FROM run) AND c.state = 2 AND $5 IN (-1, 0)
        )
        SELECT * FROM (
            (SELECT x.run_id, x.subject, x.link, x.platform, x.bits, x.reason, x.provider_id, {NAMES},
                x.closed_at, x.sent_at, x.undelivered_at, x.delivered_at, x.displayed_at, x.dismissed_at, x.opened_at, x.clicked_at,
                x.action
             FROM deliveries x {joins}
             WHERE x.run_id = (SELECT run_id FROM run) AND (x.subject, x.link) > ($7, $8)
               AND ($5 = -1 OR $5 > 0 AND x.bits >= 1 << $5 AND x.bits < 1 << ($5 + 1))
               AND ($4::bool IS NULL OR (x.link = 0) = $4) {mine}
               AND ($6::text IS NULL OR coalesce(d.person, s.person, x.person) = $6)
             ORDER BY x.subject, x.link LIMIT $9)
            UNION ALL
            (SELECT x.run_id, x.subject, x.link, x.platform, 0::int2, {held}, NULL, {open_names},
                NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
             FROM (SELECT * FROM open x
                   WHERE (x.subject, x.link) > ($7, $8) AND ($4::bool IS NULL OR (x.link = 0) = $4) {mine}
                     AND NOT EXISTS (SELECT 1 FROM deliveries k
                                     WHERE k.run_id = x.run_id AND k.subject = x.subject AND k.link = x.link)
                   ORDER BY x.subject, x.link {early_limit}) x {joins}
             WHERE $6::text IS NULL OR coalesce(d.person, s.person) = $6
             ORDER BY x.subject, x.link LIMIT $9)
        ) page ORDER BY subject, link LIMIT $9",
        joins = named("x.subject", "x.link"),
        open_names = NAMES.replace(", x.person", ""),
        held = held(),
    )
}

/// Why an open position waits, where the database knows: the app has no credential of its platform (domain Reason).
fn held() -> String {
    let reason = Reason::Credential.number();
    format!("CASE WHEN x.platform <> ALL(ARRAY(SELECT platform FROM ready)) THEN {reason}::int2 END")
}

/// Chunks with an open position. Their keys lie outside the row: they are fetched once a chunk, not once a position.
const OPEN_CHUNKS: &str =
    "SELECT c.run_id, c.link, c.platform, c.states, c.device_keys || ''::bytea AS device_keys FROM chunks c
    WHERE c.run_id = (SELECT run_id FROM run) AND c.due_at IS NOT NULL AND $5 IN (-1, 0) OFFSET 0";

/// Who it is about, as [`read`] reads it.
const NAMES: &str = "d.device, d.os, coalesce(d.person, s.person, x.person), coalesce(d.user_id, ''), coalesce(d.phone, s.phone), s.gateway";

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
        let rows = self.rows(&sql(person.is_some()), &parameters).await?;
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
    let (subject, link): (i64, i16) = (row.get(1), row.get(2));
    // A device that was named and is not there has its id in the person's place.
    let named_only = || person.as_ref().filter(|_| subject < 0 && link == 0)?.device_id().map(str::to_owned);
    let phone = row.get::<_, Option<String>>(11).or_else(|| person.as_ref()?.phone_number().map(str::to_owned));
    Ok(DeliveryRow {
        id: DeliveryId { run: RunId(row.get(0)), subject, link },
        device: row.get::<_, Option<String>>(7).or_else(named_only),
        user_id: named(row.get(10)).or_else(|| person.as_ref()?.user_id().map(str::to_owned)),
        phone: phone.map(Phone::from_e164),
        platform: row.get::<_, Option<i16>>(3).and_then(Platform::from_number),
        os: row.get::<_, Option<i16>>(8).and_then(Os::from_number),
        // The row of a person without a device stands beside their text message and is none itself.
        gateway: row.get::<_, Option<String>>(12).filter(|_| link > 0),
        evidence,
        reason: row.get::<_, Option<i16>>(5).and_then(Reason::from_number),
        provider_id: row.get(6),
        steps: steps(row, evidence),
        action: row.get(21),
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
