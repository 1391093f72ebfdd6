//! The settings of a tenant, which the operator and the tenant itself may change.

use carillon_domain::content::is_locale;
use carillon_domain::limits;
use carillon_domain::span::Seconds;
use carillon_store::{Tenant, TenantChange};
use serde::Serialize;
use utoipa::ToSchema;

use crate::json::{FromJson, Object};

/// Seconds of a day.
const DAY: u32 = 86_400;
/// Days that history may be kept.
const RETENTION_DAYS: std::ops::RangeInclusive<u32> = 1..=400;

/// What the tenant may change of itself. What is absent stays, null clears.
#[derive(Debug, Default, ToSchema)]
#[allow(dead_code, reason = "the form of the document; it is read into a TenantChange")]
pub(super) struct SettingsBody {
    /// Off refuses registrations and sends, and deactivates the devices.
    push_enabled: Option<bool>,
    /// IANA zone of recipients who have none, such as `Europe/Warsaw`.
    default_timezone: Option<String>,
    /// ISO 3166-1 region of phone numbers without a country, such as `PL`.
    default_region: Option<String>,
    /// BCP 47 locale of recipients who have none.
    default_locale: Option<String>,
    /// How long history is kept: whole days, `1d` to `400d`.
    retention: Option<String>,
}

/// What the operator may change of a tenant. What is absent stays, null clears.
#[derive(Debug, Default, ToSchema)]
#[allow(dead_code, reason = "the form of the document; it is read into a TenantChange")]
pub(super) struct TenantBody {
    /// A name for people.
    name: Option<String>,
    /// Off refuses registrations and sends, and deactivates the devices.
    push_enabled: Option<bool>,
    /// IANA zone of recipients who have none, such as `Europe/Warsaw`.
    default_timezone: Option<String>,
    /// ISO 3166-1 region of phone numbers without a country, such as `PL`.
    default_region: Option<String>,
    /// BCP 47 locale of recipients who have none.
    default_locale: Option<String>,
    /// How long history is kept: whole days, `1d` to `400d`.
    retention: Option<String>,
}

/// The operator's change.
#[derive(Debug)]
pub(super) struct OperatorChange(pub(super) TenantChange);

impl FromJson for OperatorChange {
    const MAY_BE_ABSENT: bool = true;

    fn from_json(object: &mut Object<'_>) -> Option<Self> {
        let name = object.merge("name", |o, name| o.opt_text(name, limits::DEVICE_TEXT_BYTES));
        Some(Self(TenantChange { name, ..settings(object) }))
    }
}

/// The tenant's own change.
#[derive(Debug)]
pub(super) struct AccountChange(pub(super) TenantChange);

impl FromJson for AccountChange {
    fn from_json(object: &mut Object<'_>) -> Option<Self> {
        Some(Self(settings(object)))
    }
}

fn settings(object: &mut Object<'_>) -> TenantChange {
    TenantChange {
        name: None,
        push_enabled: object.boolean("push_enabled"),
        default_timezone: object.merge("default_timezone", |o, name| {
            o.parsed(name, "must be a zone of the IANA time zone database", |text| {
                is_zone(text).then(|| text.to_owned())
            })
        }),
        default_region: object.merge("default_region", |o, name| {
            o.parsed(name, "must be two capital letters (ISO 3166-1)", |text| is_region(text).then(|| text.to_owned()))
        }),
        default_locale: object.merge("default_locale", locale),
        retention_days: retention(object),
    }
}

/// A BCP 47 tag.
pub(super) fn locale(object: &mut Object<'_>, name: &'static str) -> Option<String> {
    object.parsed(name, "must be a BCP 47 language tag", |text| is_locale(text).then(|| text.to_owned()))
}

fn is_zone(text: &str) -> bool {
    text.len() <= limits::DEVICE_TEXT_BYTES && !text.contains('\0') && jiff::tz::TimeZone::get(text).is_ok()
}

fn is_region(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase())
}

fn retention(object: &mut Object<'_>) -> Option<i32> {
    let Seconds(seconds) = object.duration("retention")?;
    let days = seconds / DAY;
    if seconds % DAY != 0 || !RETENTION_DAYS.contains(&days) {
        object.fault("retention", "must be whole days, from 1d to 400d");
        return None;
    }
    i32::try_from(days).ok()
}

/// A tenant, as the operator and the tenant itself see it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TenantAnswer {
    /// Its id.
    tenant: String,
    /// A name for people.
    name: Option<String>,
    /// The switch.
    push_enabled: bool,
    /// IANA zone of recipients who have none.
    default_timezone: Option<String>,
    /// ISO 3166-1 region of phone numbers without a country.
    default_region: Option<String>,
    /// BCP 47 locale of recipients who have none.
    default_locale: Option<String>,
    /// How long history is kept.
    retention: String,
    /// When it was made.
    created_at: jiff::Timestamp,
}

impl From<Tenant> for TenantAnswer {
    fn from(tenant: Tenant) -> Self {
        Self {
            tenant: tenant.tenant,
            name: tenant.name,
            push_enabled: tenant.push_enabled,
            default_timezone: tenant.default_timezone,
            default_region: tenant.default_region,
            default_locale: tenant.default_locale,
            retention: format!("{}d", tenant.retention_days),
            created_at: tenant.created_at,
        }
    }
}
