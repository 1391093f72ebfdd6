//! First words about many messages at once: written as those about few are, and given up as those are when somebody was first.

use crate::receipt;
use crate::world::{World, closed, sent};
use carillon_domain::delivery_status::{Reason, Status};
use carillon_domain::outcome::{Outcome, Progress};
use carillon_domain::receipt::Event;

const ALL: u16 = 120;

/// One in three failed, the others were sent under a provider's id.
fn outcome(position: u16) -> Outcome {
    if position.is_multiple_of(3) {
        return closed(position, Status::Failed, Some(Reason::ProviderRejected));
    }
    let provider_id = Some(format!("id-{position}"));
    Outcome { progress: Progress::Closed { status: Status::Sent, reason: None, provider_id }, ..sent(position) }
}

async fn chunk_of_all(world: &World) -> carillon_domain::ids::ChunkId {
    for i in 0..ALL {
        world.device("u1", &format!("d{i}")).await;
    }
    world.chunk(&["u1"]).await
}

#[tokio::test]
async fn many_rows_at_once_are_what_they_are_one_by_one() {
    let world = World::new().await;
    let chunk = chunk_of_all(&world).await;
    let lease = world.claim(chunk).await.unwrap().lease;
    // Few, then many.
    world.report(chunk, lease, (0..6).map(outcome).collect(), false).await;
    world.report(chunk, lease, (6..ALL).map(outcome).collect(), true).await;
    let sql = "SELECT bits, platform, reason, provider_id IS NOT NULL, closed_at IS NOT NULL, sent_at IS NOT NULL, tenant_key = $2,
                   link, prev, count(*), count(DISTINCT provider_id), bool_and(coalesce(closed_at, sent_at) BETWEEN now() - interval '1 minute' AND now())
               FROM deliveries WHERE run_id = $1 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9 ORDER BY 1";
    let rows = world.sql.query(sql, &[&chunk.run.0, &world.tenant.0]).await.unwrap();
    let shapes: Vec<_> = rows
        .iter()
        .map(|row| {
            let shape = (row.get::<_, i16>(0), row.get::<_, Option<i16>>(1), row.get::<_, Option<i16>>(2));
            let given = (row.get::<_, bool>(3), row.get::<_, bool>(4), row.get::<_, bool>(5), row.get::<_, bool>(6));
            let rest = (row.get::<_, i16>(7), row.get::<_, i16>(8), row.get::<_, i64>(9), row.get::<_, i64>(10));
            (shape, given, rest, row.get::<_, bool>(11))
        })
        .collect();
    let rejected = Reason::ProviderRejected.number();
    assert_eq!(
        shapes,
        [
            ((32, Some(1), Some(rejected)), (false, true, false, true), (0, 0, 40, 0), true),
            ((64, Some(1), None), (true, false, true, true), (0, 0, 80, 80), true),
        ]
    );
    assert_eq!(world.counts(chunk.run, 1).await, (80, 40, 0, 0, 0));
    assert_eq!(world.told().await.len(), usize::from(ALL));
}

#[tokio::test]
async fn a_receipt_that_came_before_one_of_many_is_met_and_nothing_is_counted_twice() {
    let world = World::new().await;
    let chunk = chunk_of_all(&world).await;
    let lease = world.claim(chunk).await.unwrap().lease;
    world.store.record_receipts(world.tenant, &[receipt(chunk, 100, Event::Delivered)], 0).await.unwrap();
    for _ in 0..2 {
        world.report(chunk, lease, (0..ALL).map(outcome).collect(), false).await;
    }
    assert_eq!(world.counts(chunk.run, 1).await, (80, 40, 0, 1, 0));
    let row =
        world.sql.query_one("SELECT count(*), count(sent_at), count(delivered_at) FROM deliveries", &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, i64>(2)), (i64::from(ALL), 80, 1));
}
