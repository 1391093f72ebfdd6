//! From a notification to chunks: one transaction reads the audience and commits chunk rows, cascade rows and the cursor together.

mod page;
mod recipient;
mod select;

pub use page::{NewCascade, NewChunk, Page, Suppressed};
pub use recipient::Recipient;
pub(crate) use recipient::devices_by_key;
pub use select::{Selected, Selection, Selector, SelectorName};

use crate::commit::commit_by_hand;
use crate::{Error, Result, Store};
use carillon_domain::ids::{AppKey, NotificationId, RunId, TenantKey};
use carillon_domain::platform::{Lane, Os, Platform};
use carillon_failpoint::Point;
use deadpool_postgres::Object;
use futures::TryStreamExt as _;
use futures::future::ready;
use jiff::Timestamp;
use recipient::{DEVICE_COLUMNS, device_row};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

/// A notification whose audience is to be walked, locked by the transaction that returned it.
#[derive(Clone, Debug)]
pub struct RunRow {
    /// The notification.
    pub notification_id: NotificationId,
    /// Whose.
    pub tenant_key: TenantKey,
    /// Tenant's public id.
    pub tenant: String,
    /// Which app's.
    pub app_key: AppKey,
    /// The app's icon.
    pub icon_url: Option<String>,
    /// The app's default locale, else the tenant's.
    pub default_locale: Option<String>,
    /// Whether `push_enabled` is on, on tenant and app.
    pub push_enabled: bool,
    /// What to send (`carillon_wire::decode_body`).
    pub body: Vec<u8>,
    /// Its lane.
    pub lane: Lane,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it was to be sent, if scheduled.
    pub scheduled_at: Option<Timestamp>,
    /// The run, once started.
    pub run: Option<(RunId, Timestamp, Timestamp)>,
    /// The last person of the last page.
    pub cursor: Option<String>,
    /// The next chunk's number.
    pub next_chunk: i32,
    /// The next person's number.
    pub next_person: i32,
    /// Pages committed so far, and how often it was steered: a wake-up that names another number was overtaken.
    pub epoch: i32,
}

/// The persons of a page of a broad audience, whole.
pub struct PersonsPage {
    /// Their devices that are meant, in the order of (person, key).
    pub devices: Vec<Recipient>,
    /// The last person that was walked, whether meant or not; nothing when nobody was left.
    pub cursor: Option<String>,
    /// Nobody follows.
    pub last: bool,
}

/// How many times more devices a page walks than it may bring, where only some platforms or systems are meant.
const NARROWED: usize = 4;
/// Above every person's key.
const BEYOND_ALL: &str = "v";

/// A transaction that walks audiences. Dropped without [`Expansion::commit`], it is rolled back with its connection.
pub struct Expansion {
    connection: Option<Object>,
    now: Timestamp,
    /// Bears what is committed as published.
    publisher: Option<i32>,
}

const LOCK_RUNS: &str = "
    SELECT n.notification_id, n.tenant_key, t.tenant, n.app_key, a.icon_url, coalesce(a.default_locale, t.default_locale),
           t.push_enabled AND a.push_enabled, n.body, n.lane, n.created_at, n.scheduled_at, n.run_id, n.run_started_at, n.expires_at,
           n.cursor_person, n.next_chunk, n.next_person, n.epoch, now()
    FROM notifications n
    JOIN tenants t ON t.tenant_key = n.tenant_key
    JOIN apps a ON a.app_key = n.app_key
    WHERE n.notification_id = ANY($1) AND n.state IN (1, 2) AND NOT n.expanded AND coalesce(n.scheduled_at, now()) <= now()
    ORDER BY n.notification_id
    FOR UPDATE OF n SKIP LOCKED";

/// Looked at in vain again and again, it is looked at less often, every two seconds in the end. How often is remembered as copies, of which few
/// enough are kept that a wake-up which is lost is missed soon.
const REST: &str = "
    UPDATE notifications SET due_at = now() + interval '125 milliseconds' * power(2, least(copies, 4)), copies = least(copies, 3)
    WHERE notification_id = $1";

impl Store {
    /// Opens a transaction and locks those of the notifications that are due and whose audience is not fully walked. Ones that another
    /// process works on are left out.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn expand(&self, ids: &[NotificationId]) -> Result<(Expansion, Vec<RunRow>)> {
        let connection = self.connection().await?;
        let publisher = self.presence().number();
        let mut expansion = Expansion { connection: Some(connection), now: Timestamp::UNIX_EPOCH, publisher };
        let client = expansion.client()?;
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let statement = client.prepare_cached(LOCK_RUNS).await?;
        let parameters: [&(dyn ToSql + Sync); 1] = [&ids];
        // One way there and back: what is sent first is worked off first.
        let ((), rows) = futures::try_join!(client.batch_execute("BEGIN"), client.query(&statement, &parameters))?;
        let runs = rows.iter().map(run_row).collect::<Result<Vec<_>>>()?;
        if let Some(first) = rows.first() {
            expansion.now = first.get(18);
        }
        Ok((expansion, runs))
    }
}

fn run_row(row: &Row) -> Result<RunRow> {
    let run = match (row.get::<_, Option<Uuid>>(11), row.get(12), row.get(13)) {
        (Some(run), Some(started), Some(expires)) => Some((RunId(run), started, expires)),
        _ => None,
    };
    Ok(RunRow {
        notification_id: NotificationId(row.get(0)),
        tenant_key: TenantKey(row.get(1)),
        tenant: row.get(2),
        app_key: AppKey(row.get(3)),
        icon_url: row.get(4),
        default_locale: row.get(5),
        push_enabled: row.get(6),
        body: row.get(7),
        lane: Lane::from_number(row.get(8)).ok_or_else(|| Error::corrupt("a notification's lane"))?,
        created_at: row.get(9),
        scheduled_at: row.get(10),
        run,
        cursor: row.get(14),
        next_chunk: row.get(15),
        next_person: row.get(16),
        epoch: row.get(17),
    })
}

impl Expansion {
    fn client(&self) -> Result<&Object> {
        self.connection.as_ref().ok_or_else(|| Error::Refused("the transaction has ended".into()))
    }

    /// The database's clock when the transaction began, if it locked anything.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The devices of the next persons of an app after a person. About `limit` devices, but always whole persons, however many
    /// devices one of them has. Where platforms or systems are given, more are walked and only theirs returned, so that one statement
    /// is bounded however few they are.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn page(
        &self,
        app: AppKey,
        after: Option<&str>,
        platforms: &[Platform],
        os: &[Os],
        limit: usize,
    ) -> Result<PersonsPage> {
        // Sizing a page, devices that are not meant count too: so the index alone answers, without a look at every row.
        const BOUNDS: &str = "
            SELECT (SELECT d.person FROM devices d WHERE d.app_key = $1 AND d.person > $2 AND d.state <> 5
                    ORDER BY d.person, d.device_key LIMIT 1),
                   (SELECT d.person FROM devices d WHERE d.app_key = $1 AND d.person > $2 AND d.state <> 5
                    ORDER BY d.person, d.device_key OFFSET $3 LIMIT 1)";
        const LAST_WALKED: &str = "
            SELECT d.person FROM devices d WHERE d.app_key = $1 AND d.person > $2 AND d.person < $3 AND d.state <> 5
            ORDER BY d.person DESC LIMIT 1";
        let after = after.unwrap_or("");
        let narrowed = !platforms.is_empty() || !os.is_empty();
        let walked = if narrowed { limit.saturating_mul(NARROWED) } else { limit } as i64;
        let client = self.client()?;
        let bounds = client.prepare_cached(BOUNDS).await?;
        let bounds = client.query_one(&bounds, &[&app.0, &after, &walked]).await?;
        let (first, beyond): (Option<String>, Option<String>) = (bounds.get(0), bounds.get(1));
        let Some(first) = first else { return Ok(PersonsPage { devices: Vec::new(), cursor: None, last: true }) };
        // The person of the first device beyond the page may have more there, so that person is the next page's; one who fills
        // the page alone has it alone.
        let end = match &beyond {
            None => BEYOND_ALL.to_owned(),
            Some(person) if *person == first => format!("{first}\u{1}"),
            Some(person) => person.clone(),
        };
        let last_walked = client.prepare_cached(LAST_WALKED).await?;
        let last_walked = client.query_opt(&last_walked, &[&app.0, &after, &end]).await?;
        let sql = format!(
            "SELECT {DEVICE_COLUMNS} FROM devices d
             WHERE d.app_key = $1 AND d.person > $2 AND d.person < $3 AND d.state IN (1, 2)
               AND (cardinality($4::int2[]) = 0 OR d.platform = ANY($4)) AND (cardinality($5::int2[]) = 0 OR d.os = ANY($5))
             ORDER BY d.person, d.device_key"
        );
        let statement = client.prepare_cached(&sql).await?;
        let platforms: Vec<i16> = platforms.iter().map(|p| p.number()).collect();
        let os: Vec<i16> = os.iter().map(|o| o.number()).collect();
        let parameters: [&(dyn ToSql + Sync); 5] = [&app.0, &after, &end, &platforms, &os];
        // Read one by one: a page of rows beside the same page of devices would be twice the memory.
        let rows = client.query_raw(&statement, parameters).await?;
        let devices = rows.map_err(Error::from).and_then(|row| ready(device_row(&row, 0))).try_collect().await?;
        Ok(PersonsPage { devices, cursor: Some(last_walked.map_or(first, |row| row.get(0))), last: beyond.is_none() })
    }

    /// What of a lane is published and not given back, by platform: all chunks, and those of one tenant.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn outstanding(&self, lane: Lane, tenant: TenantKey) -> Result<Vec<(Platform, i64, i64)>> {
        let client = self.client()?;
        let statement = client.prepare_cached(crate::scan::OUTSTANDING).await?;
        let rows = client.query(&statement, &[&lane.number(), &tenant.0]).await?;
        Ok(rows.iter().filter_map(|row| Some((Platform::from_number(row.get(0))?, row.get(1), row.get(2)))).collect())
    }

    /// Ends the transaction without a page: the notification is looked at again in a moment.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away; the row is looked at by its time then.
    pub async fn rest(mut self, id: NotificationId) -> Result<()> {
        let client = self.client()?;
        let statement = client.prepare_cached(REST).await?;
        client.execute(&statement, &[&id.0]).await?;
        let connection = self.connection.take().ok_or_else(|| Error::Refused("the transaction has ended".into()))?;
        commit_by_hand(connection, Point::PagesCommit).await
    }

    /// Ends the transaction without a page, and keeps the connection.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away; nothing was changed anyway.
    pub async fn abandon(mut self) -> Result<()> {
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.batch_execute("ROLLBACK").await
        {
            drop(Object::take(connection));
            return Err(error.into());
        }
        Ok(())
    }

    /// Commits pages: chunk rows, cascade rows, what is suppressed, cursors and totals.
    ///
    /// # Errors
    /// Nothing is committed, or, if the connection broke at the commit, all or nothing is: the wake-up comes again, and finds a run
    /// where its row says it is.
    pub async fn commit(mut self, pages: Vec<Page>, slot: i16) -> Result<()> {
        let connection = self.connection.take().ok_or_else(|| Error::Refused("the transaction has ended".into()))?;
        let outcome = page::write(&connection, &pages, self.now, slot, self.publisher).await;
        match outcome {
            Ok(()) => commit_by_hand(connection, Point::PagesCommit).await,
            Err(error) => {
                drop(Object::take(connection));
                Err(error)
            }
        }
    }
}

impl Drop for Expansion {
    fn drop(&mut self) {
        // A connection with an open transaction must not go back to the pool; closing it rolls back.
        if let Some(connection) = self.connection.take() {
            drop(Object::take(connection));
        }
    }
}
