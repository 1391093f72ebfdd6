//! What is taken in while the broker or the database is away.

use carillon_runtime::TestScope;
use serde_json::json;
use std::collections::BTreeSet;

use crate::http::call_at;
use crate::intake::{Publisher, bearer, hello, json_with, with_a_replica};
use crate::way::Way;
use crate::world::{Tenant, World, eventually, settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wake_up_that_finds_no_broker_is_published_from_memory_when_it_is_back() {
    let (world, t) = (World::get(), Tenant::new().await);
    let _turn = with_a_replica().await;
    let way = Way::to(&world.amqp_url).await;
    way.set_open(false);
    let scope = TestScope::new("ingest-api");
    let ports = ingest_api::start_on(settings(&world.database_url, way.url()), scope.scope()).await.expect("it starts");
    let send = async || {
        let body = Some(hello());
        let sent = call_at(ports.http, &t.key, hyper::Method::POST, "/v1/notifications", body, &[]).await.expect(202);
        sent["id"].as_str().and_then(|id| id.parse().ok()).expect("an id")
    };
    let accepted = [send().await, send().await, send().await];
    way.set_open(true);
    for id in accepted {
        world.wakes(id).await;
    }
    // And once more when a connection breaks under it.
    way.set_open(false);
    let id = send().await;
    way.set_open(true);
    world.wakes(id).await;
    scope.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_comes_while_the_database_is_away_is_answered_when_it_is_back_and_once() {
    let (world, t) = (World::get(), Tenant::new().await);
    let way = Way::to(&world.database_url).await;
    let scope = TestScope::new("ingest-api");
    ingest_api::start_on(settings(way.url(), &world.amqp_url), scope.scope()).await.expect("it starts");
    let mut publisher = Publisher::alone().await;
    let all = "SELECT count(*) FROM notifications WHERE tenant_key = $1";
    // Until this replica consumes too, the other one takes everything.
    let mut held = 0;
    for round in 0..20 {
        way.set_open(false);
        let before = t.count(all).await;
        for n in 0..8 {
            let id = format!("order-{round}-{n}");
            let properties = bearer(json_with(publisher.asking(), &id), &t.key);
            publisher.publish(properties, hello().to_string().as_bytes()).await;
        }
        // The replica that has a database commits its share, and what the other one took waits. How they share nobody knows: other tests' events
        // come between.
        let (mut seen, mut times) = (before, 0);
        let rests = async || {
            let count = t.count(all).await;
            times = if count == seen { times + 1 } else { 0 };
            seen = count;
            (count == before + 8 || times == 25).then_some(())
        };
        eventually("the replica with a database to have done its share", rests).await;
        held = before + 8 - seen;
        way.set_open(true);
        let mut ids = BTreeSet::new();
        for _ in 0..8 {
            let answer = publisher.answer().await;
            assert_eq!(answer.body["state"], json!("sending"));
            ids.insert(answer.body["id"].as_str().expect("an id").to_owned());
        }
        assert_eq!((ids.len(), t.count(all).await), (8, before + 8));
        if held > 0 {
            break;
        }
    }
    assert!(held > 0, "the replica without a database never had an event in hand");
    scope.stop().await.expect("a clean end");
}
