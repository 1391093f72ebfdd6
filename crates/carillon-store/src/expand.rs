//! From a notification to chunks: one transaction reads the audience and commits chunk rows, cascade rows and the cursor together.

use crate::statuses::{DeliveryId, News, write_news};
use crate::{Error, Result, StatusChange, Store};
use carillon_domain::cascade::Unless;
use carillon_domain::delivery_status::{Reason, Status};
use carillon_domain::device::{DeviceState, Environment, Permission};
use carillon_domain::ids::{AppKey, DeviceKey, NotificationId, RunId, TenantKey};
use carillon_domain::person::Person;
use carillon_domain::platform::{Lane, Os, Platform};
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
}

/// A device that an audience may reach, as dispatchers need it.
#[derive(Clone)]
pub struct Recipient {
    /// Its key.
    pub key: DeviceKey,
    /// Its public id.
    pub device: String,
    /// Its person.
    pub person: Person,
    /// Whose token.
    pub platform: Platform,
    /// Operating system.
    pub os: Os,
    /// Token, installation id or endpoint.
    pub token: String,
    /// The token is a Firebase installation id.
    pub is_installation: bool,
    /// Web Push keys.
    pub p256dh: Vec<u8>,
    /// Web Push secret.
    pub auth: Vec<u8>,
    /// Apple's environment.
    pub environment: Environment,
    /// Rises with every registration of a token.
    pub generation: u32,
    /// BCP 47 tag.
    pub locale: Option<String>,
    /// E.164.
    pub phone: Option<String>,
    /// Whether what is shown may be sent.
    pub permission: Permission,
    /// Whether it is the person's main device.
    pub is_primary: bool,
    /// When it was last heard of.
    pub last_seen_at: Timestamp,
    /// Whether it can be sent to.
    pub state: DeviceState,
}

const DEVICE_COLUMNS: &str = "d.device_key, d.device, d.person, d.platform, d.os, coalesce(d.token, ''), d.is_fid, \
    coalesce(d.p256dh, ''), coalesce(d.auth, ''), d.environment, d.generation, d.locale, d.phone, d.permission, d.is_primary, \
    d.last_seen_at, d.state";

fn device_row(row: &Row, at: usize) -> Result<Recipient> {
    let bad = || Error::corrupt("a device");
    Ok(Recipient {
        key: DeviceKey(row.get(at)),
        device: row.get(at + 1),
        person: Person::from_key(row.get::<_, String>(at + 2)),
        platform: Platform::from_number(row.get(at + 3)).ok_or_else(bad)?,
        os: Os::from_number(row.get(at + 4)).ok_or_else(bad)?,
        token: row.get(at + 5),
        is_installation: row.get(at + 6),
        p256dh: row.get(at + 7),
        auth: row.get(at + 8),
        environment: Environment::from_number(row.get(at + 9)).ok_or_else(bad)?,
        generation: row.get::<_, i32>(at + 10) as u32,
        locale: row.get(at + 11),
        phone: row.get(at + 12),
        permission: Permission::from_number(row.get(at + 13)).ok_or_else(bad)?,
        is_primary: row.get(at + 14),
        last_seen_at: row.get(at + 15),
        state: DeviceState::from_number(row.get(at + 16)).ok_or_else(bad)?,
    })
}

/// One name in a listed audience.
#[derive(Clone, Debug)]
pub struct Selector {
    /// Which run asks (the caller's index).
    pub run: i32,
    /// The app to look in.
    pub app_key: AppKey,
    /// What is named.
    pub name: SelectorName,
}

/// What a selector names.
#[derive(Clone, Debug)]
pub enum SelectorName {
    /// A device by its public id.
    Device(String),
    /// Every device of a user.
    User(String),
    /// Every device with a phone number in E.164.
    Phone(String),
}

/// A device found by a selector.
pub struct Selected {
    /// The run that asked.
    pub run: i32,
    /// The index of the selector in the list given.
    pub selector: usize,
    /// The device; invalid ones too, so that the caller can say why a person has none.
    pub device: Recipient,
}

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
}

/// A transaction that walks audiences. Dropped without [`Expansion::commit`], it is rolled back with its connection.
pub struct Expansion {
    connection: Option<Object>,
    now: Timestamp,
}

const LOCK_RUNS: &str = "
    SELECT n.notification_id, n.tenant_key, t.tenant, n.app_key, a.icon_url, coalesce(a.default_locale, t.default_locale),
           t.push_enabled AND a.push_enabled, n.body, n.lane, n.created_at, n.scheduled_at, n.run_id, n.run_started_at, n.expires_at,
           n.cursor_person, n.next_chunk, n.next_person
    FROM notifications n
    JOIN tenants t ON t.tenant_key = n.tenant_key
    JOIN apps a ON a.app_key = n.app_key
    WHERE n.notification_id = ANY($1) AND n.state IN (1, 2) AND NOT n.expanded AND coalesce(n.scheduled_at, now()) <= now()
    ORDER BY n.notification_id
    FOR UPDATE OF n SKIP LOCKED";

impl Store {
    /// Opens a transaction and locks those of the notifications that are due and whose audience is not fully walked. Ones that another
    /// process works on are left out.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn expand(&self, ids: &[NotificationId]) -> Result<(Expansion, Vec<RunRow>)> {
        let connection = self.connection().await?;
        let mut expansion = Expansion { connection: Some(connection), now: Timestamp::UNIX_EPOCH };
        let client = expansion.client()?;
        client.batch_execute("BEGIN").await?;
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let statement = client.prepare_cached(LOCK_RUNS).await?;
        let rows = client.query(&statement, &[&ids]).await?;
        let runs = rows.iter().map(run_row).collect::<Result<Vec<_>>>()?;
        let now: Timestamp = client.query_one("SELECT now()", &[]).await?.get(0);
        expansion.now = now;
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
    })
}

impl Expansion {
    fn client(&self) -> Result<&Object> {
        self.connection.as_ref().ok_or_else(|| Error::Refused("the transaction has ended".into()))
    }

    /// The database's clock when the transaction began.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The devices that selectors name, forgotten ones excepted, in the order of (run, person, key).
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn select(&self, selectors: &[Selector]) -> Result<Vec<Selected>> {
        const FROM: &str = "FROM unnest($1::int[], $2::int[], $3::text[]) AS s(i, app_key, name) JOIN devices d ON d.app_key = s.app_key";
        let client = self.client()?;
        let mut found = Vec::new();
        for kind in 0..3 {
            let wanted: Vec<(i32, i32, String)> = selectors
                .iter()
                .enumerate()
                .filter_map(|(i, s)| match (&s.name, kind) {
                    (SelectorName::Device(d), 0) => Some((i as i32, s.app_key.0, d.clone())),
                    (SelectorName::User(u), 1) => Some((i as i32, s.app_key.0, Person::user(u).key().to_owned())),
                    (SelectorName::Phone(p), 2) => Some((i as i32, s.app_key.0, p.clone())),
                    _ => None,
                })
                .collect();
            if wanted.is_empty() {
                continue;
            }
            let column = ["device", "person", "phone"][kind];
            let sql = format!("SELECT s.i, {DEVICE_COLUMNS} {FROM} AND d.{column} = s.name WHERE d.state <> 5");
            let statement = client.prepare_cached(&sql).await?;
            let is: Vec<i32> = wanted.iter().map(|w| w.0).collect();
            let apps: Vec<i32> = wanted.iter().map(|w| w.1).collect();
            let names: Vec<&str> = wanted.iter().map(|w| w.2.as_str()).collect();
            for row in client.query(&statement, &[&is, &apps, &names]).await? {
                let selector = row.get::<_, i32>(0) as usize;
                found.push(Selected { run: selectors[selector].run, selector, device: device_row(&row, 1)? });
            }
        }
        found.sort_by(|a, b| {
            (a.run, a.device.person.key(), a.device.key).cmp(&(b.run, b.device.person.key(), b.device.key))
        });
        Ok(found)
    }

    /// The next devices of an app after a person, in the order of (person, key): whole persons only, except that a person with more
    /// than `limit` devices is cut off there. The flag says that nothing follows.
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
    ) -> Result<(Vec<Recipient>, bool)> {
        let sql = format!(
            "SELECT {DEVICE_COLUMNS} FROM devices d
             WHERE d.app_key = $1 AND d.person > $2 AND d.state IN (1, 2)
               AND (cardinality($3::int2[]) = 0 OR d.platform = ANY($3)) AND (cardinality($4::int2[]) = 0 OR d.os = ANY($4))
             ORDER BY d.person, d.device_key LIMIT $5"
        );
        let client = self.client()?;
        let statement = client.prepare_cached(&sql).await?;
        let platforms: Vec<i16> = platforms.iter().map(|p| p.number()).collect();
        let os: Vec<i16> = os.iter().map(|o| o.number()).collect();
        let rows =
            client.query(&statement, &[&app.0, &after.unwrap_or(""), &platforms, &os, &(limit as i64 + 1)]).await?;
        let last = rows.len() <= limit;
        let mut devices = rows.iter().map(|row| device_row(row, 0)).collect::<Result<Vec<_>>>()?;
        if !last {
            // The person of the first row beyond the page may have more devices there: that person is the next page's.
            let beyond = devices.pop().map(|d| d.person);
            let whole = devices.iter().take_while(|d| Some(&d.person) != beyond.as_ref()).count();
            if whole > 0 {
                devices.truncate(whole);
            }
        }
        Ok((devices, last))
    }

    /// Chunks of a lane that are published and not given back, by platform.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn outstanding(&self, lane: Lane) -> Result<Vec<(Platform, i64)>> {
        let client = self.client()?;
        let statement = client.prepare_cached(crate::scan::OUTSTANDING).await?;
        let rows = client.query(&statement, &[&lane.number()]).await?;
        Ok(rows.iter().filter_map(|row| Some((Platform::from_number(row.get(0))?, row.get(1)))).collect())
    }

    /// Commits pages: chunk rows, cascade rows, what is suppressed, cursors and totals. Returns what is news.
    ///
    /// # Errors
    /// Nothing is committed, or, if the connection broke at the commit, all or nothing is: the wake-up comes again, and finds a run
    /// where its row says it is.
    pub async fn commit(mut self, pages: Vec<Page>, slot: i16) -> Result<Vec<StatusChange>> {
        let mut connection =
            self.connection.take().ok_or_else(|| Error::Refused("the transaction has ended".into()))?;
        let outcome = write(&mut connection, &pages, self.now, slot).await;
        match outcome {
            Ok(changes) => {
                if let Err(error) = connection.batch_execute("COMMIT").await {
                    drop(Object::take(connection));
                    return Err(error.into());
                }
                Ok(changes)
            }
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

async fn write(connection: &mut Object, pages: &[Page], now: Timestamp, slot: i16) -> Result<Vec<StatusChange>> {
    // A savepoint gives the helpers their transaction type inside the one that is open.
    let transaction = connection.transaction().await?;
    insert_chunks(&transaction, pages).await?;
    insert_cascades(&transaction, pages, now).await?;
    advance(&transaction, pages).await?;
    let news = pages.iter().flat_map(|page| {
        page.suppressed.iter().map(|s| News {
            id: DeliveryId { run: page.run, subject: s.subject, link: 0 },
            tenant: page.tenant_key,
            platform: s.platform,
            status: Status::Suppressed,
            reason: Some(s.reason),
            person: s.person.as_ref().map(|p| p.key().to_owned()),
            provider_id: None,
            at: now,
        })
    });
    let changes = write_news(&transaction, news.collect(), slot).await?;
    transaction.commit().await?;
    Ok(changes)
}

const INSERT_CHUNKS: &str = "
    INSERT INTO chunks (run_id, chunk, notification_id, tenant_key, app_key, platform, lane, device_keys, person_numbers, states,
        run_started_at, expires_at, due_at, copies, lease, lease_until, outstanding)
    SELECT run_id, chunk, notification_id, tenant_key, app_key, platform, lane, device_keys, person_numbers, states,
        run_started_at, expires_at,
        CASE WHEN published THEN now() + CASE lane WHEN 1 THEN interval '5 seconds' ELSE interval '60 seconds' END ELSE now() END,
        CASE WHEN published THEN 1 ELSE 0 END, coalesce(lease, 0),
        CASE WHEN lease IS NOT NULL THEN now() + interval '3 seconds' END, published
    FROM unnest($1::uuid[], $2::int4[], $3::uuid[], $4::int4[], $5::int4[], $6::int2[], $7::int2[], $8::bytea[], $9::bytea[],
                $10::bytea[], $11::timestamptz[], $12::timestamptz[], $13::bool[], $14::int8[])
         AS c(run_id, chunk, notification_id, tenant_key, app_key, platform, lane, device_keys, person_numbers, states,
              run_started_at, expires_at, published, lease)";

async fn insert_chunks(transaction: &deadpool_postgres::Transaction<'_>, pages: &[Page]) -> Result<()> {
    let all: Vec<(&Page, i32, &NewChunk)> = pages
        .iter()
        .flat_map(|p| p.chunks.iter().enumerate().map(move |(i, c)| (p, p.first_chunk + i as i32, c)))
        .collect();
    if all.is_empty() {
        return Ok(());
    }
    let statement = transaction.prepare_cached(INSERT_CHUNKS).await?;
    let keys = |c: &NewChunk| c.devices.iter().flat_map(|d| d.0.to_be_bytes()).collect::<Vec<u8>>();
    let persons = |c: &NewChunk| {
        c.person_numbers.as_ref().map(|all| all.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<u8>>())
    };
    transaction
        .execute(
            &statement,
            &[
                &all.iter().map(|(p, ..)| p.run.0).collect::<Vec<_>>(),
                &all.iter().map(|(_, n, _)| *n).collect::<Vec<_>>(),
                &all.iter().map(|(p, ..)| p.notification_id.0).collect::<Vec<_>>(),
                &all.iter().map(|(p, ..)| p.tenant_key.0).collect::<Vec<_>>(),
                &all.iter().map(|(p, ..)| p.app_key.0).collect::<Vec<_>>(),
                &all.iter().map(|(.., c)| c.platform.number()).collect::<Vec<_>>(),
                &all.iter().map(|(p, ..)| p.lane.number()).collect::<Vec<_>>(),
                &all.iter().map(|(.., c)| keys(c)).collect::<Vec<_>>(),
                &all.iter().map(|(.., c)| persons(c)).collect::<Vec<_>>(),
                &all.iter().map(|(.., c)| vec![0u8; c.devices.len()]).collect::<Vec<_>>(),
                &all.iter().map(|(p, ..)| p.run_started_at).collect::<Vec<_>>(),
                &all.iter().map(|(p, ..)| p.expires_at).collect::<Vec<_>>(),
                &all.iter().map(|(.., c)| c.published).collect::<Vec<_>>(),
                &all.iter().map(|(.., c)| c.lease).collect::<Vec<_>>(),
            ],
        )
        .await?;
    Ok(())
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

async fn insert_cascades(
    transaction: &deadpool_postgres::Transaction<'_>,
    pages: &[Page],
    _now: Timestamp,
) -> Result<()> {
    let all: Vec<(&Page, &NewCascade)> = pages.iter().flat_map(|p| p.cascades.iter().map(move |c| (p, c))).collect();
    if all.is_empty() {
        return Ok(());
    }
    let statement = transaction.prepare_cached(INSERT_CASCADES).await?;
    transaction
        .execute(
            &statement,
            &[
                &all.iter().map(|(p, _)| p.run.0).collect::<Vec<_>>(),
                &all.iter().map(|(_, c)| c.person_number).collect::<Vec<_>>(),
                &all.iter().map(|(p, _)| p.notification_id.0).collect::<Vec<_>>(),
                &all.iter().map(|(p, _)| p.tenant_key.0).collect::<Vec<_>>(),
                &all.iter().map(|(p, _)| p.app_key.0).collect::<Vec<_>>(),
                &all.iter().map(|(_, c)| c.person.key()).collect::<Vec<_>>(),
                &all.iter().map(|(_, c)| c.phone.as_deref()).collect::<Vec<_>>(),
                &all.iter().map(|(_, c)| c.locale.as_deref()).collect::<Vec<_>>(),
                &all.iter().map(|(_, c)| c.unless.number()).collect::<Vec<_>>(),
                &all.iter().map(|(_, c)| c.within as i32).collect::<Vec<_>>(),
                &all.iter().map(|(_, c)| c.open_devices).collect::<Vec<_>>(),
                &all.iter().map(|(_, c)| c.fires).collect::<Vec<_>>(),
            ],
        )
        .await?;
    Ok(())
}

const ADVANCE: &str = "
    UPDATE notifications n SET
        state = CASE WHEN p.last AND p.idle THEN 5 ELSE 2 END,
        finished_at = CASE WHEN p.last AND p.idle THEN now() END,
        reason = CASE WHEN p.last AND n.recipients + p.persons = 0 THEN 'no_recipients' ELSE n.reason END,
        run_id = p.run_id, run_started_at = p.run_started_at, expires_at = p.expires_at, epoch = n.epoch + 1,
        cursor_person = coalesce(p.cursor, n.cursor_person),
        next_chunk = n.next_chunk + p.chunks, next_person = n.next_person + p.persons,
        recipients = n.recipients + p.persons, pushes = n.pushes + p.pushes,
        expanded = p.last, due_at = CASE WHEN p.last THEN NULL ELSE now() + interval '5 seconds' END
    FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::int4[], $7::int4[], $8::int8[],
                $9::bool[], $10::bool[])
         AS p(notification_id, run_id, run_started_at, expires_at, cursor, chunks, persons, pushes, last, idle)
    WHERE n.notification_id = p.notification_id";

async fn advance(transaction: &deadpool_postgres::Transaction<'_>, pages: &[Page]) -> Result<()> {
    let pushes = |p: &Page| p.chunks.iter().map(|c| c.devices.len() as i64).sum::<i64>() + p.suppressed.len() as i64;
    // Nothing was queued by any page of this run, and no cascade waits: it is finished as it is committed.
    let idle = |p: &Page| {
        p.first_chunk == 0 && p.chunks.is_empty() && !p.cascades.iter().any(|c| c.open_devices > 0 || c.fires)
    };
    let statement = transaction.prepare_cached(ADVANCE).await?;
    transaction
        .execute(
            &statement,
            &[
                &pages.iter().map(|p| p.notification_id.0).collect::<Vec<_>>(),
                &pages.iter().map(|p| p.run.0).collect::<Vec<_>>(),
                &pages.iter().map(|p| p.run_started_at).collect::<Vec<_>>(),
                &pages.iter().map(|p| p.expires_at).collect::<Vec<_>>(),
                &pages.iter().map(|p| p.cursor.as_deref()).collect::<Vec<_>>(),
                &pages.iter().map(|p| p.chunks.len() as i32).collect::<Vec<_>>(),
                &pages.iter().map(|p| p.persons).collect::<Vec<_>>(),
                &pages.iter().map(pushes).collect::<Vec<_>>(),
                &pages.iter().map(|p| p.last).collect::<Vec<_>>(),
                &pages.iter().map(idle).collect::<Vec<_>>(),
            ],
        )
        .await?;
    Ok(())
}

/// The devices of a chunk as they are now, for a later copy of its message. Missing keys are gone or changed hands.
pub(crate) async fn devices_by_key(client: &Object, keys: &[i64]) -> Result<Vec<Recipient>> {
    let sql = format!("SELECT {DEVICE_COLUMNS} FROM devices d WHERE d.device_key = ANY($1) AND d.state <> 5");
    let statement = client.prepare_cached(&sql).await?;
    client.query(&statement, &[&keys]).await?.iter().map(|row| device_row(row, 0)).collect()
}
