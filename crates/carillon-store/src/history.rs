//! What became of notifications. One call reads one snapshot, because it is one statement.

mod counts;
mod deliveries;

pub use counts::{ChannelCounts, RecipientCounts};
pub use deliveries::{DeliveryFilter, DeliveryPlace, DeliveryRow};

use crate::steer::through;
use crate::{Cursor, Error, Listed, PageRequest, Result, Store};
use carillon_domain::ids::{NotificationId, TenantKey};
use carillon_domain::notification::State;
use carillon_domain::person::Person;
use carillon_domain::platform::Platform;
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

/// A notification as it stands, with its counts.
#[derive(Clone)]
pub struct NotificationRow {
    /// Its id.
    pub notification_id: NotificationId,
    /// The app's id.
    pub app: String,
    /// The caller's name for it.
    pub reference: Option<String>,
    /// What was accepted (`carillon_wire::decode_body`).
    pub body: Vec<u8>,
    /// Where it stands: finished as soon as nothing is queued and no cascade waits.
    pub state: State,
    /// `no_recipients`, when it finished for that.
    pub reason: Option<String>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it was to be sent, if not at once.
    pub scheduled_at: Option<Timestamp>,
    /// When its row was closed.
    pub finished_at: Option<Timestamp>,
    /// Persons.
    pub recipients: RecipientCounts,
    /// Pushes.
    pub push: ChannelCounts,
    /// Text messages.
    pub sms: ChannelCounts,
    /// Platforms of which messages wait because the app has no credential for them.
    pub held: Vec<Platform>,
}

/// What a listing of notifications is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct NotificationFilter {
    /// Only of these apps.
    pub apps: Option<Vec<String>>,
    /// Where it stands, as shown.
    pub state: Option<State>,
    /// The caller's name for it.
    pub reference: Option<String>,
    /// One of its recipients.
    pub user_id: Option<String>,
    /// Accepted at this time or later.
    pub from: Option<Timestamp>,
    /// Accepted before this time.
    pub to: Option<Timestamp>,
}

/// An earlier answer to an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotentAnswer {
    /// SHA-256 of what the key meant.
    pub fingerprint: [u8; 32],
    /// What was accepted.
    pub notification_id: NotificationId,
    /// The state it was accepted in.
    pub state: State,
}

/// The state as shown: the row is closed some time after the last delivery, and callers need not wait for that.
fn shown() -> String {
    format!("CASE WHEN n.state IN (2, 3) AND {} THEN 5::smallint ELSE n.state END", through("p.closed"))
}

/// Rows and their counts, `n` and its laterals; the caller's conditions follow. The aggregates over cascades stand in the
/// select list, so that only the rows that are returned pay for them.
fn select(conditions: &str) -> String {
    let push = counts::CHANNEL.replace("$run", "n.run_id").replace("$channel", "1");
    let sms = counts::CHANNEL_ONLY.replace("$run", "s.run_id").replace("$channel", "2");
    let cascades = counts::CASCADES.replace("$run", "s.run_id");
    let platforms: Vec<String> = Platform::ALL.iter().map(|platform| platform.number().to_string()).collect();
    let (platforms, shown) = (platforms.join(", "), shown());
    format!(
        "SELECT s.notification_id, s.app, s.reference, s.body, s.shown, s.reason, s.created_at, s.scheduled_at, s.finished_at,
            s.expanded, s.recipients, s.pushes, s.push, ({sms}), k.*,
            CASE WHEN s.shown = 2 AND s.run_id IS NOT NULL THEN ARRAY(
                SELECT p.platform FROM unnest(ARRAY[{platforms}]::int2[]) AS p(platform)
                WHERE NOT EXISTS (SELECT 1 FROM credentials c
                                  WHERE c.app_key = s.app_key AND c.platform = p.platform AND c.deleted_at IS NULL)
                  AND EXISTS (SELECT 1 FROM chunks c
                              WHERE c.run_id = s.run_id AND c.platform = p.platform AND c.due_at IS NOT NULL)) END
         FROM (SELECT n.*, a.app, {shown} AS shown, p.counts AS push
               FROM notifications n JOIN apps a ON a.app_key = n.app_key
               LEFT JOIN LATERAL ({push}) p ON true
               WHERE n.tenant_key = $1 {conditions}) s
         LEFT JOIN LATERAL ({cascades}) k ON true
         ORDER BY s.notification_id DESC"
    )
}

impl Store {
    /// One notification of a tenant, of `only` these apps if given.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn get_notification(
        &self,
        tenant: TenantKey,
        id: NotificationId,
        only: Option<&[String]>,
    ) -> Result<Option<NotificationRow>> {
        let sql = select("AND n.notification_id = $2 AND ($3::text[] IS NULL OR a.app = ANY($3))");
        let found = self.maybe_row(&sql, &[&tenant.0, &id.0, &only]).await?;
        found.as_ref().map(read).transpose()
    }

    /// A page of a tenant's notifications, the newest first.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away, or the filter by user has to look through too much.
    pub async fn list_notifications(
        &self,
        tenant: TenantKey,
        filter: &NotificationFilter,
        page: &PageRequest<Uuid>,
    ) -> Result<Listed<NotificationRow, Uuid>> {
        let (_, before, limit) = page.parts();
        let person = filter.user_id.as_deref().map(|user| Person::user(user).key().to_owned());
        // Ids are made a moment before their rows; within an hour the index finds the range.
        let shown = shown();
        let conditions = format!(
            "AND ($2::text[] IS NULL OR a.app = ANY($2)) AND ($3::smallint IS NULL OR {shown} = $3)
             AND ($4::text IS NULL OR n.reference = $4) AND ($5::text IS NULL OR {IS_RECIPIENT})
             AND ($6::timestamptz IS NULL OR n.created_at >= $6
                  AND n.notification_id >= carillon_first_run_id($6 - interval '1 hour'))
             AND ($7::timestamptz IS NULL OR n.created_at < $7
                  AND n.notification_id < carillon_first_run_id($7 + interval '1 hour'))
             AND ($8::uuid IS NULL OR n.notification_id < $8)
             ORDER BY n.notification_id DESC LIMIT $9"
        );
        let sql = select(&conditions);
        let rows = self
            .rows(
                &sql,
                &[
                    &tenant.0,
                    &filter.apps,
                    &filter.state.map(State::number),
                    &filter.reference,
                    &person,
                    &filter.from,
                    &filter.to,
                    &before,
                    &limit,
                ],
            )
            .await?;
        page.cut(&rows, read, |row| Cursor { at: row.created_at, id: row.notification_id.0 })
    }

    /// Whether a tenant has a notification, of `only` these apps if given.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn has_notification(
        &self,
        tenant: TenantKey,
        id: NotificationId,
        only: Option<&[String]>,
    ) -> Result<bool> {
        const SQL: &str = "SELECT 1 FROM notifications n JOIN apps a ON a.app_key = n.app_key
            WHERE n.tenant_key = $1 AND n.notification_id = $2 AND ($3::text[] IS NULL OR a.app = ANY($3))";
        Ok(self.maybe_row(SQL, &[&tenant.0, &id.0, &only]).await?.is_some())
    }

    /// What an idempotency key was answered with, if it was used.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn idempotent_answer(&self, tenant: TenantKey, key: &str) -> Result<Option<IdempotentAnswer>> {
        const SQL: &str =
            "SELECT fingerprint, notification_id, state FROM idempotency WHERE tenant_key = $1 AND key = $2";
        let Some(row) = self.maybe_row(SQL, &[&tenant.0, &key]).await? else { return Ok(None) };
        let corrupt = || Error::corrupt("an idempotency key");
        Ok(Some(IdempotentAnswer {
            fingerprint: row.get::<_, &[u8]>(0).try_into().map_err(|_| corrupt())?,
            notification_id: NotificationId(row.get(1)),
            state: State::from_number(row.get(2)).ok_or_else(corrupt)?,
        }))
    }
}

/// Whether the person `$5` has a delivery, or a device in an open position.
const IS_RECIPIENT: &str =
    "(EXISTS (SELECT 1 FROM devices d JOIN deliveries x ON x.run_id = n.run_id AND x.subject = d.device_key
             WHERE d.app_key = n.app_key AND d.person = $5 AND d.state <> 5)
         OR EXISTS (SELECT 1 FROM deliveries x WHERE x.run_id = n.run_id AND x.subject < 0 AND x.person = $5)
         OR EXISTS (SELECT 1 FROM (SELECT c.states, c.device_keys || ''::bytea AS keys FROM chunks c
                                   WHERE c.run_id = n.run_id AND c.due_at IS NOT NULL OFFSET 0) c,
                 generate_series(0, length(c.states) - 1) i, devices d
             WHERE d.app_key = n.app_key AND d.person = $5 AND d.state <> 5
               AND substring(c.keys FROM i * 8 + 1 FOR 8) = int8send(d.device_key)))";

fn read(row: &Row) -> Result<NotificationRow> {
    let known: bool = row.get(9);
    let (recipients, sms_total, segments) = counts::read_cascades(row, 14, known, row.get(10));
    Ok(NotificationRow {
        notification_id: NotificationId(row.get(0)),
        app: row.get(1),
        reference: row.get(2),
        body: row.get(3),
        state: State::from_number(row.get(4)).ok_or_else(|| Error::corrupt("a notification's state"))?,
        reason: row.get(5),
        created_at: row.get(6),
        scheduled_at: row.get(7),
        finished_at: row.get(8),
        recipients,
        push: counts::read_channel(row.get(12), known.then(|| row.get(11)), 0)?,
        sms: counts::read_channel(row.get(13), known.then_some(sms_total), segments)?,
        held: row
            .get::<_, Option<Vec<i16>>>(20)
            .map(|held| held.into_iter().filter_map(Platform::from_number).collect())
            .unwrap_or_default(),
    })
}
