//! Devices: registering, merging, moving tokens and forgetting.
//!
//! The rules (contract, section 5): one (app, token) is one device, the last registration takes it; a device that changes hands
//! is forgotten and its id goes to a new row; a person has one primary device in an app. Writers of one device, token or person
//! meet at row locks, taken in the order of the keys, and at unique indexes; who loses a race begins again.
//!
//! `push_enabled` off, on the account or the app, makes devices inactive without touching a row of them: it is read with them. So the
//! switch costs the same for ten devices and ten million, and on gives back exactly what off took.

mod list;
mod merge;
mod put;
mod row;
mod values;

pub use list::DeviceFilter;
pub use put::{Registered, Registrar};
pub use row::Device;

use crate::{Result, Store};
use carillon_domain::ids::{AppKey, TenantKey};
use carillon_failpoint::Point;
use row::{COLUMNS, SWITCH};

impl Store {
    /// One device that was not forgotten, as it stands with the switches of its app and account; an invalid one too.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn get_device(&self, tenant: TenantKey, app: AppKey, device: &str) -> Result<Option<Device>> {
        let sql = format!(
            "SELECT {COLUMNS}, {SWITCH} FROM devices
             WHERE app_key = $1 AND device = $2 AND state <> 5 AND tenant_key = $3"
        );
        let found = self.maybe_row(&sql, &[&app.0, &device, &tenant.0]).await?;
        found.as_ref().map(row::read_shown).transpose()
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
