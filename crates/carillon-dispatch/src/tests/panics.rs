use carillon_domain::delivery_status::Status;
use futures::FutureExt as _;
use std::panic::AssertUnwindSafe;

use super::world::{Scripted, World, chunk, of_app};
use crate::provider::Verdict;

fn cursed(token: &str) -> Verdict {
    assert_ne!(token, "t3", "cursed");
    Verdict::Sent { provider_id: None }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_panics_stays_open_and_the_others_of_its_chunk_are_sent() {
    let world = World::new(Scripted::new(|token, _| cursed(token)));
    world.send(vec![chunk(1, 20), chunk(2, 3)]).await.unwrap();
    let outcomes = world.ledger.outcomes(1);
    assert_eq!(outcomes.len(), 19);
    assert!(outcomes.iter().all(|(position, o)| *position != 3 && o.status == Status::Sent as u32));
    assert!(world.ledger.released(1), "given back, so that the ledger can grant the one that is left alone");
    assert_eq!(world.ledger.outcomes(2).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_panics_does_not_keep_what_waits_for_it() {
    let scripted = Scripted::new(|token, before| match token {
        "t0" => Verdict::Unavailable { retry_after: None },
        "t3" if before == 0 => panic!("cursed"),
        _ => Verdict::Sent { provider_id: None },
    });
    let world = World::bounded(scripted, 1, 1000);
    for number in 10..20 {
        world.send(vec![chunk(number, 1)]).await.unwrap();
    }
    world.pass(std::time::Duration::from_secs(2)).await;
    let mut probing = chunk(1, 6);
    probing.targets.drain(..3);
    world.send(vec![probing]).await.unwrap();
    assert!(world.ledger.released(1));
    assert!(world.ledger.outcomes(1).values().all(|o| o.status == Status::Queued as u32), "held: nobody knows yet");
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_panics_is_told_of_when_the_others_of_its_message_are_done() {
    let world = World::new(Scripted::sends());
    let chunks = vec![of_app("cursed", 1, 2), chunk(2, 5)];
    let handled = AssertUnwindSafe(world.send(chunks)).catch_unwind().await;
    assert!(handled.is_err(), "the consumer's shell parks the message");
    assert_eq!((world.ledger.outcomes(1).len(), world.ledger.outcomes(2).len()), (0, 5));
    assert!(world.ledger.released(2));
}
