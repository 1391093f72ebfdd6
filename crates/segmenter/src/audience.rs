//! Who is meant: from names and devices to persons with their devices.

use carillon_domain::audience::{Audience, Deliver};
use carillon_domain::device::DeviceState;
use carillon_domain::ids::{AppKey, DeviceKey};
use carillon_domain::person::Person;
use carillon_store::{Recipient, Selected, Selector, SelectorName};
use std::collections::{BTreeMap, HashSet};

/// A person and the devices a notification is for.
pub(crate) struct Addressee {
    pub person: Person,
    /// Devices to reach or to name as suppressed; none when the person has none that fits.
    pub devices: Vec<Recipient>,
    /// Why there is none: the person has only devices whose token is dead.
    pub only_invalid: bool,
    /// Where to text, and in which language.
    pub phone: Option<String>,
    pub locale: Option<String>,
}

/// Which of the devices that were found are meant.
pub(crate) struct Meant<'a> {
    pub to: &'a Audience,
    /// Those of which the condition is true; without it, all.
    pub meeting: Option<HashSet<DeviceKey>>,
}

impl Meant<'_> {
    fn fits(&self, device: &Recipient) -> bool {
        self.to.admits(device.platform)
            && (self.to.os.is_empty() || self.to.os.contains(&device.os))
            && self.meeting.as_ref().is_none_or(|meeting| meeting.contains(&device.key))
    }
}

/// The names of a listed audience, in the order devices, users, phones.
pub(crate) fn selectors(run: i32, app_key: AppKey, to: &Audience) -> Vec<Selector> {
    let names = to
        .devices
        .iter()
        .map(|d| SelectorName::Device(d.to_owned()))
        .chain(to.users.iter().map(|u| SelectorName::User(u.to_owned())))
        .chain(to.phones.iter().map(|p| SelectorName::Phone(p.as_str().to_owned())));
    names.map(|name| Selector { run, app_key, name }).collect()
}

/// Persons of a listed audience, in their order. `selectors` are the run's own; `found` and `absent` are indices into them. A name that nobody
/// answers to is a person without a device.
pub(crate) fn listed(
    meant: &Meant<'_>,
    deliver: Deliver,
    selectors: &[Selector],
    found: Vec<(usize, Recipient)>,
    absent: &HashSet<usize>,
) -> Vec<Addressee> {
    let mut persons: BTreeMap<Person, Vec<(bool, Recipient)>> = BTreeMap::new();
    // Who is named by a phone is texted at that one.
    let mut phones: BTreeMap<Person, String> = BTreeMap::new();
    for (selector, device) in found {
        let name = selectors.get(selector).map(|s| &s.name);
        if let Some(SelectorName::Phone(phone)) = name {
            phones.entry(device.person.clone()).or_insert_with(|| phone.clone());
        }
        let named = matches!(name, Some(SelectorName::Device(_)));
        persons.entry(device.person.clone()).or_default().push((named, device));
    }
    for selector in absent.iter().filter_map(|i| selectors.get(*i)) {
        let person = match &selector.name {
            SelectorName::Device(d) => Person::of_device(None, None, d),
            SelectorName::User(u) => Person::user(u),
            SelectorName::Phone(p) => Person::phone(p),
        };
        persons.entry(person).or_default();
    }
    let addressed = |(person, devices): (Person, _)| {
        let phone = phones.remove(&person);
        let addressee = addressee(meant, deliver, person, devices);
        Addressee { phone: phone.or(addressee.phone), ..addressee }
    };
    persons.into_iter().map(addressed).collect()
}

/// Persons of a page of a broad audience, in its order. All of its devices are meant.
pub(crate) fn paged(to: &Audience, deliver: Deliver, devices: Vec<Recipient>) -> Vec<Addressee> {
    let mut persons: Vec<(Person, Vec<(bool, Recipient)>)> = Vec::new();
    let named = |device: &Recipient| to.devices.contains(&device.device);
    for device in devices {
        match persons.last_mut() {
            Some((person, all)) if *person == device.person => all.push((named(&device), device)),
            _ => persons.push((device.person.clone(), vec![(named(&device), device)])),
        }
    }
    let meant = Meant { to, meeting: None };
    persons.into_iter().map(|(person, devices)| addressee(&meant, deliver, person, devices)).collect()
}

/// The next persons of a list after one, in the order of their keys: about `limit` devices, but whole persons and at least one. With them the
/// last of them, and whether nobody follows.
pub(crate) fn cut(people: Vec<Addressee>, after: Option<&str>, limit: usize) -> (Vec<Addressee>, Option<String>, bool) {
    let mut rest = people.into_iter().skip_while(|a| after.is_some_and(|after| a.person.key() <= after)).peekable();
    let (mut page, mut devices) = (Vec::new(), 0);
    while let Some(next) = rest.next_if(|a| page.is_empty() || devices + a.devices.len().max(1) <= limit) {
        devices += next.devices.len().max(1);
        page.push(next);
    }
    let cursor = page.last().map(|a: &Addressee| a.person.key().to_owned());
    (page, cursor, rest.peek().is_none())
}

fn addressee(meant: &Meant<'_>, deliver: Deliver, person: Person, mut devices: Vec<(bool, Recipient)>) -> Addressee {
    // The device heard of last speaks for the person where only one thing can be said.
    devices.sort_by_key(|(_, d)| std::cmp::Reverse(d.last_seen_at));
    let phone = person.phone_number().map(str::to_owned).or_else(|| devices.iter().find_map(|(_, d)| d.phone.clone()));
    let locale = devices.iter().find_map(|(_, d)| d.locale.clone());
    devices.retain(|(_, device)| meant.fits(device));
    let any_invalid = devices.iter().any(|(_, d)| d.state == DeviceState::Invalid);
    // A dead token is nobody's device any more; but who names a device by its id is told what became of it.
    devices.retain(|(named, d)| *named || d.state != DeviceState::Invalid);
    // A device may have been named twice, by its id and by its user.
    devices.sort_by_key(|(named, d)| (d.key, std::cmp::Reverse(*named)));
    devices.dedup_by_key(|(_, d)| d.key);
    let chosen = choose(deliver, devices);
    Addressee { person, only_invalid: any_invalid && chosen.is_empty(), devices: chosen, phone, locale }
}

/// Applies `deliver`: a device named by its id is always reached; no primary device: the last active one.
fn choose(deliver: Deliver, devices: Vec<(bool, Recipient)>) -> Vec<Recipient> {
    if deliver == Deliver::EveryDevice {
        return devices.into_iter().map(|(_, d)| d).collect();
    }
    let usable = |d: &Recipient| d.state == DeviceState::Active;
    let last_active = devices.iter().max_by_key(|(_, d)| (usable(d), d.last_seen_at)).map(|(_, d)| d.key);
    let primary = devices.iter().find(|(_, d)| d.is_primary && usable(d)).map(|(_, d)| d.key);
    let one = if deliver == Deliver::PrimaryDevice { primary.or(last_active) } else { last_active };
    devices.into_iter().filter(|(named, d)| *named || Some(d.key) == one).map(|(_, d)| d).collect()
}

/// What a run selected: devices with the selectors that named them, and selectors that nobody answers to.
pub(crate) type Found = (Vec<(usize, Recipient)>, HashSet<usize>);

/// What a group of runs selected, sorted back to each run.
pub(crate) fn by_run(runs: usize, selectors: &[Selector], found: Vec<Selected>, absent: &HashSet<usize>) -> Vec<Found> {
    // A selector's index counts over all runs; each run wants it among its own.
    let mut first = vec![usize::MAX; runs];
    for (i, selector) in selectors.iter().enumerate() {
        let start = &mut first[selector.run as usize];
        *start = (*start).min(i);
    }
    let mut all: Vec<Found> = (0..runs).map(|_| Default::default()).collect();
    for item in found {
        let run = item.run as usize;
        all[run].0.push((item.selector - first[run], item.device));
    }
    for selector in absent {
        let run = selectors[*selector].run as usize;
        all[run].1.insert(selector - first[run]);
    }
    all
}
