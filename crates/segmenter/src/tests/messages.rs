//! Messages.

use super::{at, device, locale, notification, row};
use crate::expand::Run;
use crate::message::{Member, chunk, messages};
use crate::text::{Renderer, RunText};
use carillon_domain::delivery_status::Reason;
use carillon_domain::device::{DeviceState, Permission};
use carillon_domain::ids::{ChunkId, NotificationId, RunId};
use carillon_domain::limits;
use carillon_domain::notification::{Draft, Notification, Options};
use carillon_domain::platform::{Lane, Platform};
use carillon_domain::span::Seconds;
use carillon_store::Recipient;
use carillon_wire::events::{DispatchChunk, SealedCredential};
use jiff::SignedDuration;
use uuid::Uuid;

/// What the broker takes of one process by default.
const MOST_BYTES: usize = 256 * 1024;

fn made(n: &Notification, platform: Platform, devices: &[Option<Recipient>]) -> DispatchChunk {
    made_with(n, platform, devices, true)
}

fn made_with(n: &Notification, platform: Platform, devices: &[Option<Recipient>], push_enabled: bool) -> DispatchChunk {
    // A credential as large as one may be: a service account of 16 KiB, sealed.
    let credentials = [(platform, SealedCredential { version: 3, sealed: vec![7; 16 * 1024 + 64].into() })];
    let text = RunText {
        notification: n,
        notification_id: NotificationId(Uuid::from_u128(9)),
        tenant: "acme",
        icon_url: None,
        default_locale: None,
        push_enabled,
        released_at: at(0),
        expires_at: at(60),
        credentials: &credentials,
        link: 0,
        traceparent: "",
    };
    let members = devices.iter().enumerate().map(|(i, device)| Member { position: i as u16, device: device.clone() });
    let id = ChunkId { run: RunId(Uuid::from_u128(9)), number: 4 };
    chunk(&mut Renderer::new(text), platform, id, 1, None, members)
}

#[test]
fn what_goes_now_or_never_is_told_so_and_its_row_lives_a_moment_longer() {
    let now = Notification::accepted(Draft {
        options: Options { ttl: Some(Seconds(0)), ..Default::default() },
        ..notification(0).draft().clone()
    });
    let run = Run::read(row(&now, None), at(5)).unwrap();
    assert_eq!(run.expires_at, run.released_at + SignedDuration::from_secs(30));
    let devices = [Some(device(1, "u:a", Platform::Apns))];
    let told = made(&now, Platform::Apns, &devices);
    assert_eq!(told.expires_at_ms, told.released_at_ms, "the dispatcher gives it half a minute, and the provider none");
    let lasting = made(&notification(0), Platform::Apns, &devices);
    assert_eq!(lasting.expires_at_ms, at(60).as_millisecond());
}

#[test]
fn a_later_copy_sends_nothing_while_push_is_switched_off() {
    let copy = made_with(&notification(0), Platform::Apns, &[Some(device(1, "u:a", Platform::Apns)), None], false);
    let closed: Vec<u32> = copy.targets.iter().map(|target| target.suppressed).collect();
    assert_eq!(closed, [Reason::PushDisabled as u32; 2]);
    assert!(copy.targets.iter().all(|target| target.token.is_empty()) && copy.variants.is_empty());
}

#[test]
fn a_later_copy_closes_the_positions_of_devices_that_are_gone() {
    let mut devices: Vec<Option<Recipient>> = (0..6).map(|k| Some(device(k, "u:a", Platform::Apns))).collect();
    devices[1] = None;
    devices[2].as_mut().unwrap().state = DeviceState::Invalid;
    devices[3].as_mut().unwrap().state = DeviceState::Inactive;
    devices[4].as_mut().unwrap().permission = Permission::Denied;
    let chunk = made(&notification(0), Platform::Apns, &devices);
    let told: Vec<(u32, u32)> = chunk.targets.iter().map(|t| (t.position, t.suppressed)).collect();
    let reasons = [Reason::TokenMoved, Reason::TokenInvalid, Reason::Inactive, Reason::PermissionDenied];
    assert_eq!(told[1..5], [1, 2, 3, 4].map(|i| (i, reasons[i as usize - 1] as u32)));
    assert!(chunk.targets[1..5].iter().all(|t| t.token.is_empty()));
    assert_eq!((told[0], told[5]), ((0, 0), (5, 0)));
    assert_eq!(chunk.credential.as_ref().map(|c| c.version), Some(3));
}

#[test]
fn devices_share_the_variants_that_they_need_and_no_others() {
    let speaker = |i: usize, key| Some(Recipient { locale: Some(locale(i)), ..device(key, "u:a", Platform::Apns) });
    let chunk = made(&notification(30), Platform::Apns, &[speaker(7, 0), speaker(2, 1), speaker(7, 2), None]);
    assert_eq!(chunk.variants.len(), 2);
    assert_eq!(chunk.targets.iter().map(|t| t.variant).collect::<Vec<_>>(), [0, 1, 0, 0]);
    assert!(String::from_utf8_lossy(&chunk.variants[0].body).contains("Title 7"));
}

#[test]
fn who_needs_a_seventeenth_variant_by_now_stays_open_and_is_not_told_another_language() {
    let devices: Vec<Option<Recipient>> = (0..18)
        .map(|i| Some(Recipient { locale: Some(locale(i % 17)), ..device(i as i64, "u:a", Platform::Apns) }))
        .collect();
    let chunk = made(&notification(30), Platform::Apns, &devices);
    let positions: Vec<u32> = chunk.targets.iter().map(|t| t.position).collect();
    assert_eq!(positions, (0..16).chain([17]).collect::<Vec<u32>>());
    assert_eq!((chunk.variants.len(), chunk.targets[16].variant), (limits::CHUNK_VARIANTS, 0));
}

#[test]
fn a_message_stays_below_the_brokers_bound_even_when_every_token_grew() {
    let mut draft = notification(30).draft().clone();
    for localized in &mut draft.content.localized {
        localized.body = Some(localized.locale.repeat(1_600));
    }
    let n = Notification::accepted(draft);
    let devices: Vec<Option<Recipient>> = (0..500)
        .map(|i| {
            let grown = Recipient {
                token: "t".repeat(4_096),
                locale: Some(locale(i % 16)),
                ..device(i as i64, "u:a", Platform::Fcm)
            };
            Some(grown)
        })
        .collect();
    let chunk = made(&n, Platform::Fcm, &devices);
    assert!((1..500).contains(&chunk.targets.len()), "the others go with the next copy");
    assert!(chunk.variants.len() == 16 && chunk.variants[0].body.len() > 3_000);
    let out = messages(Lane::Bulk, vec![(Platform::Fcm, chunk)], at(0));
    assert!(out[0].body().len() <= MOST_BYTES, "{} bytes", out[0].body().len());
}

#[test]
fn small_chunks_travel_together_and_platforms_by_themselves() {
    let n = notification(0);
    let small = |platform, count: i64| {
        let devices: Vec<_> = (0..count).map(|k| Some(device(k, "u:a", platform))).collect();
        (platform, made(&n, platform, &devices))
    };
    let (a, f) = (Platform::Apns, Platform::Fcm);
    let chunks = vec![small(a, 30), small(f, 1), small(a, 30), small(a, 5), small(f, 63), small(a, 500)];
    let out = messages(Lane::Transactional, chunks, at(0));
    // Recipients of each message: 60 and 5 small ones, 64 of the other platform, and the large chunk alone.
    let read = |body: &[u8]| <carillon_wire::events::DispatchChunks as carillon_broker::Event>::decode(body).unwrap();
    let mut counts: Vec<usize> =
        out.iter().map(|m| read(m.body()).chunks.iter().map(|c| c.targets.len()).sum()).collect();
    counts.sort_unstable();
    assert_eq!(counts, [5, 60, 64, 500]);
    assert!(out.iter().all(|m| m.body().len() <= MOST_BYTES));
}

#[test]
fn a_chunk_that_nobody_came_to_the_end_of_travels_alone() {
    let n = notification(0);
    let small = |copy: u32| {
        let chunk = made(&n, Platform::Apns, &[Some(device(1, "u:a", Platform::Apns))]);
        (Platform::Apns, DispatchChunk { copy, ..chunk })
    };
    let out = messages(Lane::Transactional, [0, 4, 1, 5, 3].map(small).into(), at(0));
    let read = |body: &[u8]| <carillon_wire::events::DispatchChunks as carillon_broker::Event>::decode(body).unwrap();
    let mut copies: Vec<Vec<u32>> =
        out.iter().map(|m| read(m.body()).chunks.iter().map(|c| c.copy).collect()).collect();
    copies.sort_unstable();
    assert_eq!(copies, [vec![0, 1, 3], vec![4], vec![5]]);
}

#[test]
fn all_chunks_of_a_run_share_what_is_rendered_once() {
    let n = notification(2);
    let text = RunText {
        notification: &n,
        notification_id: NotificationId(Uuid::from_u128(9)),
        tenant: "acme",
        icon_url: None,
        default_locale: None,
        push_enabled: true,
        released_at: at(0),
        expires_at: at(60),
        credentials: &[],
        link: 0,
        traceparent: "",
    };
    let mut renderer = Renderer::new(text);
    let mut body = |number: u32| {
        let speaker = Recipient { locale: Some(locale(1)), ..device(1, "u:a", Platform::Apns) };
        let members = std::iter::once(Member { position: 0, device: Some(speaker) });
        let id = ChunkId { run: RunId(Uuid::from_u128(9)), number };
        chunk(&mut renderer, Platform::Apns, id, 0, None, members).variants.remove(0).body
    };
    let (first, second) = (body(0), body(1));
    assert_eq!(first.as_ptr(), second.as_ptr());
}
