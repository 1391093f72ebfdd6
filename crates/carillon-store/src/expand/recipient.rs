//! Devices as audiences and chunks need them.

use crate::{Error, Result};
use carillon_domain::device::{DeviceState, Environment, Permission};
use carillon_domain::ids::DeviceKey;
use carillon_domain::person::Person;
use carillon_domain::platform::{Os, Platform};
use deadpool_postgres::Transaction;
use futures::future::ready;
use futures::{Stream, TryStreamExt as _};
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

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

pub(super) const DEVICE_COLUMNS: &str = "d.device_key, d.device, d.person, d.platform, d.os, coalesce(d.token, ''), d.is_fid, \
    coalesce(d.p256dh, ''), coalesce(d.auth, ''), d.environment, d.generation, d.locale, d.phone, d.permission, d.is_primary, \
    d.last_seen_at, d.state";

pub(super) fn device_row(row: &Row, at: usize) -> Result<Recipient> {
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

/// The devices of chunks as they are now, for a later copy of their messages, one by one: thousands of rows beside the same devices would be twice
/// the memory. Missing keys are gone or changed hands.
pub(crate) async fn devices_by_key(
    client: &Transaction<'_>,
    keys: &[i64],
) -> Result<impl Stream<Item = Result<Recipient>>> {
    let sql = format!("SELECT {DEVICE_COLUMNS} FROM devices d WHERE d.device_key = ANY($1) AND d.state <> 5");
    let statement = client.prepare_cached(&sql).await?;
    let parameters: [&(dyn ToSql + Sync); 1] = [&keys];
    let rows = client.query_raw(&statement, parameters).await?;
    Ok(rows.map_err(Error::from).and_then(|row| ready(device_row(&row, 0))))
}
