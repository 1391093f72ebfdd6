//! Streams, limits, queues.

use crate::gateway::{Act, Gateway, OK, Seen};
use crate::{PATIENCE, config, eventually, pool, post};
use carillon_egress::{Http2Pool, NotSent, PoolConfig, Request, RequestError};
use futures::future::join_all;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|i| format!("{i:04}")).collect()
}

/// Sends all at once, and lets the gateway answer what it holds whenever that is as many as may be open at once, or all that are left.
async fn send_all(gateway: &Gateway, pool: &Http2Pool, bodies: &[String], at_once: usize) -> usize {
    let sending = join_all(bodies.iter().map(|body| post(pool, body)));
    let answering = async {
        let mut held = gateway.seen.held.subscribe();
        loop {
            let full = |held: &usize| {
                let answered = Seen::count(&gateway.seen.requests) - held;
                *held > 0 && *held == at_once.min(bodies.len() - answered)
            };
            held.wait_for(full).await.unwrap();
            gateway.tell(Act::AnswerHeld).await;
            held.changed().await.unwrap();
        }
    };
    let all = timeout(PATIENCE, async {
        tokio::select! {
            answers = sending => answers,
            () = answering => unreachable!("it answers until everybody is through"),
        }
    });
    all.await
        .expect("every request ends")
        .into_iter()
        .filter(|answer| matches!(answer, Ok(r) if r.status == 200))
        .count()
}

#[tokio::test]
async fn many_requests_share_two_connections_and_never_exceed_the_peers_stream_limit() {
    let gateway = Gateway::start(10, |_| Act::Hold).await;
    let pool = pool(&gateway, PoolConfig { connections: 2, ..config() });
    let bodies = numbered(0..500);
    assert_eq!(send_all(&gateway, &pool, &bodies, 20).await, 500);
    assert_eq!(gateway.sorted_bodies(), bodies, "each was sent exactly once");
    assert_eq!(Seen::count(&gateway.seen.peak), 10);
    assert_eq!(Seen::count(&gateway.seen.connections), 2);
    let stats = pool.stats();
    assert_eq!((stats.connections, stats.streams, stats.stream_limit, stats.waiting), (2, 0, 20, 0));
    assert_eq!((stats.opened, stats.resent, stats.timeouts), (2, 0, 0));
}

#[tokio::test]
async fn our_own_bound_holds_where_the_peer_would_allow_more() {
    let gateway = Gateway::start(1000, |_| Act::Hold).await;
    let pool = pool(&gateway, PoolConfig { max_streams_per_connection: 7, ..config() });
    assert_eq!(send_all(&gateway, &pool, &numbered(0..60), 7).await, 60);
    assert_eq!(Seen::count(&gateway.seen.peak), 7);
}

#[tokio::test]
async fn a_second_connection_opens_before_the_first_is_full() {
    let gateway = Gateway::start(1000, |_| Act::Hold).await;
    let pool = pool(&gateway, PoolConfig { connections: 2, spread_at: 5, ..config() });
    let bodies = numbered(0..40);
    let sending = join_all(bodies.iter().map(|body| post(&pool, body)));
    let watching = async {
        eventually("40 streams", || Seen::count(&gateway.seen.open_streams) == 40).await;
        eventually("two connections", || pool.stats().connections == 2).await;
        gateway.tell(Act::AnswerHeld).await;
    };
    let (answers, ()) = tokio::join!(sending, watching);
    assert!(answers.iter().all(Result::is_ok));
}

#[tokio::test]
async fn the_least_loaded_connection_takes_the_next_request() {
    let gateway = Gateway::start(100, |_| Act::Hold).await;
    let pool = pool(&gateway, PoolConfig { connections: 2, spread_at: 1, ..config() });
    let ask = || async { post(&pool, "x").await.unwrap().connection.unwrap() };
    let (first, second, third, fourth, ()) = tokio::join!(
        ask(),
        async {
            eventually("one stream", || Seen::count(&gateway.seen.open_streams) == 1).await;
            ask().await
        },
        async {
            eventually("two connections", || pool.stats().connections == 2).await;
            ask().await
        },
        async {
            eventually("three streams", || Seen::count(&gateway.seen.open_streams) == 3).await;
            ask().await
        },
        async {
            eventually("four streams", || Seen::count(&gateway.seen.open_streams) == 4).await;
            gateway.tell(Act::AnswerHeld).await;
        }
    );
    assert_eq!(first, second, "the second connection was not up yet");
    assert_ne!(first, third);
    assert_eq!(third, fourth, "one stream is less than two");
}

#[tokio::test]
async fn requests_that_come_together_share_a_connection_up_to_a_lead_over_the_others() {
    let gateway = Gateway::start(100, |_| Act::Hold).await;
    let pool = pool(&gateway, PoolConfig { connections: 2, spread_at: 5, ..config() });
    let together = async |count| {
        let asked = join_all((0..count).map(|_| post(&pool, "x")));
        let answer = async {
            eventually("all of them", || Seen::count(&gateway.seen.open_streams) == count).await;
            gateway.tell(Act::AnswerHeld).await;
        };
        let (answers, ()) = tokio::join!(asked, answer);
        answers.into_iter().map(|answer| answer.unwrap().connection.unwrap()).collect::<Vec<_>>()
    };
    together(6).await;
    eventually("two connections", || pool.stats().connections == 2).await;
    let mut used = together(5).await;
    used.dedup();
    assert_eq!(used.len(), 1, "one write instead of two");
    let mut used = together(7).await;
    used.sort_by_key(|connection| format!("{connection:?}"));
    used.dedup();
    assert_eq!(used.len(), 2, "nobody waits behind more than the lead");
}

#[tokio::test]
async fn a_lowered_stream_limit_is_followed() {
    let gateway = Gateway::start(100, |a| if a.nth <= 20 { Act::Hold } else { Act::Answer(OK, vec![]) }).await;
    let pool = pool(&gateway, config());
    let bodies = numbered(0..20);
    let lowering = async {
        eventually("20 streams", || Seen::count(&gateway.seen.open_streams) == 20).await;
        gateway.tell(Act::MaxStreams(1)).await;
        eventually("the limit arrived", || pool.stats().stream_limit == 1).await;
        gateway.tell(Act::AnswerHeld).await;
    };
    let (answers, ()) = tokio::join!(join_all(bodies.iter().map(|body| post(&pool, body))), lowering);
    assert!(answers.iter().all(Result::is_ok));
    gateway.seen.peak.store(0, std::sync::atomic::Ordering::SeqCst);
    let answers = join_all(numbered(20..60).iter().map(|body| post(&pool, body))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(Seen::count(&gateway.seen.peak), 1);
}

#[tokio::test]
async fn a_raised_stream_limit_lets_the_waiting_through() {
    // The way APNs begins: one stream until the first request has shown a good token.
    let gateway = Gateway::start(1, |_| Act::Hold).await;
    let pool = pool(&gateway, config());
    let bodies = numbered(0..6);
    let raising = async {
        eventually("five wait", || pool.stats().waiting == 5).await;
        eventually("one is open", || Seen::count(&gateway.seen.open_streams) == 1).await;
        gateway.tell(Act::MaxStreams(100)).await;
        eventually("all are open", || Seen::count(&gateway.seen.open_streams) == 6).await;
        gateway.tell(Act::AnswerHeld).await;
    };
    let (answers, ()) = tokio::join!(join_all(bodies.iter().map(|body| post(&pool, body))), raising);
    assert!(answers.iter().all(Result::is_ok));
}

#[tokio::test]
async fn the_queue_is_bounded_and_those_beyond_it_fail_at_once() {
    let gateway = Gateway::start(1, |a| if a.nth == 1 { Act::Answer(OK, vec![]) } else { Act::Hold }).await;
    let pool = pool(&gateway, PoolConfig { max_waiting: 3, ..config() });
    post(&pool, "0").await.unwrap();
    let bodies = numbered(0..4);
    let beyond = async {
        eventually("three wait", || pool.stats().waiting == 3).await;
        eventually("one is open", || Seen::count(&gateway.seen.open_streams) == 1).await;
        let refused = post(&pool, "beyond").await;
        assert!(matches!(refused, Err(RequestError::NotSent(NotSent::TooManyWaiting))));
        gateway.tell(Act::MaxStreams(10)).await;
        eventually("all are open", || Seen::count(&gateway.seen.open_streams) == 4).await;
        gateway.tell(Act::AnswerHeld).await;
    };
    let (answers, ()) = tokio::join!(join_all(bodies.iter().map(|body| post(&pool, body))), beyond);
    assert!(answers.iter().all(Result::is_ok));
    assert!(!gateway.sorted_bodies().contains(&"beyond".to_owned()));
}

#[tokio::test]
async fn who_waits_until_the_deadline_was_surely_not_sent() {
    let gateway = Gateway::start(1, |_| Act::Hold).await;
    let pool = pool(&gateway, config());
    let waiting = async {
        eventually("one is open", || Seen::count(&gateway.seen.open_streams) == 1).await;
        let (path, headers) = (PathAndQuery::from_static("/"), HeaderMap::new());
        let request = Request::post(&path, &headers, "late".into());
        let late = pool.request_by(request, Instant::now() + Duration::from_millis(30)).await;
        assert!(matches!(late, Err(RequestError::NotSent(NotSent::NoStream))));
        gateway.tell(Act::AnswerHeld).await;
    };
    let (first, ()) = tokio::join!(post(&pool, "first"), waiting);
    assert!(first.is_ok());
    assert_eq!(gateway.sorted_bodies(), ["first"]);
}

#[tokio::test]
async fn a_cancelled_wait_passes_its_turn_on() {
    let gateway = Gateway::start(1, |_| Act::Hold).await;
    let pool = Arc::new(pool(&gateway, config()));
    let holder = tokio::spawn({
        let pool = pool.clone();
        async move { post(&pool, "holder").await }
    });
    eventually("one is open", || Seen::count(&gateway.seen.open_streams) == 1).await;
    let quitter = tokio::spawn({
        let pool = pool.clone();
        async move { post(&pool, "quitter").await }
    });
    eventually("one waits", || pool.stats().waiting == 1).await;
    let patient = tokio::spawn({
        let pool = pool.clone();
        async move { post(&pool, "patient").await }
    });
    eventually("two wait", || pool.stats().waiting == 2).await;
    quitter.abort();
    gateway.tell(Act::AnswerHeld).await;
    assert!(timeout(PATIENCE, holder).await.unwrap().unwrap().is_ok());
    eventually("the patient one is open", || gateway.sorted_bodies() == ["holder", "patient"]).await;
    gateway.tell(Act::AnswerHeld).await;
    assert!(timeout(PATIENCE, patient).await.unwrap().unwrap().is_ok());
}

#[tokio::test]
async fn a_large_body_and_a_header_of_ones_own_arrive_whole() {
    let gateway = Gateway::start(10, |_| Act::Answer(OK, b"{}".to_vec())).await;
    let pool = pool(&gateway, config());
    let (path, mut headers) = (PathAndQuery::from_static("/x?y"), HeaderMap::new());
    headers.insert("apns-id", HeaderValue::from_static("placeholder"));
    let replace = [(HeaderName::from_static("apns-id"), HeaderValue::from_static("mine"))];
    let body = "z".repeat(300_000);
    let request = Request { replace: &replace, ..Request::post(&path, &headers, body.clone().into()) };
    let answer = pool.request(request).await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"{}"[..]));
    assert_eq!(gateway.sorted_bodies(), [body]);
}
