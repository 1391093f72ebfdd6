//! Listings of an app's devices.

use super::row::{AFTER_COLUMNS as SEEN_AT, COLUMNS, Device, read, switched_off};
use crate::{Cursor, Listed, PageRequest, Result, Store};
use carillon_domain::device::DeviceState;
use carillon_domain::ids::{AppKey, TenantKey};
use carillon_domain::limits;
use carillon_domain::person::Person;
use carillon_domain::phone::Phone;
use carillon_domain::platform::{Os, Platform};
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

/// What a listing of devices is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct DeviceFilter {
    /// The tenant's user.
    pub user_id: Option<String>,
    /// The person's phone.
    pub phone: Option<Phone>,
    /// Whose token.
    pub platform: Option<Platform>,
    /// Operating system.
    pub os: Option<Os>,
    /// Where it stands; active and inactive ones when absent.
    pub state: Option<DeviceState>,
    /// Tags, all of which the device has.
    pub tags: Vec<String>,
}

/// Which states are meant: with push switched on, and off. Off, what is active is shown as inactive.
fn states(asked: Option<DeviceState>) -> (Vec<i16>, Vec<i16>) {
    use DeviceState::{Active, Inactive};
    let numbers = |states: &[DeviceState]| states.iter().map(|state| state.number()).collect();
    match asked {
        None => (numbers(&[Active, Inactive]), numbers(&[Active, Inactive])),
        Some(Active) => (numbers(&[Active]), Vec::new()),
        Some(Inactive) => (numbers(&[Inactive]), numbers(&[Active, Inactive])),
        Some(other) => (numbers(&[other]), numbers(&[other])),
    }
}

/// Devices that one page looks at for filters without an index (platform, system, tags). A page that comes to this
/// bound is short and says where the next one begins, so that a rare tag costs many pages and no long statement.
const WINDOW: i64 = 10_000;

/// The newest rows after the cursor, all columns, at most `most`. Parameters: app, tenant, state or states, cursor, person, phone.
fn newest(single_state: bool, most: i64) -> String {
    // One state is given as one, so that an index by state is in the order of the keys.
    let state = if single_state { "state = $3::smallint" } else { "state = ANY($3::smallint[])" };
    format!(
        "SELECT * FROM devices
         WHERE app_key = $1 AND tenant_key = $2 AND state <> 5 AND {state} AND device_key < $4
           AND ($5::text IS NULL OR person = $5) AND ($6::text IS NULL OR phone = $6)
         ORDER BY device_key DESC LIMIT {most}"
    )
}

/// A page of what needs no further filter.
fn plain_page(single_state: bool) -> String {
    format!("SELECT {COLUMNS} FROM ({}) devices LIMIT $7", newest(single_state, i64::from(limits::PAGE.1) + 1))
}

/// A page of what does, with the number of rows that were looked at and the key of the last of them.
fn filtered_page(single_state: bool) -> String {
    format!(
        "WITH looked_at AS MATERIALIZED ({})
         SELECT page.*, seen.rows, seen.last
         FROM (SELECT count(*) AS rows, min(device_key) AS last FROM looked_at) seen
         LEFT JOIN LATERAL (
             SELECT {COLUMNS} FROM looked_at
             WHERE ($8::smallint IS NULL OR platform = $8) AND ($9::smallint IS NULL OR os = $9) AND tags @> $10
             ORDER BY device_key DESC LIMIT $7) page ON true",
        newest(single_state, WINDOW)
    )
}

impl Store {
    /// A page of an app's devices, the newest first, as they stand with the switches of the app and the account.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn list_devices(
        &self,
        tenant: TenantKey,
        app: AppKey,
        filter: &DeviceFilter,
        page: &PageRequest<i64>,
    ) -> Result<Listed<Device, i64>> {
        let push_enabled = self.push_enabled(tenant, app).await?;
        let (on, off) = states(filter.state);
        let states = if push_enabled { on } else { off };
        if states.is_empty() {
            return Ok(Listed { items: Vec::new(), next: None });
        }
        let (_, before, limit) = page.parts();
        let person = filter.user_id.as_deref().map(|user| Person::user(user).key().to_owned());
        let phone = filter.phone.as_ref().map(Phone::as_str);
        let before = before.unwrap_or(&i64::MAX);
        let single = states.len() == 1;
        let state: &(dyn ToSql + Sync) = if single { &states[0] } else { &states };
        let mut parameters = vec![&app.0 as &(dyn ToSql + Sync), &tenant.0, state, before, &person, &phone, &limit];
        // One switch for the filter and for what is shown, whoever turns it meanwhile.
        let shown = |row: &Row| if push_enabled { read(row) } else { read(row).map(switched_off) };
        let end = |device: &Device| Cursor { at: device.registered_at, id: device.device_key.0 };
        if filter.platform.is_none() && filter.os.is_none() && filter.tags.is_empty() {
            return page.cut(&self.planned_rows(&plain_page(single), &parameters).await?, shown, end);
        }
        let (platform, os) = (filter.platform.map(Platform::number), filter.os.map(Os::number));
        parameters.extend([&platform as &(dyn ToSql + Sync), &os, &filter.tags]);
        let mut rows = self.planned_rows(&filtered_page(single), &parameters).await?;
        let looked_at = rows.first().map(|row| (row.get::<_, i64>(SEEN_AT), row.get::<_, Option<i64>>(SEEN_AT + 1)));
        rows.retain(|row| row.get::<_, Option<i64>>(0).is_some());
        let mut listed = page.cut(&rows, shown, end)?;
        if let (None, Some((WINDOW, Some(last)))) = (&listed.next, looked_at) {
            listed.next = Some(Cursor { at: Timestamp::UNIX_EPOCH, id: last });
        }
        Ok(listed)
    }

    /// Whether push is switched on for an app and its account.
    async fn push_enabled(&self, tenant: TenantKey, app: AppKey) -> Result<bool> {
        const SQL: &str =
            "SELECT t.push_enabled AND a.push_enabled FROM apps a JOIN tenants t ON t.tenant_key = a.tenant_key
                           WHERE a.app_key = $1 AND a.tenant_key = $2";
        Ok(self.maybe_row(SQL, &[&app.0, &tenant.0]).await?.is_some_and(|row| row.get(0)))
    }
}

#[cfg(test)]
mod tests;
