//! Who is meant.

use super::{at, device, os_of};
use crate::audience::{Addressee, Meant, by_run, cut, listed, paged, selectors};
use carillon_domain::audience::{Audience, Deliver};
use carillon_domain::device::DeviceState;
use carillon_domain::ids::{AppKey, DeviceKey};
use carillon_domain::phone::Phone;
use carillon_domain::platform::Platform::{Apns, Fcm};
use carillon_store::{Recipient, Selected, SelectorName};
use std::collections::HashSet;

/// Who a listed audience comes to, when these devices are in the registry: `person: keys`, and `!` where only dead tokens were found.
fn meant(to: &Audience, deliver: Deliver, registry: &[Recipient]) -> Vec<String> {
    people(to, deliver, registry).iter().map(shown).collect()
}

/// As the store answers: a phone means the persons who have it, with all their devices.
fn people(to: &Audience, deliver: Deliver, registry: &[Recipient]) -> Vec<Addressee> {
    let names = selectors(0, AppKey(1), to);
    let found: Vec<(usize, Recipient)> = names
        .iter()
        .enumerate()
        .flat_map(|(i, s)| {
            let has = |phone: &str, who: &Recipient| {
                registry.iter().any(|d| d.person == who.person && d.phone.as_deref() == Some(phone))
            };
            let fits = move |d: &&Recipient| match &s.name {
                SelectorName::Device(id) => d.device == *id,
                SelectorName::User(user) => d.person.user_id() == Some(user),
                SelectorName::Phone(phone) => has(phone, d),
            };
            registry.iter().filter(fits).map(move |d| (i, d.clone())).collect::<Vec<_>>()
        })
        .collect();
    let absent = (0..names.len()).filter(|i| !found.iter().any(|(of, _)| of == i)).collect();
    listed(&Meant { to, meeting: None }, deliver, &names, found, &absent)
}

fn shown(a: &Addressee) -> String {
    let keys: Vec<String> = a.devices.iter().map(|d| d.key.0.to_string()).collect();
    format!("{}: {}{}", a.person.key(), keys.join(" "), if a.only_invalid { "!" } else { "" })
}

fn users(names: &[&str]) -> Audience {
    Audience { users: names.iter().collect(), ..Default::default() }
}

/// Ola has three devices, of which the second is her primary one; Jan has a phone number and one device; nobody owns the last.
fn registry() -> Vec<Recipient> {
    let mut all = vec![
        device(1, "u:ola", Apns),
        device(2, "u:ola", Apns),
        device(3, "u:ola", Fcm),
        device(4, "p:+48501502503", Fcm),
        device(5, "d:d5", Apns),
    ];
    all[1].is_primary = true;
    all[2].phone = Some("+48600700800".into());
    all[3].phone = Some("+48501502503".into());
    all
}

#[test]
fn a_person_is_one_however_often_named() {
    let mut to = users(&["ola", "nobody"]);
    to.devices = ["d1", "d5", "gone"].into();
    to.phones = ["+48600700800", "+48501502503", "+48111222333"].map(Phone::from_e164).to_vec();
    let all = registry();
    assert_eq!(
        meant(&to, Deliver::EveryDevice, &all),
        ["d:d5: 5", "d:gone: ", "p:+48111222333: ", "p:+48501502503: 4", "u:nobody: ", "u:ola: 1 2 3"]
    );
}

#[test]
fn a_phone_whose_device_belongs_to_a_user_means_that_user() {
    let to = Audience { phones: vec![Phone::from_e164("+48600700800")], ..Default::default() };
    assert_eq!(meant(&to, Deliver::EveryDevice, &registry()), ["u:ola: 1 2 3"]);
    assert_eq!(
        meant(&to, Deliver::PrimaryDevice, &registry()),
        ["u:ola: 2"],
        "her primary device, whatever phone it says"
    );
}

#[test]
fn who_is_named_by_a_phone_is_texted_at_that_one() {
    let mut all = registry();
    all[0].phone = Some("+48111111111".into());
    all[0].last_seen_at = at(100);
    let phone = |to: &Audience| people(to, Deliver::EveryDevice, &all)[0].phone.clone();
    let named = Audience { phones: vec![Phone::from_e164("+48600700800")], ..Default::default() };
    assert_eq!(phone(&named).as_deref(), Some("+48600700800"));
    assert_eq!(phone(&users(&["ola"])).as_deref(), Some("+48111111111"), "else at the one heard of last");
}

#[test]
fn one_device_is_chosen_and_a_named_one_is_reached_all_the_same() {
    let all = registry();
    assert_eq!(meant(&users(&["ola"]), Deliver::PrimaryDevice, &all), ["u:ola: 2"]);
    assert_eq!(meant(&users(&["ola"]), Deliver::LastActiveDevice, &all), ["u:ola: 3"]);
    let mut to = users(&["ola"]);
    to.devices = ["d1"].into();
    assert_eq!(meant(&to, Deliver::PrimaryDevice, &all), ["u:ola: 1 2"]);
    let everybody = Audience { all: true, devices: ["d1"].into(), ..Default::default() };
    let page = paged(&everybody, Deliver::LastActiveDevice, all[..3].to_vec());
    assert_eq!(page.iter().map(shown).collect::<Vec<_>>(), ["u:ola: 1 3"]);
}

#[test]
fn no_primary_that_can_be_used_means_the_one_heard_of_last() {
    let mut all = registry();
    all[1].state = DeviceState::Inactive;
    all[0].last_seen_at = at(100);
    assert_eq!(meant(&users(&["ola"]), Deliver::PrimaryDevice, &all), ["u:ola: 1"]);
    all[0].state = DeviceState::Inactive;
    assert_eq!(meant(&users(&["ola"]), Deliver::LastActiveDevice, &all), ["u:ola: 3"], "an inactive one comes last");
}

#[test]
fn narrowing_leaves_a_listed_person_without_a_device_and_says_so() {
    let mut to = users(&["ola"]);
    to.platforms = vec![Fcm];
    assert_eq!(meant(&to, Deliver::EveryDevice, &registry()), ["u:ola: 3"]);
    to.os = vec![os_of(Apns)];
    assert_eq!(meant(&to, Deliver::EveryDevice, &registry()), ["u:ola: "]);
}

#[test]
fn a_device_that_does_not_meet_the_condition_is_not_reached_even_if_it_is_named() {
    let mut to = users(&["ola"]);
    to.devices = ["d1"].into();
    let found: Vec<_> = registry().into_iter().take(3).map(|device| (1, device)).collect();
    let meeting = Some([DeviceKey(3)].into());
    let names = selectors(0, AppKey(1), &to);
    let people = listed(&Meant { to: &to, meeting }, Deliver::PrimaryDevice, &names, found, &HashSet::new());
    assert_eq!(people.iter().map(shown).collect::<Vec<_>>(), ["u:ola: 3"], "and the primary one is one of those");
}

#[test]
fn a_person_with_only_dead_tokens_is_told_apart_from_one_with_none() {
    let mut all = registry();
    for d in &mut all[..3] {
        d.state = DeviceState::Invalid;
    }
    assert_eq!(meant(&users(&["ola"]), Deliver::EveryDevice, &all), ["u:ola: !"]);
    all[0].state = DeviceState::Active;
    assert_eq!(meant(&users(&["ola"]), Deliver::EveryDevice, &all), ["u:ola: 1"]);
}

#[test]
fn a_device_named_by_its_id_is_told_of_even_when_its_token_is_dead() {
    let mut all = registry();
    all[0].state = DeviceState::Invalid;
    let to = Audience { devices: ["d1"].into(), ..Default::default() };
    assert_eq!(meant(&to, Deliver::EveryDevice, &all), ["u:ola: 1"]);
    assert_eq!(meant(&users(&["ola"]), Deliver::EveryDevice, &all), ["u:ola: 2 3"]);
}

#[test]
fn the_text_goes_where_the_person_was_last_heard_of() {
    let mut all = registry();
    all[0].phone = Some("+48111111111".into());
    all[0].locale = Some("pl".into());
    all[1].locale = Some("de".into());
    let people = paged(&Audience::default(), Deliver::EveryDevice, all);
    let ola = &people[0];
    assert_eq!((ola.phone.as_deref(), ola.locale.as_deref()), (Some("+48600700800"), Some("de")));
    assert_eq!(people[1].phone.as_deref(), Some("+48501502503"));
}

#[test]
fn what_a_group_of_runs_found_goes_back_to_each() {
    let mut names = selectors(0, AppKey(1), &users(&["a", "b"]));
    names.extend(selectors(2, AppKey(1), &users(&["b"])));
    let item = |run, selector| Selected { run, selector, device: device(selector as i64, "u:b", Apns) };
    let found = by_run(3, &names, vec![item(0, 1), item(2, 2)], &[0].into());
    let places: Vec<Vec<usize>> = found.iter().map(|(f, _)| f.iter().map(|(i, _)| *i).collect()).collect();
    assert_eq!(places, [vec![1], vec![], vec![0]]);
    let absent: Vec<Vec<usize>> = found.iter().map(|(_, absent)| absent.iter().copied().collect()).collect();
    assert_eq!(absent, [vec![0], vec![], vec![]]);
}

#[test]
fn a_list_is_cut_into_pages_at_persons_ends() {
    let people = || {
        let counts = [("a", 2), ("b", 0), ("c", 9), ("d", 1)];
        let devices = |n: i64| (0..n).map(|key| device(key, "u:x", Apns)).collect();
        counts.map(|(person, n)| Addressee {
            person: carillon_domain::person::Person::user(person),
            devices: devices(n),
            only_invalid: false,
            phone: None,
            locale: None,
        })
    };
    let (mut cursor, mut pages) = (None::<String>, Vec::new());
    loop {
        let (page, next, last) = cut(people().into(), cursor.as_deref(), 3);
        pages.push(page.iter().map(|a| a.person.user_id().unwrap().to_owned()).collect::<String>());
        cursor = next;
        if last {
            break;
        }
    }
    assert_eq!(pages, ["ab", "c", "d"]);
    let (nobody, cursor, last) = cut(Vec::new(), None, 3);
    assert!(nobody.is_empty() && cursor.is_none() && last);
}
