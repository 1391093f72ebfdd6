//! A device as its row has it.

use crate::{Error, Result};
use carillon_domain::delivery_status::Reason;
use carillon_domain::device::{DeviceState, Environment, Permission};
use carillon_domain::ids::{AppKey, DeviceKey};
use carillon_domain::phone::Phone;
use carillon_domain::platform::{Os, Platform};
use carillon_domain::push_token::PushToken;
use jiff::Timestamp;
use tokio_postgres::Row;

/// What [`read`] reads, in its order.
pub(super) const COLUMNS: &str = "device_key, app_key, device, platform, os, token, is_fid, p256dh, auth, environment,
    generation, user_id, phone, name, locale, timezone, is_primary, permission, tags, attributes::text, app_version,
    os_version, state, reason, registered_at, last_seen_at,
    greatest(last_sent_at, carillon_last_sent(device_key)), secret_hash";

/// The index of the column after [`COLUMNS`].
pub(super) const AFTER_COLUMNS: usize = 28;

/// Whether push is switched on for the device's app and account; stands after [`COLUMNS`] for [`read_shown`].
pub(super) const SWITCH: &str =
    "(SELECT t.push_enabled AND a.push_enabled FROM apps a JOIN tenants t ON t.tenant_key = a.tenant_key
    WHERE a.app_key = devices.app_key)";

/// A device. `Debug` shows neither its token nor its person.
#[derive(Clone, PartialEq, Eq)]
pub struct Device {
    /// The installation in this person's hands.
    pub device_key: DeviceKey,
    /// The app.
    pub app_key: AppKey,
    /// The public id.
    pub device: String,
    /// Whose token.
    pub platform: Platform,
    /// Operating system.
    pub os: Os,
    /// Where pushes go; none once forgotten.
    pub token: Option<PushToken>,
    /// Apple's environment.
    pub environment: Environment,
    /// Rises with every registration of a token.
    pub generation: u32,
    /// The tenant's user.
    pub user_id: Option<String>,
    /// The person's phone.
    pub phone: Option<Phone>,
    /// A name for people.
    pub name: Option<String>,
    /// BCP 47 tag.
    pub locale: Option<String>,
    /// IANA zone.
    pub timezone: Option<String>,
    /// The person's main device in the app.
    pub primary: bool,
    /// Permission to show.
    pub permission: Permission,
    /// Tags.
    pub tags: Vec<String>,
    /// Attributes: the text of a JSON object.
    pub attributes: String,
    /// The app's version.
    pub app_version: Option<String>,
    /// The system's version.
    pub os_version: Option<String>,
    /// Where it stands.
    pub state: DeviceState,
    /// Why, unless it is active.
    pub reason: Option<Reason>,
    /// When its token was registered last.
    pub registered_at: Timestamp,
    /// When the app last spoke for it.
    pub last_seen_at: Timestamp,
    /// When a push was last accepted for it, to the hour and a little late.
    pub last_sent_at: Option<Timestamp>,
    /// The hash of the installation's own key.
    pub(super) secret_hash: Option<Vec<u8>>,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device")
            .field("device_key", &self.device_key)
            .field("device", &self.device)
            .field("platform", &self.platform)
            .field("state", &self.state)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// Reads [`COLUMNS`].
pub(super) fn read(row: &Row) -> Result<Device> {
    let corrupt = || Error::corrupt("a device");
    let platform = Platform::from_number(row.get(3)).ok_or_else(corrupt)?;
    Ok(Device {
        device_key: DeviceKey(row.get(0)),
        app_key: AppKey(row.get(1)),
        device: row.get(2),
        platform,
        os: Os::from_number(row.get(4)).ok_or_else(corrupt)?,
        token: token(row, platform)?,
        environment: Environment::from_number(row.get(9)).ok_or_else(corrupt)?,
        generation: u32::try_from(row.get::<_, i32>(10)).map_err(|_| corrupt())?,
        user_id: row.get(11),
        phone: row.get::<_, Option<String>>(12).map(Phone::from_e164),
        name: row.get(13),
        locale: row.get(14),
        timezone: row.get(15),
        primary: row.get(16),
        permission: Permission::from_number(row.get(17)).ok_or_else(corrupt)?,
        tags: row.get(18),
        attributes: row.get(19),
        app_version: row.get(20),
        os_version: row.get(21),
        state: DeviceState::from_number(row.get(22)).ok_or_else(corrupt)?,
        reason: row.get::<_, Option<i16>>(23).and_then(Reason::from_number),
        registered_at: row.get(24),
        last_seen_at: row.get(25),
        last_sent_at: row.get(26),
        secret_hash: row.get(27),
    })
}

/// A device as callers see it: what the switch turned off is inactive, and says so. Its own state is kept in the row, for the
/// day on which the switch is turned on again.
pub(super) fn read_shown(row: &Row) -> Result<Device> {
    let device = read(row)?;
    let push_enabled: Option<bool> = row.get(AFTER_COLUMNS);
    Ok(if push_enabled == Some(false) { switched_off(device) } else { device })
}

/// A device under a switch that is off.
pub(super) fn switched_off(device: Device) -> Device {
    match device.state {
        DeviceState::Active => Device { state: DeviceState::Inactive, reason: Some(Reason::PushDisabled), ..device },
        _ => device,
    }
}

fn token(row: &Row, platform: Platform) -> Result<Option<PushToken>> {
    let Some(identity) = row.get::<_, Option<String>>(5) else { return Ok(None) };
    Ok(Some(match platform {
        Platform::Apns => PushToken::Apns(identity),
        Platform::Fcm if row.get::<_, bool>(6) => PushToken::FcmInstallation(identity),
        Platform::Fcm => PushToken::Fcm(identity),
        Platform::Webpush => {
            let key = |column| row.get::<_, Option<Vec<u8>>>(column).ok_or_else(|| Error::corrupt("a subscription"));
            PushToken::Webpush { endpoint: identity, p256dh: key(7)?, auth: key(8)? }
        }
    }))
}
