//! From devices to chunks and messages, against what must hold whatever the audience: every device once, persons whole, bounds kept.

mod audiences;
mod messages;
mod plans;

use carillon_domain::content::{Content, Localized};
use carillon_domain::device::{DeviceState, Environment, Permission};
use carillon_domain::ids::{AppKey, DeviceKey, NotificationId, TenantKey};
use carillon_domain::notification::{Draft, Notification};
use carillon_domain::person::Person;
use carillon_domain::platform::{Lane, Os, Platform};
use carillon_payload::{Facts, Variants};
use carillon_store::{Recipient, RunRow};
use jiff::Timestamp;
use uuid::Uuid;

/// A device that can be sent to.
fn device(key: i64, person: &str, platform: Platform) -> Recipient {
    Recipient {
        key: DeviceKey(key),
        device: format!("d{key}"),
        person: Person::from_key(person),
        platform,
        os: platform.default_os(),
        token: format!("{key:064x}"),
        is_installation: false,
        p256dh: Vec::new(),
        auth: Vec::new(),
        environment: Environment::Production,
        generation: 1,
        locale: None,
        phone: None,
        permission: Permission::Granted,
        is_primary: false,
        last_seen_at: at(key),
        state: DeviceState::Active,
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).unwrap()
}

/// Something to say, in so many languages beside its own.
fn notification(locales: usize) -> Notification {
    let localized =
        (0..locales).map(|i| Localized { locale: locale(i), title: Some(format!("Title {i}")), ..Default::default() });
    Notification::accepted(Draft {
        app: "shop".into(),
        content: Content { title: Some("Title".into()), localized: localized.collect(), ..Default::default() },
        ..Default::default()
    })
}

fn locale(i: usize) -> String {
    format!("{}{}", char::from(b'a' + (i / 26) as u8), char::from(b'a' + (i % 26) as u8))
}

fn facts() -> Facts<'static> {
    Facts {
        notification_id: NotificationId(Uuid::nil()),
        link: 0,
        expires_at: at(3_600),
        icon_url: None,
        default_locale: None,
    }
}

fn variants(notification: &Notification) -> Variants {
    Variants::of(notification, &facts())
}

/// A locked row as the store returns it.
fn row(notification: &Notification, scheduled_at: Option<Timestamp>) -> RunRow {
    RunRow {
        notification_id: NotificationId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001)),
        tenant_key: TenantKey(1),
        tenant: "acme".into(),
        app_key: AppKey(1),
        icon_url: None,
        default_locale: None,
        push_enabled: true,
        body: carillon_wire::encode_body(notification),
        lane: Lane::Transactional,
        created_at: at(0),
        scheduled_at,
        run: None,
        cursor: None,
        next_chunk: 0,
        next_person: 0,
        epoch: 0,
    }
}

fn os_of(platform: Platform) -> Os {
    platform.default_os()
}
