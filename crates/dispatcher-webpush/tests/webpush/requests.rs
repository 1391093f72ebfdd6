//! What arrives at a strict push service, and what the browser reads.

use std::time::Duration;

use carillon_dispatch::conformance::{facts, message};
use carillon_dispatch::{ChunkFacts, Message, Verdict};
use carillon_runtime::Clock;
use futures::future::join_all;
use jiff::Timestamp;

use crate::browser::{Browsers, body, is_sent, key, open, send, send_of};

#[tokio::test]
async fn the_browser_reads_what_was_sent_and_the_service_finds_no_fault() {
    let browsers = Browsers::start().await;
    let (webpush, device) = (browsers.replica(), browsers.device().await);
    let topic = "AZDI8QAAcACAAAAAAAAAAQ";
    let facts = ChunkFacts { collapse_id: topic.into(), ..facts(Timestamp::now()) };
    let verdict = send_of(&facts, &webpush, &open(&webpush, &key()), message(&device, body())).await;
    assert!(matches!(&verdict, Verdict::Sent { provider_id: Some(id) } if id.len() == 32), "{verdict:?}");
    let records = browsers.records(&device);
    assert_eq!((records.len(), records[0].violations.as_slice()), (1, [].as_slice()));
    assert_eq!(records[0].body, serde_json::from_slice::<serde_json::Value>(&body()).unwrap());
    let header = |name: &str| records[0].headers[name].clone();
    assert_eq!([header("topic"), header("ttl"), header("urgency")], [topic, "3600", "high"]);
    assert_eq!([header("content-encoding"), header("content-type")], ["aes128gcm", "application/octet-stream"]);
}

#[tokio::test]
async fn what_nobody_sees_is_less_urgent_and_what_is_for_now_is_not_kept() {
    let browsers = Browsers::start().await;
    let webpush = browsers.replica();
    let key = open(&webpush, &key());
    let usual = || facts(Timestamp::now());
    for (chunk, urgency, ttl) in [
        (ChunkFacts { high_priority: false, ..usual() }, "normal", "3600"),
        (ChunkFacts { high_priority: false, shown: false, ..usual() }, "low", "3600"),
        (ChunkFacts { shown: false, ..usual() }, "high", "3600"),
        (ChunkFacts { now_or_never: true, ..usual() }, "high", "0"),
    ] {
        let device = browsers.device().await;
        assert!(is_sent(&send_of(&chunk, &webpush, &key, message(&device, body())).await));
        let headers = &browsers.records(&device)[0].headers;
        assert_eq!([headers["urgency"].as_str(), headers["ttl"].as_str()], [urgency, ttl]);
    }
}

#[tokio::test]
async fn the_time_to_live_is_what_is_left_of_it() {
    let browsers = Browsers::start().await;
    let webpush = browsers.replica();
    let key = open(&webpush, &key());
    for (left, ttl) in [(Duration::from_millis(90_900), "90"), (Duration::from_secs(40 * 24 * 3600), "2592000")] {
        let device = browsers.device().await;
        let message = Message { time_left: left, ..message(&device, body()) };
        assert!(is_sent(&send_of(&facts(Timestamp::now()), &webpush, &key, message).await));
        assert_eq!(browsers.records(&device)[0].headers["ttl"], ttl);
    }
}

#[tokio::test]
async fn one_signature_serves_a_service_for_half_a_day_and_is_always_good() {
    let browsers = Browsers::start().await;
    let clock = Clock::manual(Timestamp::now());
    let (webpush, device) = (browsers.replica_at(clock.clone()), browsers.device().await);
    let key = open(&webpush, &key());
    for _ in 0..9 {
        assert!(is_sent(&send(&webpush, &key, &device).await));
        clock.advance(Duration::from_secs(5 * 3600));
        browsers.sim.advance_clock(Duration::from_secs(5 * 3600));
    }
    let mut signatures: Vec<_> = browsers.records(&device).iter().map(|r| r.headers["authorization"].clone()).collect();
    signatures.dedup();
    assert_eq!(signatures.len(), 3, "in 40 hours, looked at every five");
}

#[tokio::test]
async fn a_clock_that_is_some_hours_off_does_no_harm() {
    let browsers = Browsers::start().await;
    for hours in [-3, 3] {
        let now = Timestamp::now() + jiff::SignedDuration::from_hours(hours);
        let (webpush, device) = (browsers.replica_at(Clock::manual(now)), browsers.device().await);
        assert!(is_sent(&send(&webpush, &open(&webpush, &key()), &device).await), "{hours} h");
    }
}

#[tokio::test]
async fn many_messages_at_once_share_few_connections() {
    let browsers = Browsers::start().await;
    let webpush = browsers.replica();
    let key = open(&webpush, &key());
    let mut devices = Vec::new();
    for _ in 0..100 {
        devices.push(browsers.device().await);
    }
    let verdicts = join_all(devices.iter().map(|device| send(&webpush, &key, device))).await;
    assert!(verdicts.iter().all(is_sent), "{verdicts:?}");
    let (_, opened) = browsers.sim.connections(provider_sim::Provider::Webpush);
    assert!(opened <= 4, "{opened} connections");
}
