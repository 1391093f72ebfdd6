//! Pages.

use super::{at, device, locale, notification, row, variants};
use crate::audience::{Addressee, paged};
use crate::expand::Run;
use crate::plan::{Plan, RunFacts, plan};
use carillon_domain::audience::{Audience, Deliver};
use carillon_domain::cascade::{CascadeLink, Sms, Unless};
use carillon_domain::delivery_status::Reason;
use carillon_domain::device::{DeviceState, Permission};
use carillon_domain::limits;
use carillon_domain::notification::{Notification, Options};
use carillon_domain::platform::Platform;
use carillon_domain::span::Seconds;
use carillon_store::Recipient;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn link() -> CascadeLink {
    CascadeLink { unless: Unless::Read, within: Seconds(60), sms: Sms::default() }
}

fn page(n: &Notification, cascade: Option<&CascadeLink>, chunk_recipients: usize, people: Vec<Addressee>) -> Plan {
    let variants = variants(n);
    let facts = RunFacts {
        shown: n.draft().content.is_shown(),
        push_enabled: true,
        cascade,
        first_person: 100,
        chunk_recipients,
        variants: &variants,
    };
    plan(&facts, people)
}

fn person(devices: Vec<Recipient>) -> Vec<Addressee> {
    paged(&Audience::default(), Deliver::EveryDevice, devices)
}

fn reasons(plan: &Plan) -> Vec<(i64, Reason)> {
    plan.suppressed.iter().map(|s| (s.subject, s.reason)).collect()
}

/// Of whom, platform, locale, state, permission, bytes of the token.
type Shape = (u8, usize, usize, bool, bool, usize);

fn shape() -> impl Strategy<Value = Shape> {
    (
        0u8..40,
        0usize..3,
        0usize..30,
        prop::bool::weighted(0.9),
        prop::bool::weighted(0.9),
        prop_oneof![8 => 64usize..200, 1 => 2_000usize..4_000],
    )
}

fn devices(shapes: &[Shape]) -> Vec<Recipient> {
    let mut all: Vec<Recipient> = shapes
        .iter()
        .enumerate()
        .map(|(key, (person, platform, language, active, granted, bytes))| Recipient {
            locale: Some(locale(*language)),
            state: if *active { DeviceState::Active } else { DeviceState::Inactive },
            permission: if *granted { Permission::Granted } else { Permission::Denied },
            token: "t".repeat(*bytes),
            ..device(key as i64, &format!("u:{person:02}"), Platform::ALL[*platform])
        })
        .collect();
    all.sort_by(|a, b| (a.person.key(), a.key).cmp(&(b.person.key(), b.key)));
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_device_is_planned_once_within_bounds_and_every_person_has_a_cascade(
        shapes in proptest::collection::vec(shape(), 0..400), most in 1usize..60, locales in 0usize..30, with_cascade in any::<bool>(),
    ) {
        let (n, link, all) = (notification(locales), link(), devices(&shapes));
        let people = person(all.clone());
        let numbers: BTreeMap<String, i32> = people.iter().zip(100..).map(|(a, n)| (a.person.key().to_owned(), n)).collect();
        let plan = page(&n, with_cascade.then_some(&link), most, people);
        prop_assert_eq!(plan.persons as usize, numbers.len());

        let mut seen = BTreeSet::new();
        let mut open: BTreeMap<i32, i16> = BTreeMap::new();
        for chunk in &plan.chunks {
            prop_assert!((1..=most).contains(&chunk.members.len()));
            prop_assert!(chunk.members.iter().all(|d| d.platform == chunk.platform && seen.insert(d.key.0)));
            let used: BTreeSet<usize> = chunk.members.iter().map(|d| variants(&n).index(d.locale.as_deref())).collect();
            prop_assert!(used.len() <= limits::CHUNK_VARIANTS);
            let bytes: usize = chunk.members.iter().map(|d| d.token.len() + d.device.len() + 32).sum();
            prop_assert!(chunk.members.len() == 1 || bytes <= limits::CHUNK_BYTES / 2);
            let of: Vec<i32> = chunk.members.iter().map(|d| numbers[d.person.key()]).collect();
            prop_assert!(of.is_sorted(), "persons' numbers ascend within a chunk");
            prop_assert_eq!(chunk.person_numbers.as_ref(), with_cascade.then_some(&of));
            for number in of {
                *open.entry(number).or_default() += 1;
            }
        }
        prop_assert!(plan.suppressed.iter().all(|s| s.subject >= 0 && seen.insert(s.subject)));
        prop_assert_eq!(seen.len(), all.len());
        prop_assert_eq!(plan.cascades.len(), if with_cascade { numbers.len() } else { 0 });
        for cascade in &plan.cascades {
            prop_assert_eq!(cascade.person_number, numbers[cascade.person.key()]);
            prop_assert_eq!(cascade.open_devices, open.get(&cascade.person_number).copied().unwrap_or(0));
            prop_assert!(cascade.open_devices > 0 || cascade.fires, "inactive and forbidden devices both fire at once");
        }
    }
}

#[test]
fn a_chunk_is_closed_where_a_seventeenth_variant_is_needed_and_not_before() {
    let n = notification(30);
    let speaker = |i: usize| Recipient { locale: Some(locale(i)), ..device(i as i64, "u:a", Platform::Apns) };
    let sizes = |languages: &[usize]| -> Vec<usize> {
        let plan = page(&n, None, 500, person(languages.iter().map(|i| speaker(*i)).collect()));
        plan.chunks.iter().map(|c| c.members.len()).collect()
    };
    let sixteen: Vec<usize> = (0..16).chain(0..16).collect();
    assert_eq!(sizes(&(0..16).collect::<Vec<_>>()), [16]);
    assert_eq!(sizes(&(0..17).collect::<Vec<_>>()), [16, 1]);
    assert_eq!(
        page(
            &n,
            None,
            500,
            person(
                sixteen
                    .iter()
                    .enumerate()
                    .map(|(k, i)| Recipient { key: carillon_domain::ids::DeviceKey(k as i64), ..speaker(*i) })
                    .collect()
            )
        )
        .chunks
        .len(),
        1
    );
}

#[test]
fn what_hinders_a_device_is_named() {
    let mut all =
        vec![device(1, "u:a", Platform::Apns), device(2, "u:a", Platform::Apns), device(3, "u:a", Platform::Fcm)];
    all[0].permission = Permission::Denied;
    all[1].state = DeviceState::Inactive;
    let plan = page(&notification(0), None, 500, person(all.clone()));
    assert_eq!(reasons(&plan), [(1, Reason::PermissionDenied), (2, Reason::Inactive)]);
    let mut silent = notification(0).draft().clone();
    silent.content.title = None;
    silent.content.silent = true;
    let plan = page(&Notification::accepted(silent), None, 500, person(all));
    assert_eq!(reasons(&plan), [(2, Reason::Inactive)], "what is not shown needs no permission");
}

#[test]
fn with_the_switch_off_nobody_is_reached_and_no_cascade_goes_on() {
    let link = link();
    let n = notification(0);
    let mut people = person(vec![device(1, "u:a", Platform::Apns)]);
    people.extend(person(vec![device(2, "u:b", Platform::Apns)]));
    people[1].devices.clear();
    let variants = variants(&n);
    let facts = RunFacts {
        shown: true,
        push_enabled: false,
        cascade: Some(&link),
        first_person: 0,
        chunk_recipients: 500,
        variants: &variants,
    };
    let plan = plan(&facts, people);
    assert!(plan.chunks.is_empty());
    assert_eq!(reasons(&plan), [(1, Reason::PushDisabled), (-2, Reason::PushDisabled)]);
    assert!(plan.cascades.iter().all(|c| c.open_devices == 0 && !c.fires));
}

#[test]
fn a_person_without_a_device_is_a_row_of_its_own_and_its_cascade_goes_on_at_once() {
    let link = link();
    let mut people = person(vec![device(1, "u:a", Platform::Apns), device(2, "u:b", Platform::Apns)]);
    people[0].devices.clear();
    people[0].only_invalid = true;
    people[1].devices.clear();
    let plan = page(&notification(0), Some(&link), 500, people);
    assert_eq!(reasons(&plan), [(-101, Reason::TokenInvalid), (-102, Reason::NoDevice)]);
    assert!(plan.cascades.iter().all(|c| c.fires));
}

#[test]
fn a_time_to_live_counts_from_when_sending_was_due() {
    let mut draft = notification(0).draft().clone();
    draft.options = Options { ttl: Some(Seconds(60)), ..Default::default() };
    let n = Notification::accepted(draft);
    let late = at(50);
    let run = Run::read(row(&n, None), late).unwrap();
    assert_eq!((run.expires_at, run.started_at, run.released_at), (at(60), late, at(0)));
    assert_eq!(run.id, run.row.notification_id.as_run());
    let run = Run::read(row(&n, Some(at(40))), late).unwrap();
    assert_eq!((run.expires_at, run.released_at), (at(100), at(40)));
    assert_ne!(run.id, run.row.notification_id.as_run(), "minted when sending starts");
}

#[test]
fn a_run_that_was_started_goes_on_as_it_was_and_a_body_that_does_not_read_is_left_alone() {
    let n = notification(0);
    let id = carillon_domain::ids::RunId(uuid::Uuid::from_u128(7));
    let started = carillon_store::RunRow { run: Some((id, at(1), at(2))), ..row(&n, Some(at(0))) };
    let run = Run::read(started, at(50)).unwrap();
    assert_eq!((run.id, run.started_at, run.expires_at), (id, at(1), at(2)));
    assert!(Run::read(carillon_store::RunRow { body: vec![0xff], ..row(&n, None) }, at(0)).is_none());
}
