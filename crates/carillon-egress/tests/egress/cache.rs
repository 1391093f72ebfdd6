//! Pools by origin.

use crate::certificates::trust;
use crate::gateway::{Act, Gateway, OK, Seen};
use crate::{config, eventually, post};
use carillon_egress::{ConnectError, Guard, GuardError, Origin, PoolCache, RequestError};
use std::sync::Arc;

fn origin(text: &str) -> Origin {
    text.parse().unwrap()
}

#[tokio::test]
async fn the_pool_that_was_longest_unused_makes_room() {
    let cache = PoolCache::new(2, config(), trust(), Guard::default()).unwrap();
    let [a, b, c] = ["https://a.example", "https://b.example", "https://c.example"].map(origin);
    let first = cache.get(&a).unwrap();
    let _ = cache.get(&b).unwrap();
    assert!(Arc::ptr_eq(&first, &cache.get(&a).unwrap()), "one pool per origin");
    let _ = cache.get(&c).unwrap();
    let mut kept: Vec<_> = cache.pools().iter().map(|pool| pool.origin().to_string()).collect();
    kept.sort();
    assert_eq!(kept, ["https://a.example:443", "https://c.example:443"]);
}

#[tokio::test]
async fn an_evicted_pool_finishes_its_requests_and_then_closes() {
    let gateway = Gateway::start_tls(10, |_| Act::Hold).await;
    let exempt = Guard::new("localhost".parse().unwrap());
    let cache = PoolCache::new(1, config(), trust(), exempt).unwrap();
    let pool = cache.get(&gateway.origin()).unwrap();
    let evicting = async {
        eventually("one is open", || Seen::count(&gateway.seen.open_streams) == 1).await;
        let _ = cache.get(&origin("https://b.example")).unwrap();
        gateway.tell(Act::AnswerHeld).await;
    };
    let (answer, ()) = tokio::join!(post(&pool, "x"), evicting);
    assert_eq!(answer.unwrap().status, 200);
    drop(pool);
    eventually("it is closed", || Seen::count(&gateway.seen.open_connections) == 0).await;
}

#[tokio::test]
async fn the_guard_stands_before_every_connect() {
    let gateway = Gateway::start_tls(10, |_| Act::Answer(OK, vec![])).await;
    let port = gateway.address.port();
    let cache = PoolCache::new(8, config(), trust(), Guard::default()).unwrap();
    for (text, error) in [
        (format!("https://127.0.0.1:{port}"), GuardError::IpLiteral),
        (format!("https://localhost:{port}"), GuardError::HostName),
        (format!("https://push.example.com:{port}"), GuardError::Port),
        ("http://push.example.com".to_owned(), GuardError::NotHttps),
    ] {
        match post(&cache.get(&origin(&text)).unwrap(), "x").await {
            Err(RequestError::Connect(ConnectError::Guard(refused))) => assert_eq!(refused, error, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    assert_eq!(Seen::count(&gateway.seen.connections), 0);
}
