//! Publishing and acknowledging that fails or hangs, against a real RabbitMQ. The points are the process', so these tests are a process of their
//! own and take turns. What no service's topology names passes the point of parked messages.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "broker/place.rs"]
#[allow(dead_code, reason = "the other test binary uses the rest")]
mod place;

use std::time::{Duration, Instant};

use carillon_broker::{Config, Outgoing, PublishError};
use carillon_failpoint::Armed;
use place::{Job, Place, Script};

/// Armed until it goes.
fn armed(text: &str) -> Armed {
    Armed::with(text.parse().unwrap(), |_| {})
}

/// Publishes one message until it is confirmed; what went wrong before, and how long it took.
async fn published(place: &Place, side: &str, action: &str) -> (PublishError, Duration) {
    let config = Config { confirm_timeout_ms: 1_000, ..place.config() };
    let broker = place.broker_with(&config).await;
    let _armed = armed(&format!("broker.publish.parked:{side}={action}"));
    let message = Outgoing::to(&place.jobs, &Job(1)).with_id("job-1");
    let began = Instant::now();
    let error = broker.publisher().publish(message.clone()).await.unwrap_err();
    let took = began.elapsed();
    broker.publisher().publish(message).await.unwrap();
    place.stop.cancel();
    broker.drained().await.unwrap();
    (error, took)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_or_hangs_while_it_is_published_is_unknown_in_time_and_goes_out_again() {
    for (side, copies) in [("before", 1), ("after", 2)] {
        for action in ["error", "hang"] {
            let place = Place::new().await;
            let (error, took) = published(&place, side, action).await;
            assert!(matches!(error, PublishError::Unknown(_)), "{side} {action}: {error}");
            assert!(took < Duration::from_secs(3), "{side} {action}: {took:?}");
            place.ready_is(place.jobs.name(), copies).await;
            place.remove().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_effect_of_which_nobody_knows_says_that_it_goes_out_again() {
    let place = Place::new().await;
    let broker = place.broker().await;
    place.put_job(0).await;
    let _armed = armed("broker.publish.parked:after=error");
    let done = place.done.name();
    let (script, seen) = Script::new(move |job, _| {
        let effect = Outgoing::routed("", done, &job).with_id("done-0");
        async move { Ok(vec![effect]) }
    });
    broker.consume(&place.jobs, 10, 5, script);
    place.ready_is(place.done.name(), 2).await;
    let said = async || {
        let message = place.take(place.done.name()).await.unwrap();
        let headers = message.properties.headers().clone().unwrap_or_default();
        headers.inner().contains_key("carillon-published-again")
    };
    assert_eq!((said().await, said().await), (false, true));
    assert_eq!(seen.numbers(), [0], "the handler is called once");
    place.stop.cancel();
    broker.drained().await.unwrap();
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_acknowledgement_fails_or_hangs_comes_again_and_ends() {
    for (action, limit) in [("error", 5), ("hang", 20)] {
        let place = Place::new().await;
        let broker = place.broker().await;
        place.put_job(0).await;
        let _armed = armed(&format!("broker.ack:before={action}"));
        let (script, seen) = Script::content();
        let began = Instant::now();
        broker.consume(&place.jobs, 10, 5, script);
        seen.count_is(2).await;
        assert_eq!(seen.all(), [(0, false), (0, true)], "{action}");
        assert!(began.elapsed() < Duration::from_secs(limit), "{action}: {:?}", began.elapsed());
        place.stop.cancel();
        broker.drained().await.unwrap();
        assert_eq!(place.left(place.jobs.name()).await, [""; 0], "{action}");
        place.remove().await;
    }
}
