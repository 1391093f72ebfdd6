//! Receipts that name notification and device instead of carrying the reference.

use crate::world::{NewCascadeShape, World, closed, sent};
use carillon_domain::cascade::Unless;
use carillon_domain::delivery_status::{Reason, Status};
use carillon_domain::ids::NotificationId;
use carillon_domain::receipt::{CascadeEffect, Event, Recorded};
use carillon_store::{ReceiptItem, ReceiptResult};

async fn told(world: &World, id: NotificationId, devices: &[&str], event: Event) -> Vec<ReceiptResult> {
    let items: Vec<ReceiptItem> = devices
        .iter()
        .map(|device| ReceiptItem {
            app_scope: None,
            device_scope: None,
            notification_id: Some(id),
            reference: None,
            device: Some((*device).to_owned()),
            event,
            at: None,
            action: None,
        })
        .collect();
    world.store.record_receipts(world.tenant, &items, 0).await.unwrap()
}

#[tokio::test]
async fn a_name_finds_the_delivery_and_its_cascade_before_and_after_the_report() {
    let world = World::new().await;
    let users: Vec<String> = (0..33).map(|u| format!("u{u:02}")).collect();
    for user in &users {
        world.device(user, &format!("d-{user}")).await;
    }
    world.device("stranger", "d-stranger").await;
    let names: Vec<&str> = users.iter().map(String::as_str).collect();
    let id = world.accept().await;
    let chunk = world.expand(id, &names, Some(NewCascadeShape { unless: Unless::Read, within: 600 })).await;
    let grant = world.claim(chunk).await.unwrap();
    world.report(chunk, grant.lease, (0..20).map(sent).collect(), false).await;
    let results = told(&world, id, &["d-u00", "d-u19", "d-u20", "d-u32", "d-stranger"], Event::Opened).await;
    let stopped = ReceiptResult { recorded: Recorded::Recorded, cascade: CascadeEffect::Stopped };
    let unknown = ReceiptResult { recorded: Recorded::Unknown, cascade: CascadeEffect::None };
    assert_eq!(results, [stopped, stopped, stopped, stopped, unknown]);
    let row = world.sql.query("SELECT person_number FROM cascades WHERE state = 4 ORDER BY 1", &[]).await.unwrap();
    assert_eq!(row.iter().map(|r| r.get::<_, i32>(0)).collect::<Vec<_>>(), [0, 19, 20, 32]);
}

#[tokio::test]
async fn a_device_that_was_never_sent_to_can_have_received_nothing() {
    let world = World::new().await;
    world.device("u1", "d1").await;
    world.device("u1", "d2").await;
    let id = world.accept().await;
    let chunk = world.expand(id, &["u1"], None).await;
    let grant = world.claim(chunk).await.unwrap();
    world
        .report(chunk, grant.lease, vec![sent(0), closed(1, Status::Suppressed, Some(Reason::TokenMoved))], false)
        .await;
    let results = told(&world, id, &["d1", "d2"], Event::Delivered).await;
    assert_eq!([results[0].recorded, results[1].recorded], [Recorded::Recorded, Recorded::Unknown]);
    assert_eq!(world.counts(chunk.run, 1).await, (1, 0, 0, 1, 0));
}
