//! What the pool says and does when the peer fails.

use crate::gateway::{Act, CANCEL, Gateway, OK, REFUSED_STREAM, Seen};
use crate::{PATIENCE, closed_port, config, eventually, pool, post};
use carillon_egress::{ConnectError, NotSent, PoolConfig, Request, RequestError, Stage, Unknown};
use futures::future::join_all;
use http::HeaderMap;
use http::uri::PathAndQuery;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

#[tokio::test]
async fn a_refused_stream_is_sent_again() {
    let gateway = Gateway::start(10, |a| match a.nth {
        1 => Act::Reset(REFUSED_STREAM),
        _ => Act::Answer(OK, vec![]),
    });
    let gateway = gateway.await;
    let pool = pool(&gateway, config());
    assert_eq!(post(&pool, "x").await.unwrap().status, 200);
    assert_eq!(gateway.sorted_bodies(), ["x", "x"]);
    assert_eq!(pool.stats().resent, 1);
}

#[tokio::test]
async fn a_peer_that_always_refuses_is_not_asked_for_ever() {
    let gateway = Gateway::start(10, |_| Act::Reset(REFUSED_STREAM)).await;
    let pool = pool(&gateway, config());
    let refused = post(&pool, "x").await;
    assert!(matches!(refused, Err(RequestError::NotSent(NotSent::Refused))));
    assert_eq!(Seen::count(&gateway.seen.requests), 5);
}

#[tokio::test]
async fn any_other_reset_leaves_unknown_whether_it_was_taken() {
    let gateway = Gateway::start(10, |_| Act::Reset(CANCEL)).await;
    let pool = pool(&gateway, config());
    let reset = post(&pool, "x").await;
    assert!(matches!(reset, Err(RequestError::Unknown(Unknown::Reset))));
    assert_eq!(gateway.sorted_bodies(), ["x"], "it is not sent again");
}

#[tokio::test]
async fn a_connection_lost_after_the_request_leaves_unknown_whether_it_was_taken() {
    let gateway = Gateway::start(10, |a| if a.total == 1 { Act::Hangup } else { Act::Answer(OK, vec![]) }).await;
    let pool = pool(&gateway, config());
    let lost = post(&pool, "x").await;
    assert!(matches!(lost, Err(RequestError::Unknown(Unknown::ConnectionLost))));
    assert_eq!(post(&pool, "y").await.unwrap().status, 200, "the next one finds a new connection");
    assert_eq!(gateway.sorted_bodies(), ["x", "y"]);
}

#[tokio::test]
async fn streams_above_a_goaway_are_sent_again_and_those_below_are_not() {
    let gateway = Gateway::start(10, |a| match (a.connection, a.nth) {
        (1, 5) => Act::GoAway { last: 3 },
        (1, _) => Act::Hold,
        _ => Act::Answer(OK, vec![]),
    });
    let gateway = gateway.await;
    let pool = pool(&gateway, config());
    let bodies = ["0", "1", "2", "3", "4"];
    let finishing = async {
        eventually("two were sent again", || Seen::count(&gateway.seen.requests) == 7).await;
        gateway.tell(Act::AnswerHeld).await;
    };
    let (answers, ()) = tokio::join!(join_all(bodies.iter().map(|body| post(&pool, body))), finishing);
    assert!(answers.iter().all(|a| matches!(a, Ok(r) if r.status == 200)));
    assert_eq!(gateway.sorted_bodies(), ["0", "1", "2", "3", "3", "4", "4"]);
    let stats = pool.stats();
    assert_eq!((stats.goaways, stats.resent, stats.opened), (1, 2, 2));
    eventually("the first connection is closed", || Seen::count(&gateway.seen.open_connections) == 1).await;
}

#[tokio::test]
async fn nothing_is_sent_on_a_connection_that_said_goaway() {
    let gateway = Gateway::start(10, |a| if a.nth == 1 { Act::Hold } else { Act::Answer(OK, vec![]) }).await;
    let pool = pool(&gateway, config());
    let after = async {
        eventually("one is open", || Seen::count(&gateway.seen.open_streams) == 1).await;
        gateway.tell(Act::GoAway { last: 1 }).await;
        eventually("the pool knows", || pool.stats().goaways == 1).await;
        let answering = async {
            eventually("it is on the second connection", || Seen::count(&gateway.seen.open_streams) == 2).await;
            gateway.tell(Act::AnswerHeld).await;
        };
        tokio::join!(post(&pool, "second"), answering).0
    };
    let (first, second) = tokio::join!(post(&pool, "first"), after);
    assert_ne!(first.unwrap().connection, second.unwrap().connection);
    assert_eq!(pool.stats().resent, 0);
}

#[tokio::test]
async fn no_answer_in_time_leaves_unknown_whether_it_was_taken_and_cancels_the_stream() {
    let gateway = Gateway::start(10, |_| Act::Hold).await;
    let pool = pool(&gateway, PoolConfig { request_timeout: Duration::from_millis(50), ..config() });
    let late = post(&pool, "x").await;
    assert!(matches!(late, Err(RequestError::Unknown(Unknown::Timeout))));
    assert_eq!(pool.stats().timeouts, 1);
    eventually("the stream is cancelled", || Seen::count(&gateway.seen.cancelled) == 1).await;
    eventually("a PING asks for a sign of life", || Seen::count(&gateway.seen.pings) == 1).await;
    assert_eq!(pool.stats().connections, 1, "which came");
}

#[tokio::test]
async fn a_path_that_falls_silent_is_noticed_and_replaced() {
    let gateway = Gateway::start(10, |_| Act::Answer(OK, vec![])).await;
    let (interval, patience) = (Duration::from_millis(30), Duration::from_secs(1));
    let pool = pool(&gateway, PoolConfig { ping_interval: interval, ping_timeout: patience, ..config() });
    post(&pool, "before").await.unwrap();
    gateway.fall_silent();
    let lost = post(&pool, "during").await;
    assert!(matches!(lost, Err(RequestError::Unknown(Unknown::ConnectionLost))), "long before its own deadline");
    assert_eq!(post(&pool, "after").await.unwrap().status, 200);
    assert_eq!(pool.stats().dead_paths, 1);
    assert_eq!(gateway.sorted_bodies(), ["after", "before"]);
}

#[tokio::test]
async fn a_silent_path_is_left_aside_before_it_is_given_up() {
    let gateway = Gateway::start(10, |_| Act::Answer(OK, vec![])).await;
    let hasty = PoolConfig { request_timeout: Duration::from_millis(150), ping_timeout: PATIENCE, ..config() };
    let pool = pool(&gateway, hasty);
    let before = post(&pool, "before").await.unwrap().connection;
    gateway.fall_silent();
    assert!(matches!(post(&pool, "during").await, Err(RequestError::Unknown(Unknown::Timeout))));
    for _ in 0..20 {
        assert_ne!(post(&pool, "after").await.unwrap().connection, before);
    }
    let stats = pool.stats();
    assert_eq!((stats.dead_paths, stats.timeouts, stats.opened), (0, 1, 2));
    gateway.speak_again();
    eventually("the one that was left aside is not needed any more", || pool.stats().connections == 1).await;
    eventually("it is closed", || Seen::count(&gateway.seen.open_connections) == 1).await;
    assert_eq!(post(&pool, "at last").await.unwrap().status, 200);
}

#[tokio::test]
async fn one_slow_answer_among_others_casts_no_suspicion() {
    let gateway = Gateway::start(10, |a| if a.total == 1 { Act::Hold } else { Act::Answer(OK, vec![]) }).await;
    let pool = pool(&gateway, PoolConfig { request_timeout: Duration::from_millis(100), ..config() });
    let others = async {
        eventually("one is open", || Seen::count(&gateway.seen.open_streams) == 1).await;
        post(&pool, "quick").await.unwrap()
    };
    let (slow, quick) = tokio::join!(post(&pool, "slow"), others);
    assert!(matches!(slow, Err(RequestError::Unknown(Unknown::Timeout))));
    eventually("the stream is cancelled", || Seen::count(&gateway.seen.cancelled) == 1).await;
    assert_eq!(post(&pool, "next").await.unwrap().connection, quick.connection);
    assert_eq!(Seen::count(&gateway.seen.pings), 0);
}

#[tokio::test]
async fn an_idle_connection_that_answers_pings_stays() {
    let gateway = Gateway::start(10, |_| Act::Answer(OK, vec![])).await;
    let pool = pool(&gateway, PoolConfig { ping_interval: Duration::from_millis(10), ..config() });
    let first = post(&pool, "x").await.unwrap();
    eventually("five PINGs", || Seen::count(&gateway.seen.pings) >= 5).await;
    assert_eq!(post(&pool, "y").await.unwrap().connection, first.connection);
}

#[tokio::test]
async fn a_server_that_is_down_is_reported_and_used_again_when_it_is_back() {
    let (socket, address) = closed_port();
    let origin = format!("http://{address}").parse().unwrap();
    let pool = carillon_egress::Http2Pool::new(origin, config(), crate::certificates::trust()).unwrap();
    let down = timeout(PATIENCE, post(&pool, "x")).await.expect("long before its deadline").unwrap_err();
    assert!(matches!(down, RequestError::Connect(ConnectError::Tcp(_))), "{down}");
    assert!(down.is_surely_unsent());
    assert!(pool.stats().connect_failures >= 3, "short hiccups are ridden out");
    let _gateway = Gateway::open(socket);
    let back = timeout(PATIENCE, async {
        loop {
            match post(&pool, "y").await {
                Ok(answer) => return answer,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    });
    assert_eq!(back.await.unwrap().status, 200);
}

#[tokio::test]
async fn a_hiccup_of_the_gateway_is_ridden_out() {
    let (socket, address) = closed_port();
    let origin = format!("http://{address}").parse().unwrap();
    let patient = PoolConfig { backoff_first: Duration::from_millis(100), backoff_ceiling: PATIENCE, ..config() };
    let pool = carillon_egress::Http2Pool::new(origin, patient, crate::certificates::trust()).unwrap();
    let starting = async {
        eventually("the first connect failed", || pool.stats().connect_failures == 1).await;
        Gateway::open(socket)
    };
    let (answer, _gateway) = tokio::join!(post(&pool, "x"), starting);
    assert_eq!(answer.unwrap().status, 200);
}

#[tokio::test]
async fn a_gateway_that_accepts_and_hangs_up_is_not_called_in_a_tight_loop() {
    let gateway = Gateway::start(10, |_| Act::Hangup).await;
    gateway.hang_up_at_once();
    let pool = pool(&gateway, PoolConfig { backoff_ceiling: Duration::from_secs(5), ..config() });
    let end = Instant::now() + Duration::from_millis(300);
    while Instant::now() < end {
        let failed = post(&pool, "x").await.unwrap_err();
        assert!(matches!(failed, RequestError::Connect(ConnectError::Http2(_))), "{failed:?}");
        tokio::task::yield_now().await;
    }
    let called = Seen::count(&gateway.seen.connections);
    assert!((3..=8).contains(&called), "10 ms, 20, 40 ... apart, not {called} times");
}

#[tokio::test]
async fn a_gateway_that_hangs_up_on_every_request_is_not_called_in_a_tight_loop() {
    let gateway = Gateway::start(10, |_| Act::Hangup).await;
    let pool = pool(&gateway, PoolConfig { backoff_ceiling: Duration::from_secs(5), ..config() });
    let end = Instant::now() + Duration::from_millis(300);
    while Instant::now() < end {
        let failed = post(&pool, "x").await;
        assert!(failed.is_err());
        tokio::task::yield_now().await;
    }
    let called = Seen::count(&gateway.seen.connections);
    assert!((3..=8).contains(&called), "10 ms, 20, 40 ... apart, not {called} times");
}

#[tokio::test]
async fn a_busy_connection_that_goes_away_is_replaced_before_the_next_request() {
    let gateway = Gateway::start(10, |_| Act::Hold).await;
    let pool = pool(&gateway, config());
    let going = async {
        eventually("one is open", || Seen::count(&gateway.seen.open_streams) == 1).await;
        gateway.tell(Act::GoAway { last: 1 }).await;
        eventually("another is there", || pool.stats().opened == 2 && pool.stats().connections == 1).await;
        gateway.tell(Act::AnswerHeld).await;
    };
    let (answer, ()) = tokio::join!(post(&pool, "x"), going);
    assert_eq!(answer.unwrap().status, 200);
}

#[tokio::test]
async fn a_replaced_connection_finishes_what_it_has_and_takes_nothing_new() {
    let gateway = Gateway::start(10, |a| if a.total == 2 { Act::Hold } else { Act::Answer(OK, vec![]) }).await;
    let pool = pool(&gateway, config());
    let first = post(&pool, "0").await.unwrap().connection.unwrap();
    let replacing = async {
        eventually("one is open", || Seen::count(&gateway.seen.open_streams) == 1).await;
        for _ in 0..100 {
            pool.replace(first);
        }
        let next = post(&pool, "2").await.unwrap().connection.unwrap();
        pool.replace(first);
        gateway.tell(Act::AnswerHeld).await;
        next
    };
    let (held, next) = tokio::join!(post(&pool, "1"), replacing);
    assert_eq!(held.unwrap().connection, Some(first));
    assert_ne!(next, first);
    assert_eq!(pool.stats().opened, 2, "reports of the same connection count once");
    eventually("the old one is closed", || Seen::count(&gateway.seen.open_connections) == 1).await;
    pool.replace_connections();
    eventually("all are closed", || Seen::count(&gateway.seen.open_connections) == 0).await;
    assert_eq!(post(&pool, "3").await.unwrap().status, 200);
}

#[tokio::test]
async fn connections_are_replaced_when_they_age_and_no_request_notices() {
    let gateway = Gateway::start(10, |_| Act::Answer(OK, vec![])).await;
    let pool = pool(&gateway, PoolConfig { max_age: Duration::from_millis(20), ..config() });
    let ageing = timeout(PATIENCE, async {
        while pool.stats().opened < 5 {
            assert_eq!(post(&pool, "x").await.unwrap().status, 200);
        }
    });
    ageing.await.unwrap();
    assert_eq!(pool.stats().resent, 0);
}

#[tokio::test]
async fn closing_refuses_new_requests_and_lets_the_others_finish() {
    let gateway = Gateway::start(10, |_| Act::Hold).await;
    let pool = pool(&gateway, config());
    let closing = async {
        eventually("one is open", || Seen::count(&gateway.seen.open_streams) == 1).await;
        let finishing = async {
            eventually("it is closing", || pool.stats().connections == 0).await;
            let refused = post(&pool, "late").await;
            assert!(matches!(refused, Err(RequestError::NotSent(NotSent::Closed))));
            gateway.tell(Act::AnswerHeld).await;
        };
        tokio::join!(pool.close(Instant::now() + PATIENCE), finishing).0
    };
    let (answer, finished) = tokio::join!(post(&pool, "x"), closing);
    assert_eq!(answer.unwrap().status, 200);
    assert!(finished);
}

#[tokio::test]
async fn closing_cuts_what_is_left_at_its_deadline() {
    let gateway = Gateway::start(10, |_| Act::Hold).await;
    let pool = pool(&gateway, config());
    let closing = async {
        eventually("one is open", || Seen::count(&gateway.seen.open_streams) == 1).await;
        pool.close(Instant::now() + Duration::from_millis(50)).await
    };
    let (answer, finished) = tokio::join!(post(&pool, "x"), closing);
    assert!(matches!(answer, Err(RequestError::Unknown(Unknown::ConnectionLost))));
    assert!(!finished);
}

#[tokio::test]
async fn closing_does_not_wait_for_a_connect_that_hangs() {
    // A listener that never accepts: the kernel completes TCP, and no SETTINGS ever come.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let patient = PoolConfig { connect_timeout: PATIENCE * 6, request_timeout: PATIENCE * 6, ..config() };
    let pool = carillon_egress::Http2Pool::new(origin, patient, crate::certificates::trust()).unwrap();
    let closing = async {
        eventually("it waits", || pool.stats().waiting == 1).await;
        pool.close(Instant::now() + PATIENCE).await
    };
    let (answer, finished) = timeout(PATIENCE / 2, async { tokio::join!(post(&pool, "x"), closing) }).await.unwrap();
    assert!(matches!(answer, Err(RequestError::NotSent(NotSent::Closed))));
    assert!(finished);
}

#[tokio::test]
async fn a_server_that_never_speaks_is_a_connect_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let hasty = PoolConfig { connect_timeout: Duration::from_millis(30), ..config() };
    let pool = carillon_egress::Http2Pool::new(origin, hasty, crate::certificates::trust()).unwrap();
    let silent = post(&pool, "x").await;
    assert!(matches!(silent, Err(RequestError::Connect(ConnectError::Timeout(Stage::Http2)))), "{silent:?}");
}

#[tokio::test]
async fn dropping_the_pool_closes_its_connections() {
    let gateway = Gateway::start(10, |_| Act::Answer(OK, vec![])).await;
    let pool = pool(&gateway, config());
    post(&pool, "x").await.unwrap();
    assert_eq!(Seen::count(&gateway.seen.open_connections), 1);
    drop(pool);
    eventually("it is closed", || Seen::count(&gateway.seen.open_connections) == 0).await;
}

#[tokio::test]
async fn a_request_that_http2_cannot_carry_is_refused_and_harms_no_other() {
    let gateway = Gateway::start(10, |_| Act::Answer(OK, vec![])).await;
    let pool = pool(&gateway, config());
    let first = post(&pool, "x").await.unwrap();
    let (path, mut headers) = (PathAndQuery::from_static("/"), HeaderMap::new());
    headers.insert("connection", "keep-alive".parse().unwrap());
    let refused = pool.request(Request::post(&path, &headers, "y".into())).await;
    assert!(matches!(refused, Err(RequestError::NotSent(NotSent::Invalid))), "{refused:?}");
    assert_eq!(post(&pool, "z").await.unwrap().connection, first.connection);
}
