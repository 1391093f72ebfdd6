use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use carillon_domain::delivery_status::Status;
use tokio_util::sync::CancellationToken;

use super::world::{Scripted, World, chunk};
use crate::provider::Verdict;

fn one_after_the_other() -> World {
    World::bounded(Scripted::sends().within(Duration::from_millis(100)), 1, 1000)
}

#[tokio::test(start_paused = true)]
async fn a_stop_starts_nothing_more_and_tells_what_was_in_flight() {
    let world = World::bounded(Scripted::sends().within(Duration::from_millis(100)), 8, 1000);
    world.ledger.stop.store(true, Ordering::SeqCst);
    world.send(vec![chunk(1, 100)]).await.unwrap();
    let calls = world.calls.count();
    assert!((8..=32).contains(&calls), "{calls}");
    assert_eq!(world.ledger.outcomes(1).len(), calls);
    assert!(world.ledger.released(1));
}

#[tokio::test(start_paused = true)]
async fn no_send_starts_after_the_lease_has_run_out() {
    let world = one_after_the_other();
    world.ledger.lease_ms.store(2_000, Ordering::SeqCst);
    let began = tokio::time::Instant::now();
    let sending = world.send(vec![chunk(1, 60)]);
    tokio::pin!(sending);
    let away = async {
        world.pass(Duration::from_millis(50)).await;
        world.ledger.away.store(true, Ordering::SeqCst);
        world.pass(Duration::from_secs(30)).await;
        let last = world.calls.last() - began;
        assert!(last < Duration::from_secs(2), "{last:?}");
        assert!(last > Duration::from_millis(1_500), "the lease was good until then");
        world.ledger.away.store(false, Ordering::SeqCst);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        sent = &mut sending => sent.unwrap(),
        () = away => {}
    }
    assert_eq!(world.ledger.outcomes(1).len(), world.calls.count());
    assert_eq!(world.calls.count(), 60, "the ledger extended the lease when it was back");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_somebody_else_has_by_now_is_not_used_again() {
    let world = one_after_the_other();
    world.ledger.lease_ms.store(2_000, Ordering::SeqCst);
    let sending = world.send(vec![chunk(1, 60)]);
    let away = async {
        world.pass(Duration::from_millis(50)).await;
        world.ledger.away.store(true, Ordering::SeqCst);
        world.pass(Duration::from_secs(10)).await;
        world.ledger.stop.store(true, Ordering::SeqCst);
        world.ledger.away.store(false, Ordering::SeqCst);
    };
    let (sent, ()) = tokio::join!(sending, away);
    sent.unwrap();
    assert!(world.calls.count() < 25);
    assert_eq!(world.ledger.outcomes(1).len(), world.calls.count(), "a report is taken whatever the lease says");
}

#[tokio::test(start_paused = true)]
async fn a_drain_finishes_what_is_in_flight_and_gives_the_rest_back() {
    let world = one_after_the_other();
    let (sent, ()) = tokio::join!(world.send(vec![chunk(1, 50)]), async {
        world.pass(Duration::from_millis(450)).await;
        world.stop.cancel();
    });
    sent.unwrap();
    assert_eq!((world.calls.count(), world.ledger.outcomes(1).len()), (5, 5));
    assert!(world.ledger.released(1));
    assert!(world.send(vec![chunk(2, 1)]).await.is_err(), "nothing is claimed any more");
}

/// Answers come as fast as they are asked for, so nothing but the next answer is ever waited for.
async fn cut_while_answers_keep_coming(cut: fn(&World) -> &CancellationToken) {
    let token = Arc::new(OnceLock::<CancellationToken>::new());
    let within = Arc::clone(&token);
    let scripted = Scripted::new(move |seen, _| {
        if seen == "t20" {
            within.get().unwrap().cancel();
        }
        Verdict::Sent { provider_id: None }
    });
    let world = World::bounded(scripted, 8, 1000);
    token.set(cut(&world).clone()).unwrap();
    world.send(vec![chunk(1, 500)]).await.unwrap();
    let calls = world.calls.count();
    assert!((21..=21 + 8).contains(&calls), "{calls}");
    assert_eq!(world.ledger.outcomes(1).len(), calls);
    assert!(world.ledger.released(1));
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_heeded_before_the_next_burst_while_answers_keep_coming() {
    cut_while_answers_keep_coming(|world| &world.stop).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_heeded_before_the_next_burst_while_answers_keep_coming() {
    cut_while_answers_keep_coming(|world| &world.lost).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_broker_connection_gives_the_chunk_back() {
    let world = one_after_the_other();
    let (sent, ()) = tokio::join!(world.send(vec![chunk(1, 50)]), async {
        world.pass(Duration::from_millis(250)).await;
        world.lost.cancel();
    });
    sent.unwrap();
    assert_eq!((world.calls.count(), world.ledger.outcomes(1).len()), (3, 3));
    assert!(world.ledger.released(1));
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_retry_keeps_its_count_when_the_process_drains() {
    let again = Verdict::Unavailable { retry_after: Some(Duration::from_secs(1)) };
    let world = World::new(Scripted::new(move |_, _| again.clone()));
    let (sent, ()) = tokio::join!(world.send(vec![chunk(1, 1)]), async {
        world.pass(Duration::from_millis(300)).await;
        world.stop.cancel();
    });
    sent.unwrap();
    let outcome = &world.ledger.outcomes(1)[&0];
    assert_eq!((outcome.status, outcome.attempts), (Status::Queued as u32, 1));
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_takes_too_long_is_given_back() {
    let world = World::bounded(Scripted::sends().within(Duration::from_secs(1)), 1, 1000);
    let began = tokio::time::Instant::now();
    world.send(vec![chunk(1, 100)]).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(45), "{:?}", began.elapsed());
    assert_eq!(world.ledger.outcomes(1).len(), world.calls.count());
    assert!(world.ledger.released(1));
}
