//! Who a notification is for.

use crate::condition::Condition;
use crate::fault::{ErrorCode, Faults};
use crate::ids::{are_device_ids, are_user_ids, check_device_id, check_user_id, is_device_id, is_user_id};
use crate::limits;
use crate::names::Names;
use crate::phone::Phone;
use crate::platform::{Lane, Os, Platform, closed_list};

closed_list! {
    /// Which of a person's devices are reached.
    Deliver {
        /// All of them.
        EveryDevice = 1, "every_device";
        /// The primary one, else the one that was active last.
        PrimaryDevice = 2, "primary_device";
        /// The one that was active last.
        LastActiveDevice = 3, "last_active_device";
    }
}

/// (union of devices, users, phones, all) AND platforms AND os AND condition. A narrowing alone narrows `all`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audience {
    /// Devices by id; each is always reached, whatever `deliver` says.
    pub devices: Names,
    /// Users by the tenant's id.
    pub users: Names,
    /// Phone numbers.
    pub phones: Vec<Phone>,
    /// Every device of the app.
    pub all: bool,
    /// Only these platforms; all when empty.
    pub platforms: Vec<Platform>,
    /// Only these operating systems; all when empty.
    pub os: Vec<Os>,
    /// Only devices of which this is true.
    pub condition: Option<Condition>,
}

impl Audience {
    /// Whether the whole app is meant, narrowed or not.
    pub fn is_broad(&self) -> bool {
        self.all || (self.devices.is_empty() && self.users.is_empty() && self.phones.is_empty())
    }

    /// How many ids are listed.
    pub fn listed(&self) -> usize {
        self.devices.len() + self.users.len() + self.phones.len()
    }

    /// The lane it travels in.
    pub fn lane(&self) -> Lane {
        if self.is_broad() || self.listed() > limits::TRANSACTIONAL_IDS { Lane::Bulk } else { Lane::Transactional }
    }

    /// Whether devices of this platform are meant.
    pub fn admits(&self, platform: Platform) -> bool {
        self.platforms.is_empty() || self.platforms.contains(&platform)
    }

    /// Removes repeats and sorts, so that equal audiences are equal.
    pub fn normalize(&mut self) {
        self.devices.normalize();
        self.users.normalize();
        normalize(&mut self.phones);
        normalize(&mut self.platforms);
        normalize(&mut self.os);
    }

    /// Checks ids and bounds. Pointers start with `at` (`/to`).
    pub fn check(&self, faults: &mut Faults, at: &str) {
        let narrowed = !self.platforms.is_empty() || !self.os.is_empty() || self.condition.is_some();
        if self.listed() == 0 && !self.all && !narrowed {
            faults.add(at, "names nobody; give devices, users, phones, platforms, os, where, or `all: true`");
        }
        if self.listed() > limits::AUDIENCE_IDS {
            let detail = format!("{} ids over all lists, at most {} are allowed", self.listed(), limits::AUDIENCE_IDS);
            faults.add_code(ErrorCode::TooManyRecipients, at, detail);
        }
        // Of thousands, each is looked at only when something is wrong with one of them, and a pointer made only of what is.
        if !are_device_ids(&self.devices) {
            for (i, id) in self.devices.iter().enumerate().filter(|(_, id)| !is_device_id(id)) {
                check_device_id(faults, &format!("{at}/devices/{i}"), id);
            }
        }
        if !are_user_ids(&self.users) {
            for (i, id) in self.users.iter().enumerate().filter(|(_, id)| !is_user_id(id)) {
                check_user_id(faults, &format!("{at}/users/{i}"), id);
            }
        }
    }
}

fn normalize<T: Ord>(list: &mut Vec<T>) {
    list.sort_unstable();
    list.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_put_in_order_and_say_everything_once() {
        let mut audience = Audience {
            users: ["b", "a", "b"].into(),
            platforms: vec![Platform::Fcm, Platform::Apns, Platform::Fcm],
            ..Default::default()
        };
        audience.normalize();
        assert_eq!((audience.users, audience.platforms), (["a", "b"].into(), vec![Platform::Apns, Platform::Fcm]));
    }

    #[test]
    fn a_narrowing_alone_narrows_all() {
        let ios = Audience { os: vec![Os::Ios], ..Default::default() };
        let mut faults = Faults::new();
        ios.check(&mut faults, "/to");
        assert!(faults.is_empty() && ios.is_broad());
        assert_eq!(ios.lane(), Lane::Bulk);
        let tagged = Audience { condition: Condition::parse("tags has 'vip'").ok(), ..Default::default() };
        tagged.check(&mut faults, "/to");
        assert!(faults.is_empty() && tagged.is_broad());
    }

    #[test]
    fn an_audience_of_nobody_is_refused() {
        let mut faults = Faults::new();
        Audience::default().check(&mut faults, "/to");
        assert_eq!(faults.as_slice()[0].pointer, "/to");
    }

    #[test]
    fn few_listed_people_travel_in_the_transactional_lane() {
        let of = |n: usize| Audience { users: (0..n).map(|i| i.to_string()).collect(), ..Default::default() };
        assert_eq!((of(64).lane(), of(65).lane()), (Lane::Transactional, Lane::Bulk));
        let mut faults = Faults::new();
        of(2001).check(&mut faults, "/to");
        assert_eq!(faults.code(), ErrorCode::TooManyRecipients);
    }
}
