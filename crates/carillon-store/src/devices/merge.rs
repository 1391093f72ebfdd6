//! What a change makes of a device: pure.

use super::row::Device;
use carillon_domain::delivery_status::Reason;
use carillon_domain::device::{Change, DeviceChange, DeviceState, Environment, Permission};
use carillon_domain::fault::Faults;
use carillon_domain::limits;
use carillon_domain::person::Person;
use carillon_domain::phone::Phone;
use carillon_domain::platform::{Os, Platform};
use carillon_domain::push_token::PushToken;
use serde_json::{Map, Value};

/// A device as it should be after a change.
#[derive(Clone, Debug)]
pub(super) struct Merged {
    pub(super) platform: Platform,
    pub(super) os: Os,
    pub(super) token: Option<PushToken>,
    pub(super) environment: Environment,
    pub(super) generation: i32,
    pub(super) user_id: Option<String>,
    pub(super) phone: Option<Phone>,
    pub(super) person: Person,
    pub(super) name: Option<String>,
    pub(super) locale: Option<String>,
    pub(super) timezone: Option<String>,
    pub(super) primary: bool,
    pub(super) permission: Permission,
    pub(super) tags: Vec<String>,
    /// Attributes before, what is set (both texts of JSON objects), and the names that are removed.
    pub(super) attributes: (String, String, Vec<String>),
    pub(super) app_version: Option<String>,
    pub(super) os_version: Option<String>,
    pub(super) state: DeviceState,
    pub(super) reason: Option<Reason>,
    /// A token is registered: its time and generation move on.
    pub(super) registers: bool,
    /// The device was another person's: its row is forgotten, this one is new.
    pub(super) changes_hands: bool,
}

/// Merges `change` into what is known (RFC 7396). `checked` faults of form are the caller's; here is only what needs the device.
pub(super) fn merge(device: &str, old: Option<&Device>, change: &DeviceChange) -> Result<Merged, Faults> {
    let mut faults = Faults::new();
    let token = change.token.as_ref().or_else(|| old.and_then(|row| row.token.as_ref())).cloned();
    let Some(platform) = token.as_ref().map(PushToken::platform).or_else(|| old.map(|row| row.platform)) else {
        faults.add("/token", "a new device needs a token, a fid or a subscription");
        return Err(faults);
    };
    if change.platform.is_some_and(|asked| asked != platform) {
        faults.add(
            "/platform",
            format!("the device has a token of {}; register one of the new platform", platform.as_str()),
        );
    }
    let user_id = merged(&change.user_id, old.and_then(|row| row.user_id.as_ref()));
    let phone = merged(&change.phone, old.and_then(|row| row.phone.as_ref()));
    let person = Person::of_device(user_id.as_deref(), phone.as_ref().map(Phone::as_str), device);
    let changes_hands = old.is_some_and(|row| person_of(row) != person);
    let registers = change.token.is_some();
    let (state, reason) = state(old, change, registers);
    let text = |new: &Change<String>, old: Option<&String>| merged(new, old);
    let value = Merged {
        platform,
        os: os(platform, old, change),
        environment: environment(old, change),
        generation: old.map_or(0, |row| i32::try_from(row.generation).unwrap_or(i32::MAX - 1)) + i32::from(registers),
        // Being somebody's main device says nothing about the next person.
        primary: change.primary.unwrap_or_else(|| !changes_hands && old.is_some_and(|row| row.primary)),
        permission: change.permission.unwrap_or_else(|| old.map_or(Permission::Unknown, |row| row.permission)),
        tags: change.tags.clone().unwrap_or_else(|| old.map(|row| row.tags.clone()).unwrap_or_default()),
        attributes: attributes(old, change, &mut faults),
        name: text(&change.name, old.and_then(|row| row.name.as_ref())),
        locale: text(&change.locale, old.and_then(|row| row.locale.as_ref())),
        timezone: text(&change.timezone, old.and_then(|row| row.timezone.as_ref())),
        app_version: text(&change.app_version, old.and_then(|row| row.app_version.as_ref())),
        os_version: text(&change.os_version, old.and_then(|row| row.os_version.as_ref())),
        token,
        user_id,
        phone,
        person,
        state,
        reason,
        registers,
        changes_hands,
    };
    faults.into_result(value)
}

/// The person a device belongs to.
pub(super) fn person_of(row: &Device) -> Person {
    Person::of_device(row.user_id.as_deref(), row.phone.as_ref().map(Phone::as_str), &row.device)
}

fn merged<T: Clone>(change: &Change<T>, old: Option<&T>) -> Option<T> {
    match change {
        Some(new) => new.clone(),
        None => old.cloned(),
    }
}

fn os(platform: Platform, old: Option<&Device>, change: &DeviceChange) -> Os {
    let known = old.filter(|row| row.platform == platform).map(|row| row.os);
    change.os.or(known).unwrap_or_else(|| platform.default_os())
}

/// A new token may be of the other environment, unless the caller says which.
fn environment(old: Option<&Device>, change: &DeviceChange) -> Environment {
    let same_token = old.filter(|row| change.token.is_none() || change.token == row.token);
    change.environment.unwrap_or_else(|| same_token.map_or(Environment::Unknown, |row| row.environment))
}

/// Only a registration revives what is invalid; `active` is a switch of its own.
fn state(old: Option<&Device>, change: &DeviceChange, registers: bool) -> (DeviceState, Option<Reason>) {
    let known = old.map_or((DeviceState::Active, None), |row| (row.state, row.reason));
    let revived = match known.0 {
        DeviceState::Invalid if registers => (DeviceState::Active, None),
        _ => known,
    };
    match (revived.0, change.active) {
        (DeviceState::Active | DeviceState::Inactive, Some(true)) => (DeviceState::Active, None),
        (DeviceState::Active | DeviceState::Inactive, Some(false)) => (DeviceState::Inactive, Some(Reason::Inactive)),
        _ => revived,
    }
}

fn attributes(old: Option<&Device>, change: &DeviceChange, faults: &mut Faults) -> (String, String, Vec<String>) {
    let kept = old.filter(|_| !change.clear_attributes);
    let before = kept.map_or("{}", |row| row.attributes.as_str());
    let mut names: Map<String, Value> = serde_json::from_str(before).unwrap_or_default();
    let mut removed = Vec::new();
    let mut set = Vec::new();
    for (name, value) in &change.attributes {
        match value {
            // The value stays the text it was, so that no number is rounded.
            Some(text) => {
                set.push(format!("{}:{text}", Value::from(name.as_str())));
                names.insert(name.clone(), Value::Null);
            }
            None => {
                removed.push(name.clone());
                names.remove(name);
            }
        }
    }
    if names.len() > limits::ATTRIBUTES {
        faults.add(
            "/attributes",
            format!("the device would have {} attributes, at most {} are kept", names.len(), limits::ATTRIBUTES),
        );
    }
    (before.to_owned(), format!("{{{}}}", set.join(",")), removed)
}
