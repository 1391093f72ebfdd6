//! What a cascade does to the pushes before it, and what a cancelled notification does to its cascades.

use crate::world::{Sent, World, reachable};
use carillon_domain::cascade::{CascadeState, Sms};
use carillon_domain::chunk::{Position, Positions};
use carillon_domain::delivery_status::{Reason, Status};
use carillon_domain::ids::RunId;

async fn positions(world: &World, sent: &Sent) -> (Positions, bool) {
    let sql = "SELECT states, due_at IS NULL FROM chunks WHERE run_id = $1 AND chunk = 0";
    let row = world.sql.query_one(sql, &[&sent.run.0]).await.unwrap();
    (Positions::from_row(row.get(0), Vec::new()), row.get(1))
}

async fn pushes_cancelled(world: &World, run: RunId) -> i64 {
    let sql = "SELECT count(*) FROM deliveries WHERE run_id = $1 AND link = 0 AND reason = $2";
    world.sql.query_one(sql, &[&run.0, &Reason::Cascaded.number()]).await.unwrap().get(0)
}

#[tokio::test]
async fn what_is_still_queued_when_the_cascade_fires_is_cancelled() {
    let world = World::new().await;
    let service = world.service(&[]).await;
    let sent = world.send(Sms::default(), 1, &[reachable(1), reachable(2)]).await;
    world.settled(sent.run).await;
    let (positions, done) = positions(&world, &sent).await;
    for position in 0..sent.devices {
        assert_eq!(positions.get(position), Some(Position::Closed(Status::Cancelled)));
    }
    assert!(done, "nobody looks at the chunk any more");
    assert_eq!((pushes_cancelled(&world, sent.run).await, world.count(sent.run, 1, "cancelled").await), (2, 2));
    assert_eq!(world.texts().len(), 2);
    world.eventually("the run is finished", async || world.finished(sent.run).await).await;
    service.stop().await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn a_push_that_a_dispatcher_holds_is_left_to_it_and_closed_when_it_comes_back() {
    let world = World::new().await;
    let sent = world.send(Sms::default(), 1, &[reachable(1)]).await;
    let asked = carillon_store::Asked { chunk: sent.chunk, advance_lease: None };
    let granted = world.store.claim(&[asked], &[7], false).await.unwrap().0.remove(0);
    assert!(granted.is_some());
    let service = world.service(&[]).await;
    world.settled(sent.run).await;
    assert_eq!(positions(&world, &sent).await.0.get(0), Some(Position::Open(0)));
    world
        .eventually("the push is closed when the lease is over", async || {
            positions(&world, &sent).await.0.get(0) == Some(Position::Closed(Status::Cancelled))
        })
        .await;
    assert_eq!(pushes_cancelled(&world, sent.run).await, 1);
    world
        .eventually("nobody looks at the cascade any more", async || {
            let sql = "SELECT due_at IS NULL AND open_devices = 0 FROM cascades";
            world.sql.query_one(sql, &[]).await.unwrap().get(0)
        })
        .await;
    world.eventually("the run is finished", async || world.finished(sent.run).await).await;
    service.stop().await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn a_cancelled_notification_sends_no_text() {
    let world = World::new().await;
    let sent = world.send(Sms::default(), 1, &[reachable(1), reachable(2)]).await;
    world.accept_pushes(&sent).await;
    world.sql.execute("UPDATE notifications SET state = 4", &[]).await.unwrap();
    let service = world.service(&[]).await;
    world.settled(sent.run).await;
    assert_eq!(world.standing(sent.run, 0).await.state, CascadeState::Cancelled);
    assert!(world.texts().is_empty());
    service.stop().await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn a_cancelled_message_that_a_gateway_may_have_is_unknown_and_not_repeated() {
    let world = World::new().await;
    let sent = world.send(Sms::default(), 1, &[reachable(1)]).await;
    world.accept_pushes(&sent).await;
    // As a crash leaves it: claimed, the gateway named, the lease over.
    let crashed = "
        UPDATE cascades SET state = 2, gateway = 'main', attempts = 1, lease_until = now() - interval '1 second',
            due_at = now() - interval '1 second'";
    world.sql.execute(crashed, &[]).await.unwrap();
    world.sql.execute("UPDATE notifications SET state = 4", &[]).await.unwrap();
    let service = world.service(&[]).await;
    world.settled(sent.run).await;
    let standing = world.standing(sent.run, 0).await;
    assert_eq!((standing.state, standing.status), (CascadeState::Unknown, Status::Unknown));
    assert!(world.texts().is_empty());
    service.stop().await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn after_a_crash_a_message_goes_to_the_gateway_that_may_have_it_and_to_no_other() {
    let world = World::new().await;
    world.gateway("other", "revoked").await;
    let put = world.store.put_sms_sender(world.tenant, "shop", &["other".to_owned()]).await;
    put.unwrap();
    let sms = Sms { from: Some("SHOP".into()), ..Default::default() };
    let sent = world.send(sms, 1, &[reachable(1)]).await;
    world.accept_pushes(&sent).await;
    let crashed = "
        UPDATE cascades SET state = 2, gateway = 'main', attempts = 1, lease_until = now() - interval '1 second',
            due_at = now() - interval '1 second'";
    world.sql.execute(crashed, &[]).await.unwrap();
    let service = world.service(&[]).await;
    world.settled(sent.run).await;
    assert_eq!(world.standing(sent.run, 0).await.state, CascadeState::Sent);
    assert_eq!(world.texts().len(), 1);
    service.stop().await.unwrap();
    world.end().await;
}
