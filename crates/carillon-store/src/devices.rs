//! Devices: registering, merging, moving tokens and forgetting.
//!
//! The rules (contract, section 5): one (app, token) is one device, the last registration takes it; a device that changes hands
//! is forgotten and its id goes to a new row; a person has one primary device in an app. Writers of one device, token or person
//! meet at row locks, taken in the order of the keys, and at unique indexes; who loses a race begins again.

mod merge;
mod put;
mod row;

pub use put::{Registered, Registrar};
pub use row::Device;

use crate::{Cursor, Listed, PageRequest, Result, Store};
use carillon_domain::device::DeviceState;
use carillon_domain::ids::{AppKey, TenantKey};
use carillon_domain::person::Person;
use carillon_domain::phone::Phone;
use carillon_domain::platform::{Os, Platform};
use carillon_failpoint::Point;
use row::COLUMNS;

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

impl Store {
    /// One device that was not forgotten; an invalid one too.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn get_device(&self, tenant: TenantKey, app: AppKey, device: &str) -> Result<Option<Device>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM devices WHERE app_key = $1 AND device = $2 AND state <> 5 AND tenant_key = $3"
        );
        let found = self.maybe_row(&sql, &[&app.0, &device, &tenant.0]).await?;
        found.as_ref().map(row::read).transpose()
    }

    /// A page of an app's devices, the newest first.
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
        let (_, before, limit) = page.parts();
        let states: Vec<i16> = match filter.state {
            Some(state) => vec![state.number()],
            None => vec![DeviceState::Active.number(), DeviceState::Inactive.number()],
        };
        // A user's devices are found by the person, which has an index; the other filters walk the app.
        let person = filter.user_id.as_deref().map(|user| Person::user(user).key().to_owned());
        let sql = format!(
            "SELECT {COLUMNS} FROM devices
             WHERE app_key = $1 AND tenant_key = $2 AND state <> 5 AND state = ANY($3) AND device_key < $4
               AND ($5::text IS NULL OR person = $5) AND ($6::text IS NULL OR phone = $6)
               AND ($7::smallint IS NULL OR platform = $7) AND ($8::smallint IS NULL OR os = $8) AND tags @> $9
             ORDER BY device_key DESC LIMIT $10"
        );
        let rows = self
            .rows(
                &sql,
                &[
                    &app.0,
                    &tenant.0,
                    &states,
                    before.unwrap_or(&i64::MAX),
                    &person,
                    &filter.phone.as_ref().map(Phone::as_str),
                    &filter.platform.map(Platform::number),
                    &filter.os.map(Os::number),
                    &filter.tags,
                    &limit,
                ],
            )
            .await?;
        page.cut(&rows, row::read, |device| Cursor { at: device.registered_at, id: device.device_key.0 })
    }

    /// Forgets a device: its token, keys and everything about the person are gone at once, the row itself stays until no message
    /// can name it. `false` when there is none.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn forget_device(&self, tenant: TenantKey, app: AppKey, device: &str) -> Result<bool> {
        let sql = format!(
            "UPDATE devices SET {}, reason = NULL WHERE app_key = $1 AND device = $2 AND state <> 5 AND tenant_key = $3",
            put::FORGET
        );
        Ok(self.write_count(Point::DevicesCommit, &sql, &[&app.0, &device, &tenant.0]).await? > 0)
    }
}
