use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::world::{ROOM, Scripted, World, chunk};
use crate::outbox::UNCOMMITTED;

#[tokio::test(start_paused = true)]
async fn nothing_new_is_started_while_64_results_are_not_committed() {
    let world = World::new(Scripted::sends());
    world.ledger.commits.forget_permits(Semaphore::MAX_PERMITS);
    let sending = world.send(vec![chunk(1, 500)]);
    tokio::pin!(sending);
    tokio::select! {
        _ = &mut sending => panic!("nothing was committed"),
        () = world.pass(Duration::from_secs(1)) => {}
    }
    assert_eq!(world.calls.count(), UNCOMMITTED);
    world.ledger.commits.add_permits(1000);
    sending.await.unwrap();
    assert_eq!((world.calls.count(), world.ledger.outcomes(1).len()), (500, 500));
}

#[tokio::test(start_paused = true)]
async fn small_messages_do_not_wait_for_each_other_s_reports_and_all_together_repeat_no_more_than_full_ones() {
    for (size, messages, sent) in
        [(1, 100, 100), (64, ROOM as u32 + 2, ROOM * UNCOMMITTED), (500, ROOM as u32 + 2, ROOM * UNCOMMITTED)]
    {
        let world = World::new(Scripted::sends());
        world.ledger.commits.forget_permits(Semaphore::MAX_PERMITS);
        let sending = futures::future::join_all((0..messages).map(|number| world.send(vec![chunk(number, size)])));
        tokio::pin!(sending);
        tokio::select! {
            _ = &mut sending => panic!("nothing was committed"),
            () = world.pass(Duration::from_secs(1)) => {}
        }
        assert_eq!(world.calls.count(), sent, "{messages} messages of {size}");
        world.ledger.commits.add_permits(10_000);
        assert!(sending.await.iter().all(Result::is_ok));
        assert_eq!(world.calls.count(), (size * messages) as usize);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_finds_no_room_in_time_lines_up_again_without_having_begun() {
    let world = World::new(Scripted::sends());
    world.ledger.commits.forget_permits(Semaphore::MAX_PERMITS);
    let full = futures::future::join_all((0..ROOM as u32).map(|number| world.send(vec![chunk(number, 64)])));
    let late = world.send(vec![chunk(99, 1)]);
    tokio::select! {
        biased;
        _ = full => panic!("nothing was committed"),
        given_up = late => assert!(given_up.is_err()),
    }
    assert_eq!(world.calls.count(), ROOM * UNCOMMITTED);
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_is_bounded_by_chunk_and_by_process() {
    let slow = || Scripted::sends().within(Duration::from_millis(50));
    let world = World::bounded(slow(), 10, 1000);
    world.send(vec![chunk(1, 100)]).await.unwrap();
    assert_eq!(world.calls.most_flying.load(Ordering::SeqCst), 10);
    let world = World::bounded(slow(), 256, 7);
    world.send(vec![chunk(1, 50), chunk(2, 50)]).await.unwrap();
    assert_eq!(world.calls.most_flying.load(Ordering::SeqCst), 7);
}

#[tokio::test(start_paused = true)]
async fn no_result_waits_longer_than_200_ms_to_be_told() {
    let world = World::bounded(Scripted::sends().within(Duration::from_millis(90)), 1, 1000);
    world.send(vec![chunk(1, 20)]).await.unwrap();
    let reports = world.ledger.reports.lock().unwrap();
    let times: Vec<_> = reports.iter().map(|(at, _)| at.as_millis()).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= 300), "{times:?}");
    assert!(reports.len() <= 9, "results are told together: {times:?}");
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_extended_every_second_although_there_is_nothing_to_tell() {
    let world = World::new(Scripted::sends().within(Duration::from_millis(4_500)));
    world.send(vec![chunk(1, 1)]).await.unwrap();
    let reports = world.ledger.reports.lock().unwrap();
    let empty: Vec<_> = reports.iter().filter(|(_, r)| r.outcomes.is_empty()).map(|(at, _)| at.as_secs()).collect();
    assert_eq!(empty, [1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_full_load_of_results_is_told_at_once() {
    let world = World::bounded(Scripted::sends().within(Duration::from_millis(10)), 64, 1000);
    world.send(vec![chunk(1, 64 * 4)]).await.unwrap();
    let reports = world.ledger.reports.lock().unwrap();
    let counts: Vec<_> = reports.iter().map(|(_, r)| r.outcomes.len()).filter(|n| *n > 0).collect();
    assert!(counts.iter().all(|n| *n == 64), "{counts:?}");
    assert!(reports.last().unwrap().0 < Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_was_away_is_told_everything_when_it_is_back() {
    let world = World::bounded(Scripted::sends().within(Duration::from_millis(20)), 4, 1000);
    let sending = world.send(vec![chunk(1, 300)]);
    tokio::pin!(sending);
    let away = async {
        world.pass(Duration::from_millis(300)).await;
        world.ledger.away.store(true, Ordering::SeqCst);
        world.pass(Duration::from_secs(3)).await;
        let in_between = world.calls.count();
        world.pass(Duration::from_secs(20)).await;
        assert_eq!(world.calls.count(), in_between, "64 uncommitted results stop new sends");
        world.ledger.away.store(false, Ordering::SeqCst);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        sent = &mut sending => sent.unwrap(),
        () = away => {}
    }
    let outcomes = world.ledger.outcomes(1);
    assert_eq!((outcomes.len(), world.calls.count()), (300, 300));
    assert!(world.ledger.released(1));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_is_cut_loses_no_result() {
    let world = World::bounded(Scripted::sends().within(Duration::from_millis(30)), 1, 1000);
    let cut = tokio::time::timeout(Duration::from_millis(160), world.send(vec![chunk(1, 50)])).await;
    assert!(cut.is_err());
    world.pass(Duration::from_millis(10)).await;
    assert_eq!(world.ledger.outcomes(1).len(), 5, "all that had a verdict");
    assert!(world.ledger.released(1));
}

#[tokio::test(start_paused = true)]
async fn a_report_that_the_ledger_does_not_understand_takes_no_other_with_it() {
    let world = World::new(Scripted::sends());
    *world.ledger.puzzled_by.lock().unwrap() = Some(1);
    world.send((1..=4).map(|n| chunk(n, 1)).collect()).await.unwrap();
    assert_eq!([1, 2, 3, 4].map(|n| world.ledger.outcomes(n).len()), [0, 1, 1, 1]);
}
