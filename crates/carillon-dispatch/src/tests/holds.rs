use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use carillon_domain::delivery_status::Status;

use super::ledger::EPOCH_MS;
use super::world::{Scripted, World, chunk, of_app, sealed_for};
use crate::provider::{Scope, Verdict};

fn refused() -> Verdict {
    Verdict::Misconfigured { detail: "InvalidProviderToken".into() }
}

#[tokio::test(start_paused = true)]
async fn a_refused_credential_holds_its_own_chunks_and_no_others() {
    let world = World::bounded(Scripted::new(|_, _| refused()), 1, 1000);
    world.send(vec![chunk(1, 100)]).await.unwrap();
    assert_eq!(world.calls.count(), 1, "the others need not ask");
    let outcomes = world.ledger.outcomes(1);
    assert_eq!(outcomes.len(), 100);
    assert!(outcomes.values().all(|o| o.status == Status::Queued as u32));
    let times: BTreeSet<_> = outcomes.values().map(|o| (o.not_before_ms - EPOCH_MS) / 1000).collect();
    assert!(times.iter().all(|seconds| (60..=75).contains(seconds)), "{times:?}");
    assert!(times.len() <= 2, "what was not tried comes back together: {times:?}");
    assert_eq!(outcomes.values().map(|o| o.attempts).sum::<u32>(), 1, "what was not sent was not tried");
    world.send(vec![chunk(2, 10)]).await.unwrap();
    assert_eq!(world.calls.count(), 1);
    world.send(vec![of_app("b", 3, 1)]).await.unwrap();
    assert_eq!(world.calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_credential_of_an_app_that_was_deleted_and_made_anew_is_another_one_though_its_version_is_the_same() {
    let world = World::bounded(Scripted::new(|_, _| refused()), 1, 1000);
    world.send(vec![chunk(1, 2)]).await.unwrap();
    assert_eq!(world.calls.count(), 1, "the other is held");
    let mut anew = chunk(2, 1);
    anew.credential.as_mut().unwrap().sealed = sealed_for("a");
    world.send(vec![anew]).await.unwrap();
    assert_eq!(world.calls.count(), 2, "nothing is known of this one");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_refuses_the_credential_holds_its_own_messages_and_the_other_host_is_served() {
    let scripted = Scripted::new(|token, _| match is_even(token) {
        true => refused(),
        false => Verdict::Sent { provider_id: None },
    });
    let world = World::bounded(scripted.two_hosts(), 1, 1000);
    for number in 1..3 {
        world.send(vec![chunk(number, 100)]).await.unwrap();
        for (position, outcome) in world.ledger.outcomes(number) {
            let expected = if position % 2 == 0 { Status::Queued } else { Status::Sent };
            assert_eq!(outcome.status, expected as u32, "{number} {position}");
        }
    }
    let to_the_one: usize = (0..100).step_by(2).map(|number| world.calls.of(&format!("t{number}"))).sum();
    assert_eq!(to_the_one, 1, "the others need not ask");
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_is_refused_while_it_is_prepared_holds_all_hosts() {
    let world = World::new(Scripted::sends().unprepared(refused()).two_hosts());
    for number in 1..4 {
        world.send(vec![chunk(number, 10)]).await.unwrap();
        assert!(world.ledger.outcomes(number).values().all(|o| o.status == Status::Queued as u32));
    }
    assert_eq!((world.calls.count(), world.calls.prepared.load(Ordering::SeqCst)), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_held_credential_is_tried_again_after_a_minute() {
    let world = World::new(Scripted::new(|_, before| match before {
        0 => refused(),
        _ => Verdict::Sent { provider_id: None },
    }));
    world.send(vec![chunk(1, 1)]).await.unwrap();
    world.pass(Duration::from_secs(61)).await;
    world.send(vec![chunk(2, 1)]).await.unwrap();
    assert_eq!(world.ledger.outcomes(2)[&0].status, Status::Sent as u32);
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_cannot_be_opened_holds_its_messages_without_a_word_to_the_provider() {
    let world = World::new(Scripted::sends());
    let mut foreign = chunk(1, 3);
    foreign.app = "b".into();
    world.send(vec![foreign]).await.unwrap();
    let outcomes = world.ledger.outcomes(1);
    assert!(
        outcomes.values().all(|o| o.status == Status::Queued as u32 && o.attempts == 0 && o.not_before_ms > EPOCH_MS)
    );
    assert_eq!((outcomes.len(), world.calls.count()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn an_exhausted_quota_pauses_everything_of_the_credential() {
    let throttled = Verdict::Throttled { retry_after: Some(Duration::from_secs(20)), scope: Scope::Credential };
    let world = World::bounded(Scripted::new(move |_, _| throttled.clone()), 1, 1000);
    world.send(vec![chunk(1, 50)]).await.unwrap();
    assert_eq!(world.calls.count(), 1);
    let outcomes = world.ledger.outcomes(1);
    assert!(outcomes.values().all(|o| (20_000..=25_000).contains(&(o.not_before_ms - EPOCH_MS))));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_away_is_left_alone_but_for_probes() {
    let world = World::bounded(Scripted::new(|_, _| Verdict::Unavailable { retry_after: None }), 4, 1000);
    world.send(vec![chunk(1, 500)]).await.unwrap();
    let first = world.calls.count();
    assert!((10..30).contains(&first), "{first}");
    assert_eq!(world.ledger.outcomes(1).len(), 500);
    for number in 2..12 {
        world.send(vec![chunk(number, 100)]).await.unwrap();
        world.pass(Duration::from_secs(1)).await;
    }
    let probes = world.calls.count() - first;
    assert!((5..=30).contains(&probes), "{probes}");
}

fn is_even(token: &str) -> bool {
    token.trim_start_matches('t').parse::<u32>().is_ok_and(|number| number % 2 == 0)
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_down_holds_its_own_messages_and_none_of_the_other_hosts_in_the_same_chunk() {
    for down in [
        Verdict::Unavailable { retry_after: None },
        Verdict::Unavailable { retry_after: Some(Duration::from_secs(30)) },
        Verdict::Unknown,
    ] {
        let scripted = Scripted::new(move |token, _| match is_even(token) {
            true => down.clone(),
            false => Verdict::Sent { provider_id: None },
        });
        let world = World::bounded(scripted.two_hosts(), 8, 1000);
        for number in 1..4 {
            world.send(vec![chunk(number, 200)]).await.unwrap();
            let outcomes = world.ledger.outcomes(number);
            assert_eq!(outcomes.len(), 200);
            for (position, outcome) in outcomes {
                let expected = if position % 2 == 0 { Status::Queued } else { Status::Sent };
                assert_eq!(outcome.status, expected as u32, "{number} {position}");
            }
        }
        let to_the_dead: usize = (0..200).step_by(2).map(|number| world.calls.of(&format!("t{number}"))).sum();
        assert!(to_the_dead < 40, "{to_the_dead}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_comes_back_is_found_by_a_probe_while_the_other_host_is_served() {
    let began = tokio::time::Instant::now();
    let scripted = Scripted::new(move |token, _| match is_even(token) && began.elapsed() < Duration::from_secs(20) {
        true => Verdict::Unavailable { retry_after: None },
        false => Verdict::Sent { provider_id: None },
    });
    let world = World::bounded(scripted.two_hosts().within(Duration::from_millis(20)), 8, 1000);
    world.send(vec![chunk(1, 100)]).await.unwrap();
    world.pass(Duration::from_secs(25)).await;
    world.send(vec![chunk(2, 100)]).await.unwrap();
    assert!(world.ledger.outcomes(2).values().all(|o| o.status == Status::Sent as u32));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_succeeds_lets_the_rest_of_its_chunk_follow() {
    let scripted = Scripted::new(|token, before| match (token, before) {
        ("t0", 10..) | ("t1" | "t2", _) => Verdict::Sent { provider_id: None },
        _ => Verdict::Unavailable { retry_after: Some(Duration::from_millis(100)) },
    });
    let world = World::new(scripted.within(Duration::from_millis(50)));
    while world.calls.of("t0") < 10 {
        world.send(vec![chunk(1000 + world.calls.count() as u32, 1)]).await.unwrap();
    }
    world.pass(Duration::from_secs(2)).await;
    world.send(vec![chunk(1, 3)]).await.unwrap();
    assert!(world.ledger.outcomes(1).values().all(|o| o.status == Status::Sent as u32));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_cannot_prepare_is_not_asked_for_every_chunk() {
    let world = World::new(Scripted::sends().unprepared(Verdict::Unavailable { retry_after: None }));
    for number in 0..50 {
        world.send(vec![chunk(number, 2)]).await.unwrap();
        let outcomes = world.ledger.outcomes(number);
        assert!(outcomes.values().all(|o| o.status == Status::Queued as u32 && o.attempts == 0));
        assert_eq!(outcomes.len(), 2);
    }
    assert_eq!((world.calls.count(), world.calls.prepared.load(Ordering::SeqCst)), (0, 10));
}

#[tokio::test(start_paused = true)]
async fn a_quota_is_kept_by_waiting_not_by_deferring() {
    let world = World::new(Scripted::sends().quota(10.0));
    let began = tokio::time::Instant::now();
    world.send(vec![chunk(1, 31)]).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(world.ledger.outcomes(1).values().all(|o| o.status == Status::Sent as u32));
}
