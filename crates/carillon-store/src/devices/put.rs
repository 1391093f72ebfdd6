//! Registering and changing a device.

use super::merge::{Merged, merge};
use super::row::{COLUMNS, Device, SWITCH, read, read_shown};
use super::values::{INSERT, UPDATE, Values, token_bytes};
use crate::commit::commit;
use crate::{Error, Result, Store};
use carillon_domain::delivery_status::Reason;
use carillon_domain::device::{DeviceChange, DeviceState};
use carillon_domain::fault::Faults;
use carillon_domain::ids::{AppKey, TenantKey};
use carillon_domain::limits;
use carillon_domain::person::Person;
use carillon_failpoint::Point;
use deadpool_postgres::{GenericClient, Transaction};
use tokio_postgres::error::SqlState;

/// How often a writer begins again after losing a race; each loss means that another writer got through.
const TRIES: usize = 16;
/// After so many losses a writer queues with the app's other losers, so that each of them gets its turn.
const FREE_TRIES: usize = 3;
/// The first key of that queue's advisory lock; the second is the app.
const QUEUE: i32 = 0x6465_7669;

/// Takes everything from a row that could name the person or reach the device. The person's key stays the device's own.
pub(super) const FORGET: &str = "state = 5, state_at = now(), token = NULL, token_hash = NULL, p256dh = NULL, auth = NULL,
    person = 'd:' || device, user_id = NULL, phone = NULL, name = NULL, locale = NULL, timezone = NULL, is_primary = false,
    tags = '{}', attributes = '{}', app_version = NULL, os_version = NULL, secret_hash = NULL";

/// Who registers or changes a device, and so what may happen.
#[derive(Clone, Copy)]
pub enum Registrar {
    /// The tenant's backend with PUT: makes the device when there is none.
    Server,
    /// The tenant's backend with PATCH: only a device that exists.
    ServerUpdate,
    /// A new copy of the app (`cpk_`): only a device that does not exist.
    Newcomer {
        /// The hash of the key that the installation gets.
        secret_hash: [u8; 32],
    },
    /// The installation itself (`cds_`).
    Installation {
        /// The hash of its key.
        secret_hash: [u8; 32],
    },
}

impl Registrar {
    fn may_create(self) -> bool {
        matches!(self, Registrar::Server | Registrar::Newcomer { .. })
    }

    pub(super) fn is_app(self) -> bool {
        matches!(self, Registrar::Newcomer { .. } | Registrar::Installation { .. })
    }

    pub(super) fn new_secret(self) -> Option<Vec<u8>> {
        match self {
            Registrar::Newcomer { secret_hash } => Some(secret_hash.to_vec()),
            _ => None,
        }
    }
}

/// What became of a registration or change.
#[derive(Debug)]
pub enum Registered {
    /// It is so now.
    Done {
        /// The device did not exist before.
        created: bool,
        /// The device as it is.
        device: Box<Device>,
    },
    /// A newcomer named a device that exists.
    Exists,
    /// There is no such device (of this installation), and the caller may not make it.
    Absent,
    /// The change does not fit the device.
    Refused(Faults),
}

/// One call's constants.
pub(super) struct Call<'a> {
    pub(super) tenant: TenantKey,
    pub(super) app: AppKey,
    pub(super) device: &'a str,
    pub(super) change: &'a DeviceChange,
    pub(super) who: Registrar,
}

impl Store {
    /// Registers or changes a device, in one commit. The change must have passed [`DeviceChange::check`].
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away, or other writers of the same things win again and again.
    pub async fn put_device(
        &self,
        tenant: TenantKey,
        app: AppKey,
        device: &str,
        change: &DeviceChange,
        who: Registrar,
    ) -> Result<Registered> {
        let call = Call { tenant, app, device, change, who };
        if let Some(done) = self.insert_unopposed(&call).await? {
            return Ok(done);
        }
        for tried in 0..TRIES {
            match self.put_locked(&call, tried >= FREE_TRIES).await {
                Ok(registered) => return Ok(registered),
                Err(Attempt::Lost) => {}
                Err(Attempt::Failed(error)) => return Err(error),
            }
        }
        Err(Error::Unavailable("other registrations of the same device win again and again".into()))
    }

    /// One statement where nothing is in the way: no such device, token or other primary. `None` when something was.
    async fn insert_unopposed(&self, call: &Call<'_>) -> Result<Option<Registered>> {
        if !call.who.may_create() || call.change.token.is_none() {
            return Ok(None);
        }
        let merged = match merge(call.device, None, call.change) {
            Ok(merged) => merged,
            // The device may exist, and then the change may fit.
            Err(_) => return Ok(None),
        };
        if is_full(&*self.connection().await?, call.app, &merged.person).await? {
            return Ok(None);
        }
        let sql = format!("{INSERT} ON CONFLICT DO NOTHING RETURNING {COLUMNS}, {SWITCH}");
        let values = Values::of(call, &merged, None);
        let inserted = self.write_if_first(Point::DevicesCommit, &sql, &values.insert()).await?;
        inserted
            .as_ref()
            .map(|row| Ok(Registered::Done { created: true, device: Box::new(read_shown(row)?) }))
            .transpose()
    }

    async fn put_locked(&self, call: &Call<'_>, queue: bool) -> std::result::Result<Registered, Attempt> {
        let mut connection = self.connection().await.map_err(Attempt::Failed)?;
        let transaction = connection.transaction().await?;
        if queue {
            transaction.execute("SELECT pg_advisory_xact_lock($1, $2)", &[&QUEUE, &call.app.0]).await?;
        }
        let (mine, holder) = lock(&transaction, call).await?;
        match (&mine, call.who) {
            (Some(_), Registrar::Newcomer { .. }) => return Ok(Registered::Exists),
            (Some(row), Registrar::Installation { secret_hash })
                if row.secret_hash.as_deref() != Some(secret_hash.as_slice()) =>
            {
                return Ok(Registered::Absent);
            }
            (None, Registrar::ServerUpdate | Registrar::Installation { .. }) => return Ok(Registered::Absent),
            _ => {}
        }
        let merged = match merge(call.device, mine.as_ref(), call.change) {
            Ok(merged) => merged,
            Err(faults) => return Ok(Registered::Refused(faults)),
        };
        let counted = |row: &Device| matches!(row.state, DeviceState::Active | DeviceState::Inactive);
        let joins = merged.changes_hands || !mine.as_ref().is_some_and(counted);
        if joins && is_full(&transaction, call.app, &merged.person).await? {
            return Ok(Registered::Refused(too_many(&merged)));
        }
        if let Some(holder) = holder {
            lose_token(&transaction, holder).await?;
        }
        let device = write(&transaction, call, mine.as_ref(), &merged).await?;
        commit(transaction, Point::DevicesCommit).await?;
        Ok(Registered::Done { created: mine.is_none(), device: Box::new(device) })
    }
}

/// Locks the device by its id and the holder of the token, in the order of their keys. Returns the device, and the key of a
/// holder that is another device.
async fn lock(
    transaction: &Transaction<'_>,
    call: &Call<'_>,
) -> std::result::Result<(Option<Device>, Option<i64>), Attempt> {
    let sql = format!(
        "SELECT {COLUMNS} FROM devices
         WHERE (app_key = $1 AND device = $2 AND state <> 5 AND tenant_key = $4)
            OR (app_key = $1 AND token_hash = sha256($3::bytea) AND state NOT IN (3, 5) AND tenant_key = $4)
         ORDER BY device_key FOR UPDATE"
    );
    let statement = transaction.prepare_cached(&sql).await?;
    let token = call.change.token.as_ref().map(token_bytes);
    let rows = transaction.query(&statement, &[&call.app.0, &call.device, &token, &call.tenant.0]).await?;
    let (mut mine, mut holder) = (None, None);
    for row in &rows {
        let row = read(row)?;
        if row.device == call.device {
            mine = Some(row);
        } else {
            holder = Some(row.device_key.0);
        }
    }
    Ok((mine, holder))
}

/// Whether a person has as many devices in an app as anybody may. Somebody known by nothing but a device has that one.
async fn is_full(
    client: &impl GenericClient,
    app: AppKey,
    person: &Person,
) -> std::result::Result<bool, tokio_postgres::Error> {
    const LAST: &str = "SELECT 1 FROM devices WHERE app_key = $1 AND person = $2 AND state <> 5 AND state IN (1, 2)
                        ORDER BY device_key OFFSET $3 LIMIT 1";
    if person.device_id().is_some() {
        return Ok(false);
    }
    let statement = client.prepare_cached(LAST).await?;
    let before_last = limits::PERSON_DEVICES as i64 - 1;
    Ok(client.query_opt(&statement, &[&app.0, &person.key(), &before_last]).await?.is_some())
}

fn too_many(merged: &Merged) -> Faults {
    let pointer = if merged.user_id.is_some() { "/user_id" } else { "/phone" };
    let most = limits::PERSON_DEVICES;
    let mut faults = Faults::new();
    faults.add(
        pointer,
        format!("has {most} devices in this app already, the most a person may have; DELETE or unlink some"),
    );
    faults
}

/// The token is another device's now.
async fn lose_token(transaction: &Transaction<'_>, holder: i64) -> std::result::Result<(), Attempt> {
    let statement = transaction
        .prepare_cached("UPDATE devices SET state = 3, reason = $2, state_at = now() WHERE device_key = $1")
        .await?;
    transaction.execute(&statement, &[&holder, &Reason::TokenMoved.number()]).await?;
    Ok(())
}

async fn write(
    transaction: &Transaction<'_>,
    call: &Call<'_>,
    mine: Option<&Device>,
    merged: &Merged,
) -> std::result::Result<Device, Attempt> {
    let kept = mine.filter(|_| !merged.changes_hands);
    if let (Some(old), None) = (mine, kept) {
        let sql = format!("UPDATE devices SET {FORGET}, reason = $2 WHERE device_key = $1");
        let statement = transaction.prepare_cached(&sql).await?;
        transaction.execute(&statement, &[&old.device_key.0, &Reason::TokenMoved.number()]).await?;
    }
    if merged.primary && !kept.is_some_and(|row| row.primary) {
        step_down(transaction, call.app, &merged.person).await?;
    }
    let values = Values::of(call, merged, mine);
    let row = match kept {
        Some(old) => {
            let statement = transaction.prepare_cached(&format!("{UPDATE} RETURNING {COLUMNS}, {SWITCH}")).await?;
            transaction.query_one(&statement, &values.update(&old.device_key.0)).await?
        }
        None => {
            let statement = transaction.prepare_cached(&format!("{INSERT} RETURNING {COLUMNS}, {SWITCH}")).await?;
            transaction.query_one(&statement, &values.insert()).await?
        }
    };
    Ok(read_shown(&row)?)
}

/// The person's primary device is another one now.
async fn step_down(transaction: &Transaction<'_>, app: AppKey, person: &Person) -> std::result::Result<(), Attempt> {
    let statement = transaction
        .prepare_cached(
            "UPDATE devices SET is_primary = false WHERE app_key = $1 AND person = $2 AND is_primary AND state <> 5",
        )
        .await?;
    transaction.execute(&statement, &[&app.0, &person.key()]).await?;
    Ok(())
}

/// Why an attempt came to nothing.
enum Attempt {
    /// Another writer was first: begin again.
    Lost,
    Failed(Error),
}

impl From<tokio_postgres::Error> for Attempt {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.code() {
            Some(code)
                if [
                    SqlState::UNIQUE_VIOLATION,
                    SqlState::T_R_DEADLOCK_DETECTED,
                    SqlState::T_R_SERIALIZATION_FAILURE,
                ]
                .contains(code) =>
            {
                Attempt::Lost
            }
            _ => Attempt::Failed(error.into()),
        }
    }
}

impl From<Error> for Attempt {
    fn from(error: Error) -> Self {
        Attempt::Failed(error)
    }
}
