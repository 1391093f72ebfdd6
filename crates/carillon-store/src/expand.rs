//! From a notification to chunks: one transaction reads the audience and commits chunk rows, cascade rows and the cursor together.

mod condition;
mod page;
mod recipient;
mod select;
mod walk;

pub use page::{NewCascade, NewChunk, Page, Suppressed};
pub use recipient::Recipient;
pub(crate) use recipient::devices_by_key;
pub use select::{Selected, Selection, Selector, SelectorName};
pub use walk::{Narrowing, PersonsPage};

use crate::begun::{Begun, Ready};
use crate::{Error, Result, Store};
use carillon_domain::ids::{AppKey, NotificationId, RunId, TenantKey};
use carillon_domain::platform::{Lane, Platform};
use carillon_failpoint::Point;
use deadpool_postgres::Object;
use jiff::Timestamp;
use tokio_postgres::Row;
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

/// A transaction that walks audiences. Dropped without [`Expansion::commit`], it is rolled back with its connection.
pub struct Expansion {
    transaction: Begun,
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
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let lock = async |client: &Object| {
            let statement = client.prepare_cached(LOCK_RUNS).await?;
            Ok(client.query(&statement, &[&ids]).await?)
        };
        let (transaction, rows) = Begun::with(self.connection().await?, lock).await?;
        let now = rows.first().map_or(Timestamp::UNIX_EPOCH, |row| row.get(18));
        let expansion = Expansion { transaction, now, publisher: self.presence().number() };
        let runs = rows.iter().map(run_row).collect::<Result<Vec<_>>>()?;
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
        self.transaction.client()
    }

    /// The database's clock when the transaction began, if it locked anything.
    pub fn now(&self) -> Timestamp {
        self.now
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
    pub async fn rest(self, id: NotificationId) -> Result<()> {
        let rest = Ready::new(self.client()?, REST, vec![Box::new(id.0)]).await?;
        self.transaction.commit_behind(Point::PagesCommit, vec![rest]).await
    }

    /// Ends the transaction without a page, and keeps the connection.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away; nothing was changed anyway.
    pub async fn abandon(self) -> Result<()> {
        self.transaction.undo().await
    }

    /// Commits pages: chunk rows, cascade rows, what is suppressed, cursors and totals.
    ///
    /// # Errors
    /// Nothing is committed, or, if the connection broke at the commit, all or nothing is: the wake-up comes again, and finds a run
    /// where its row says it is.
    pub async fn commit(self, pages: Vec<Page>, slot: i16) -> Result<()> {
        page::commit(self.transaction, &pages, self.now, slot, self.publisher).await
    }
}
