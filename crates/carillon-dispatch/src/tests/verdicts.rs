use std::sync::atomic::Ordering;
use std::time::Duration;

use carillon_domain::delivery_status::{Reason, Status};

use super::ledger::EPOCH_MS;
use super::world::{Scripted, World, chunk};
use crate::provider::{Scope, TokenFate, Verdict};

#[tokio::test(start_paused = true)]
async fn a_short_failure_is_repeated_here_and_reported_once() {
    let away = Verdict::Unavailable { retry_after: Some(Duration::from_millis(300)) };
    let world = World::new(Scripted::new(move |_, before| match before {
        0 => away.clone(),
        _ => Verdict::Sent { provider_id: None },
    }));
    world.send(vec![chunk(1, 2)]).await.unwrap();
    let outcomes = world.ledger.outcomes(1);
    assert!(outcomes.values().all(|o| o.status == Status::Sent as u32));
    assert_eq!((outcomes.len(), world.calls.count()), (2, 4));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_goes_on_leaves_the_process() {
    let away = Verdict::Unavailable { retry_after: Some(Duration::from_millis(300)) };
    let world = World::new(Scripted::new(move |_, _| away.clone()));
    world.ledger.attempts.store(4, Ordering::SeqCst);
    world.send(vec![chunk(1, 1)]).await.unwrap();
    let outcome = &world.ledger.outcomes(1)[&0];
    assert_eq!((outcome.status, outcome.attempts, world.calls.count()), (Status::Queued as u32, 7, 3));
}

#[tokio::test(start_paused = true)]
async fn a_throttled_device_waits_as_long_as_it_was_told_and_its_neighbours_do_not() {
    let throttled = Verdict::Throttled { retry_after: Some(Duration::from_secs(30)), scope: Scope::Device };
    let world = World::new(Scripted::new(move |token, _| match token {
        "t1" => throttled.clone(),
        _ => Verdict::Sent { provider_id: None },
    }));
    world.send(vec![chunk(1, 3)]).await.unwrap();
    let outcomes = world.ledger.outcomes(1);
    let wait = outcomes[&1].not_before_ms - EPOCH_MS;
    assert!((30_000..30_500).contains(&wait), "{wait}");
    assert_eq!([outcomes[&0].status, outcomes[&2].status], [Status::Sent as u32; 2]);
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_message_is_tried_again() {
    let world = World::new(Scripted::new(|_, before| match before {
        0 => Verdict::Unknown,
        _ => Verdict::Sent { provider_id: None },
    }));
    world.send(vec![chunk(1, 1)]).await.unwrap();
    assert_eq!((world.ledger.outcomes(1)[&0].status, world.calls.count()), (Status::Sent as u32, 2));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_never_answers_is_cut() {
    let world = World::new(Scripted::sends().within(Duration::from_secs(3_600)));
    world.send(vec![chunk(1, 1)]).await.unwrap();
    let outcome = &world.ledger.outcomes(1)[&0];
    assert_eq!((outcome.status, outcome.attempts > 0), (Status::Queued as u32, true));
}

#[tokio::test(start_paused = true)]
async fn a_dead_token_is_retired_with_its_generation() {
    let since = jiff::Timestamp::from_millisecond(EPOCH_MS - 5).ok();
    let dead = Verdict::Rejected { reason: Reason::TokenInvalid, token: TokenFate::Retire { since } };
    let world = World::new(Scripted::new(move |_, _| dead.clone()));
    world.send(vec![chunk(1, 1)]).await.unwrap();
    let outcome = &world.ledger.outcomes(1)[&0];
    assert_eq!((outcome.status, outcome.reason), (Status::Failed as u32, Reason::TokenInvalid as u32));
    assert_eq!((outcome.retire_token, outcome.retire_since_ms, outcome.generation), (true, EPOCH_MS - 5, 3));
}

#[tokio::test(start_paused = true)]
async fn when_nearly_all_tokens_are_refused_the_rest_are_spared_and_held() {
    let bad = Verdict::Rejected { reason: Reason::TokenInvalid, token: TokenFate::RetireUnlessMany };
    let world = World::bounded(Scripted::new(move |_, _| bad.clone()), 4, 1000);
    world.send(vec![chunk(1, 400)]).await.unwrap();
    let outcomes = world.ledger.outcomes(1);
    let retired = outcomes.values().filter(|o| o.retire_token).count();
    assert_eq!((outcomes.len(), retired), (400, 50));
    assert!(world.calls.count() < 60);
}

#[tokio::test(start_paused = true)]
async fn a_target_without_its_variant_fails_alone() {
    let world = World::new(Scripted::sends());
    let mut broken = chunk(1, 2);
    broken.targets[0].variant = 9;
    world.send(vec![broken]).await.unwrap();
    let outcomes = world.ledger.outcomes(1);
    assert_eq!((outcomes[&0].status, outcomes[&1].status), (Status::Failed as u32, Status::Sent as u32));
}
