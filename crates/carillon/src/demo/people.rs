//! The cast: who has which devices in which app. The same in every run but for the tokens.

use std::collections::HashMap;

use anyhow::Result;
use serde_json::{Value, json};

use super::judge::Address;
use crate::random;

/// Users of both apps together.
pub(crate) const USERS: usize = 1_000;
/// Devices of both apps together: one to five a user.
pub(crate) const DEVICES: usize = 3_000;
/// The app that most of them use.
pub(crate) const SHOP: &str = "shop";
/// The app that must not get what is meant for the other one.
pub(crate) const NEWS: &str = "news";

/// A device that will register.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub(crate) id: String,
    pub(crate) app: &'static str,
    pub(crate) user: String,
    pub(crate) phone: Option<String>,
    pub(crate) platform: &'static str,
    /// As the ledger names it; for Web Push the endpoint.
    pub(crate) token: String,
    /// The body of its registration.
    pub(crate) body: Value,
}

/// Everybody.
#[derive(Debug, Default)]
pub(crate) struct People {
    pub(crate) devices: Vec<Device>,
    by_id: HashMap<String, usize>,
}

/// The app of a user: one in twenty reads the news.
pub(crate) fn app_of(user: usize) -> &'static str {
    if user % 20 == 19 { NEWS } else { SHOP }
}

/// Of ten devices five are iPhones, three Androids, two browsers.
pub(crate) fn platform_of(device: usize) -> &'static str {
    match device % 10 {
        0..5 => "apns",
        5..8 => "fcm",
        _ => "webpush",
    }
}

fn phone_of(user: usize) -> Option<String> {
    user.is_multiple_of(3).then(|| phone(user))
}

/// A mobile number of the Polish numbering plan.
pub(crate) fn phone(number: usize) -> String {
    format!("+48501{:06}", 100_000 + number)
}

/// The users that the devices belong to, one entry a device.
pub(crate) fn owners() -> Vec<usize> {
    (0..USERS).flat_map(|user| std::iter::repeat_n(user, user % 5 + 1)).collect()
}

/// How many Web Push subscriptions an app's devices need.
pub(crate) fn browsers(app: &str) -> usize {
    let of_app = |(device, user): &(usize, usize)| app_of(*user) == app && platform_of(*device) == "webpush";
    owners().into_iter().enumerate().filter(of_app).count()
}

impl People {
    /// Everybody, with fresh tokens; subscriptions are used up from the lists, one an app.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub(crate) fn new(mut subscriptions: HashMap<&'static str, Vec<Value>>) -> Result<Self> {
        let mut people = Self::default();
        for (number, user) in owners().into_iter().enumerate() {
            let app = app_of(user);
            let (platform, user_id, phone) = (platform_of(number), format!("u-{user:04}"), phone_of(user));
            let mut body = json!({
                "platform": platform, "user_id": user_id, "locale": if user % 2 == 0 { "en-GB" } else { "pl-PL" },
                "timezone": "Europe/Warsaw", "app_version": "4.2.0", "permission": "granted",
            });
            if let Some(phone) = &phone {
                body["phone"] = json!(phone);
            }
            let token = match platform {
                "apns" => {
                    let token = random::hex()?;
                    body["token"] = json!(token);
                    body["os"] = json!("ios");
                    body["environment"] = json!("production");
                    token
                }
                "fcm" => {
                    let token = format!("{}:APA91b{}", random::token()?, random::token()?);
                    body["token"] = json!(token);
                    body["os"] = json!("android");
                    token
                }
                _ => {
                    let made = subscriptions.get_mut(app).and_then(Vec::pop).unwrap_or_default();
                    let endpoint = made["endpoint"].as_str().unwrap_or_default().to_owned();
                    body["subscription"] = made;
                    body["os"] = json!("web");
                    endpoint
                }
            };
            people.add(Device { id: format!("d-{number:04}"), app, user: user_id, phone, platform, token, body });
        }
        Ok(people)
    }

    /// One more.
    pub(crate) fn add(&mut self, device: Device) {
        self.by_id.insert(device.id.clone(), self.devices.len());
        self.devices.push(device);
    }

    /// The devices of an app.
    pub(crate) fn of_app(&self, app: &str) -> impl Iterator<Item = &Device> {
        self.devices.iter().filter(move |device| device.app == app)
    }

    /// The devices of a user.
    pub(crate) fn of_user(&self, user: &str) -> impl Iterator<Item = &Device> {
        self.devices.iter().filter(move |device| device.user == user)
    }

    /// One device.
    pub(crate) fn get(&self, id: &str) -> Option<&Device> {
        self.devices.get(*self.by_id.get(id)?)
    }

    /// Where the pushes of a device go.
    pub(crate) fn address_of(&self, id: &str) -> Option<Address> {
        self.get(id).map(|device| (device.platform.to_owned(), device.token.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people() -> People {
        let made = |app: &'static str| {
            let one = |n: usize| json!({"endpoint": format!("https://push.example/{app}/{n}"), "keys": {}});
            (app, (0..browsers(app)).map(one).collect())
        };
        People::new([made(SHOP), made(NEWS)].into()).unwrap()
    }

    #[test]
    fn three_thousand_devices_of_a_thousand_users_in_two_apps() {
        let people = people();
        assert_eq!(people.devices.len(), DEVICES);
        let users: std::collections::HashSet<_> = people.devices.iter().map(|device| &device.user).collect();
        assert_eq!(users.len(), USERS);
        assert_eq!(people.of_app(SHOP).count() + people.of_app(NEWS).count(), DEVICES);
        assert_eq!(people.of_app(NEWS).count(), 250);
        assert!(people.of_user("u-0004").count() == 5 && people.of_user("u-0005").count() == 1);
    }

    #[test]
    fn every_token_is_one_devices_and_every_platform_is_there() {
        let people = people();
        let tokens: std::collections::HashSet<_> = people.devices.iter().map(|device| &device.token).collect();
        assert_eq!(tokens.len(), DEVICES);
        for platform in ["apns", "fcm", "webpush"] {
            assert!(people.of_app(SHOP).filter(|device| device.platform == platform).count() > 400);
        }
        let phones = people.devices.iter().filter(|device| device.phone.is_some()).count();
        assert!(phones > 500 && phones < DEVICES);
    }

    #[test]
    fn the_address_is_what_the_ledger_writes() {
        let people = people();
        let (platform, token) = people.address_of("d-0000").unwrap();
        assert_eq!((platform.as_str(), token.len()), ("apns", 64));
        assert_eq!(people.address_of("nobody"), None);
    }
}
