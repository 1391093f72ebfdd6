//! Small notifications, whose wake-ups tell whom they name.

use crate::world::World;
use carillon_domain::audience::Audience;
use carillon_domain::ids::NotificationId;

fn users(names: &[&str]) -> Audience {
    Audience { users: names.iter().collect(), ..Default::default() }
}

/// The devices in a notification's messages, in their order.
fn reached(world: &World, id: NotificationId) -> Vec<String> {
    let received = world.received(id);
    let mut devices: Vec<String> =
        received.into_iter().flat_map(|(_, chunk)| chunk.targets).map(|target| target.device).collect();
    devices.sort();
    devices
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_says_who_is_meant_whatever_its_wake_up_told() {
    let world = World::new().await;
    world.people(10).await;
    let replica = world.replica(&world.database).await;
    let before = world.accept(users(&["u000009"]), None).await;
    world.wake_naming(&[(before, &["u000009"])]).await;
    world.eventually("the one before", async || reached(&world, before) == ["d9"]).await;

    let both: &[&str] = &["u000001", "u000002"];
    for told in [both, &["u000003"], &[], &["u000001"]] {
        let (first, second) = (world.accept(users(both), None).await, world.accept(users(&["u000005"]), None).await);
        // The one before is done, so that those who are locked are not those who are told of.
        world.wake_naming(&[(before, &["u000009"]), (first, told), (second, &["u000005"])]).await;
        world.eventually("both", async || reached(&world, second) == ["d5"]).await;
        assert_eq!(reached(&world, first), ["d1", "d2"], "told {told:?}");
    }
    assert_eq!(reached(&world, before), ["d9"]);
    replica.stop().await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_told_of_and_has_no_device_is_said_to_have_none() {
    let world = World::new().await;
    world.people(1).await;
    let replica = world.replica(&world.database).await;
    let id = world.accept(users(&["nobody", "u000000"]), None).await;
    world.wake_naming(&[(id, &["nobody", "u000000"])]).await;
    world.eventually("the one who has", async || reached(&world, id) == ["d0"]).await;
    let sql = "SELECT recipients, pushes FROM notifications WHERE notification_id = $1";
    let row = world.sql.query_one(sql, &[&id.0]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (2, 2));
    replica.stop().await.unwrap();
    world.end().await;
}
