//! Whom a list of names means.

use crate::world::World;
use carillon_store::{Selection, Selector, SelectorName};
use std::collections::BTreeSet;

fn names(world: &World, names: Vec<SelectorName>) -> Vec<Selector> {
    names.into_iter().map(|name| Selector { run: 0, app_key: world.app, name }).collect()
}

async fn select(world: &World, selectors: &[Selector], after: Option<&str>, most: usize) -> Selection {
    let id = world.accept().await;
    let (expansion, _) = world.store.expand(&[id]).await.expect("a transaction");
    let selection = expansion.select(selectors, after, most).await.expect("a selection");
    expansion.abandon().await.expect("nothing was changed");
    selection
}

fn devices(selection: &Selection) -> BTreeSet<&str> {
    selection.found.iter().map(|one| one.device.device.as_str()).collect()
}

#[tokio::test]
async fn a_phone_means_whoever_has_it_with_all_their_devices() {
    let world = World::new().await;
    for (user, device) in [("ola", "o1"), ("ola", "o2"), ("jan", "j1"), ("eva", "e1")] {
        world.device(user, device).await;
    }
    let phone = "UPDATE devices SET phone = '+48600700800' WHERE device IN ('o1', 'j1')";
    world.sql.execute(phone, &[]).await.unwrap();
    let selectors =
        names(&world, vec![SelectorName::Phone("+48600700800".into()), SelectorName::Phone("+48111".into())]);
    for after in [None, Some("")] {
        let selection = select(&world, &selectors, after, 100).await;
        assert_eq!(devices(&selection), ["j1", "o1", "o2"].into());
        assert_eq!(selection.absent, [1].into());
    }
}

#[tokio::test]
async fn a_long_list_is_read_in_pages_of_whole_persons_and_says_where_a_page_ends() {
    let world = World::new().await;
    for user in ["a", "b", "c"] {
        for device in 0..4 {
            world.device(user, &format!("{user}{device}")).await;
        }
    }
    let user = |name: &str| SelectorName::User(name.to_owned());
    let selectors =
        names(&world, vec![user("a"), user("nobody"), user("c"), user("b"), SelectorName::Device("c3".into())]);
    let all = select(&world, &selectors, None, 100).await;
    assert_eq!((all.found.len(), all.cut, all.absent), (13, false, [1].into()));
    let many = select(&world, &selectors, None, 10).await;
    assert!(many.cut && many.horizon.is_none(), "more than were asked for, in no order");

    let first = select(&world, &selectors, Some(""), 5).await;
    assert_eq!(first.horizon.as_ref().map(|person| person.key()), Some("u:b"), "a is whole, b may not be");
    assert!(devices(&first).is_superset(&["a0", "a1", "a2", "a3", "c3"].into()));
    assert_eq!(first.absent, [1].into(), "who has nothing on this page is not absent");
    let rest = select(&world, &selectors, Some("u:b"), 5).await;
    assert_eq!((devices(&rest), rest.cut), (["c0", "c1", "c2", "c3"].into(), false));
}
