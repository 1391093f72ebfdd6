//! How the service ends.

use std::time::{Duration, Instant};

use carillon_runtime::TestScope;
use serde_json::json;

use crate::http::call_at;
use crate::intake::with_a_replica;
use crate::world::{Tenant, World, settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_stops_has_told_the_broker_all_that_it_accepted() {
    let (world, t) = (World::get(), Tenant::new().await);
    let _turn = with_a_replica().await;
    let scope = TestScope::new("ingest-api");
    let config = settings(&world.database_url, &world.amqp_url);
    let ports = ingest_api::start_on(config, scope.scope()).await.expect("the service starts");
    let body = json!({"app": "shop", "to": {"users": ["u1"]}, "content": {"title": "Hello"}});
    let sent = call_at(ports.http, &t.key, hyper::Method::POST, "/v1/notifications", Some(body), &[]).await.expect(202);
    let began = Instant::now();
    scope.stop().await.expect("a clean end");
    assert!(began.elapsed() < Duration::from_secs(8), "nothing waits for a deadline: {:?}", began.elapsed());
    world.wakes(sent["id"].as_str().and_then(|id| id.parse().ok()).expect("an id")).await;
}
