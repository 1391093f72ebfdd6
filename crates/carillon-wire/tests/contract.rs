//! What travels and is kept, as bytes that are committed: a process of this version must read what one of any earlier version wrote.
//!
//! The files under `tests/contract/` are written once, by `UPDATE_EXPECT=1`, when a message gets its first field set. Fields that are added
//! later leave them as they are; a test that wants to change one has found a break of the wire.

#![allow(clippy::unwrap_used, reason = "a fixture that does not read fails its test")]

use carillon_domain::ids::NotificationId;
use carillon_wire::{events, internal, public};
use expect_test::{ExpectFile, expect, expect_file};
use prost::Message;
use std::fmt::Debug;

fn hex(bytes: &[u8]) -> String {
    let lines: Vec<String> =
        bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
    lines.join("\n") + "\n"
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(char::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

/// The committed bytes read as `value`, and `value` is still written as these bytes.
fn check<M: Message + Default + PartialEq + Debug>(file: &ExpectFile, value: &M) {
    file.assert_eq(&hex(&value.encode_to_vec()));
    assert_eq!(&M::decode(unhex(&file.data()).as_slice()).unwrap(), value);
}

fn id(last: u8) -> Vec<u8> {
    let mut id = vec![0x01, 0x92, 0x00, 0x00, 0x00, 0x00, 0x70, 0x00, 0x80, 0, 0, 0, 0, 0, 0, 0];
    id[15] = last;
    id
}

#[test]
fn wake_ups_read_as_they_were_written() {
    let one = events::AcceptedNotification { id: id(1), tenant_key: 7, app_key: 300, ..Default::default() };
    let two = events::AcceptedNotification { id: id(2), tenant_key: 7, app_key: 301, ..Default::default() };
    let event = events::NotificationsAccepted { notifications: vec![one, two] };
    check(&expect_file!["../../../tests/contract/events.NotificationsAccepted.hex"], &event);
}

#[test]
fn chunks_read_as_they_were_written() {
    use events::splice::What;
    let splice = |offset, what: What| events::Splice { offset, what: what as i32 };
    let target = events::Target {
        position: 499,
        device: "d1".into(),
        generation: 3,
        token: "00ff".into(),
        p256dh: vec![4; 65],
        auth: vec![9; 16],
        environment: 1,
        variant: 1,
        suppressed: 0,
        is_installation: true,
    };
    let chunk = events::DispatchChunk {
        run_id: id(1),
        chunk: 17,
        copy: 2,
        notification_id: id(2),
        tenant: "acme".into(),
        app: "shop".into(),
        credential: Some(events::SealedCredential { version: 4, sealed: vec![1, 2, 3].into() }),
        released_at_ms: 1_790_000_000_000,
        expires_at_ms: 1_790_000_060_000,
        grant: Some(events::AdvanceGrant { lease: u64::MAX >> 1, granted_at_ms: 1_790_000_000_500, lease_ms: 3_000 }),
        delivery: Some(events::Delivery {
            shown: true,
            high_priority: true,
            collapse_id: "order-17".into(),
            collapse_chosen: true,
            interruption_level: "time-sensitive".into(),
        }),
        variants: vec![
            events::Variant { body: b"{}".as_slice().into(), splices: vec![] },
            events::Variant {
                body: b"{\"a\":\"\"}".as_slice().into(),
                splices: vec![
                    splice(1, What::Token),
                    splice(2, What::Device),
                    splice(3, What::Reference),
                    splice(4, What::TtlSeconds),
                ],
            },
        ],
        targets: vec![target, events::Target { position: 500, suppressed: 4, ..Default::default() }],
        link: 0,
        ..Default::default()
    };
    let event = events::DispatchChunks { chunks: vec![chunk], published_at_ms: 1_790_000_000_600 };
    check(&expect_file!["../../../tests/contract/events.DispatchChunks.hex"], &event);
}

/// A request that sets every field. Maps have one entry, since their order is not said.
fn request() -> public::SendRequest {
    let text = |t: &str| Some(t.to_owned());
    public::SendRequest {
        app: "shop".into(),
        reference: "order-17".into(),
        metadata: [("team".to_owned(), "orders".to_owned())].into(),
        to: Some(public::Audience {
            devices: vec!["d1".into()],
            users: vec!["u1".into()],
            phones: vec!["+48501502503".into()],
            all: false,
            platforms: vec!["apns".into()],
            os: vec!["ios".into()],
            r#where: text("tags has 'vip'"),
        }),
        deliver: "primary_device".into(),
        kind: "marketing".into(),
        content: Some(public::Content {
            title: text("T"),
            subtitle: text("S"),
            body: text("B"),
            image: text("https://example.com/i.png"),
            sound: text("default"),
            badge: Some(3),
            thread: text("t"),
            android_channel: text("c"),
            interruption_level: text("active"),
            open: Some(public::Open { url: text("https://example.com"), r#as: text("webview"), screen: None }),
            buttons: vec![public::Button {
                id: "b".into(),
                title: "B".into(),
                open: Some(public::Open { url: None, r#as: None, screen: text("cart") }),
            }],
            localized: [(
                "pl".to_owned(),
                public::Localized {
                    title: text("Tytuł"),
                    buttons: [("b".to_owned(), "P".to_owned())].into(),
                    ..Default::default()
                },
            )]
            .into(),
            ..Default::default()
        }),
        options: Some(public::Options { ttl: text("60s"), priority: text("normal"), collapse_key: text("k") }),
        schedule: Some(public::Schedule {
            at: Some(prost_types::Timestamp { seconds: 1_796_115_600, nanos: 500_000_000 }),
        }),
        cascade: vec![public::CascadeLink {
            unless: "read".into(),
            within: "1800s".into(),
            then: Some(public::CascadeStep {
                sms: Some(public::Sms {
                    from: text("SHOP"),
                    text: text("Hi"),
                    localized: [("pl".to_owned(), "C".to_owned())].into(),
                    ttl: text("60s"),
                }),
            }),
        }],
    }
}

#[test]
fn requests_and_rows_read_as_they_were_written() {
    check(&expect_file!["../../../tests/contract/v1.SendRequest.hex"], &request());
    let data = vec![events::DataEntry { key: "n".into(), json: "12345678901234567890".into() }];
    let body = events::NotificationBody {
        request: Some(request()),
        data,
        override_apns: "{\"aps\":{\"badge\":null}}".into(),
        override_fcm: "{}".into(),
        override_webpush: "{\"a\":1}".into(),
        ..Default::default()
    };
    let file = expect_file!["../../../tests/contract/events.NotificationBody.hex"];
    check(&file, &body);
    let kept = carillon_wire::decode_body(&unhex(&file.data())).unwrap();
    assert_eq!(kept.draft().content.data[0].1.0, "12345678901234567890", "no digit is lost");
    let written = carillon_wire::encode_body(&kept);
    assert_eq!(carillon_wire::decode_body(&written).unwrap(), kept);
    let packed = events::NotificationBody::decode(written.as_slice()).unwrap();
    check(&expect_file!["../../../tests/contract/events.NotificationBody.packed.hex"], &packed);
}

#[test]
fn claims_and_reports_read_as_they_were_written() {
    let copy = internal::ChunkCopy { run_id: id(1), chunk: 17, copy: 2, advance_lease: 5 };
    let claim = internal::ClaimRequest { claimer: "c".into(), platform: "apns".into(), chunks: vec![copy] };
    check(&expect_file!["../../../tests/contract/internal.ClaimRequest.hex"], &claim);
    let grant = internal::Grant { lease: 5, lease_ms: 5_000, positions: vec![0, 499], attempts: vec![0, 3] };
    let answers = vec![internal::ClaimAnswer { grant: Some(grant) }, internal::ClaimAnswer { grant: None }];
    let claimed = internal::ClaimResponse { answers, now_ms: 1_790_000_000_000, claimers: 2 };
    check(&expect_file!["../../../tests/contract/internal.ClaimResponse.hex"], &claimed);
    let outcome = internal::Outcome {
        position: 499,
        status: 5,
        reason: 3,
        provider_id: "p".into(),
        not_before_ms: 1_790_000_000_000,
        attempts: 2,
        retire_token: true,
        retire_since_ms: 1_780_000_000_000,
        generation: 3,
    };
    let chunk = internal::ChunkReport {
        run_id: id(1),
        chunk: 17,
        lease: 5,
        outcomes: vec![outcome],
        release: true,
        ..Default::default()
    };
    let report = internal::ReportRequest { claimer: "c".into(), platform: "apns".into(), chunks: vec![chunk] };
    check(&expect_file!["../../../tests/contract/internal.ReportRequest.hex"], &report);
    let answers = vec![internal::ReportAnswer { lease_ms: 5_000 }, internal::ReportAnswer { lease_ms: 0 }];
    let reported = internal::ReportResponse { answers, now_ms: 1_790_000_000_000 };
    check(&expect_file!["../../../tests/contract/internal.ReportResponse.hex"], &reported);
}

#[test]
fn fields_of_a_newer_version_are_passed_over() {
    let event = events::NotificationsAccepted {
        notifications: vec![events::AcceptedNotification { id: id(1), ..Default::default() }],
    };
    let mut bytes = event.encode_to_vec();
    // Field 2000, a string.
    bytes.extend([0x82, 0x7d, 0x02, b'h', b'i']);
    assert_eq!(events::NotificationsAccepted::decode(bytes.as_slice()).unwrap(), event);
    assert_eq!(NotificationId(uuid::Uuid::from_slice(&event.notifications[0].id).unwrap()).0.get_version_num(), 7);
}

#[test]
fn the_topology_is_a_fixed_number_of_queues() {
    expect![[r#"
        exchange unroutable fanout
        exchange carillon.events topic
        exchange carillon.events.replies topic
        exchange carillon.events.refused topic
        exchange carillon.statuses topic
        exchange carillon.work direct else unroutable
        queue parked of any quorum without limit
        queue unroutable of any quorum without limit
          from unroutable by any key
        queue ingest-api.events of raw quorum limit 100 then parked
          from carillon.events by notification.requested
        queue ingest-api.refused of raw quorum limit 100 then parked
          from carillon.events.refused by #
        queue segmenter.runs.transactional of carillon.events.v1.NotificationsAccepted quorum limit 100 then parked
          from carillon.work by segmenter.runs.transactional
        queue segmenter.runs.bulk of carillon.events.v1.NotificationsAccepted quorum limit 100 then parked
          from carillon.work by segmenter.runs.bulk
        queue dispatcher-apns.transactional of carillon.events.v1.DispatchChunks quorum limit 100 then parked
          from carillon.work by dispatcher-apns.transactional
        queue dispatcher-apns.bulk of carillon.events.v1.DispatchChunks quorum limit 100 then parked
          from carillon.work by dispatcher-apns.bulk
        queue dispatcher-fcm.transactional of carillon.events.v1.DispatchChunks quorum limit 100 then parked
          from carillon.work by dispatcher-fcm.transactional
        queue dispatcher-fcm.bulk of carillon.events.v1.DispatchChunks quorum limit 100 then parked
          from carillon.work by dispatcher-fcm.bulk
        queue dispatcher-webpush.transactional of carillon.events.v1.DispatchChunks quorum limit 100 then parked
          from carillon.work by dispatcher-webpush.transactional
        queue dispatcher-webpush.bulk of carillon.events.v1.DispatchChunks quorum limit 100 then parked
          from carillon.work by dispatcher-webpush.bulk
    "#]]
    .assert_eq(&carillon_wire::topology::topology().table());
}

#[test]
fn every_platform_and_lane_has_a_queue_that_is_declared() {
    use carillon_domain::platform::{Lane, Platform};
    let topology = carillon_wire::topology::topology();
    let declared: Vec<&str> = topology.queue_names().collect();
    for lane in Lane::ALL {
        assert!(declared.contains(&format!("segmenter.runs.{}", lane.as_str()).as_str()));
        for platform in Platform::ALL {
            let name = format!("dispatcher-{}.{}", platform.as_str(), lane.as_str());
            assert!(declared.contains(&name.as_str()), "{name}");
            assert_eq!(carillon_wire::topology::chunks(*platform, *lane).spec().name, name);
        }
    }
}

#[test]
fn operators_are_given_the_whole_topology_to_declare() {
    let definitions = carillon_wire::topology::topology().definitions("/");
    expect_file!["../../../tests/contract/definitions.json"].assert_eq(&definitions);
    assert!(serde_json::from_str::<serde_json::Value>(&definitions).is_ok());
}
