//! Delivery reports.

use crate::world::{World, call, start};
use carillon_domain::delivery_status::{Evidence, Status};
use serde_json::json;

async fn callback(world: &World, tenant: &str) -> (i32, String) {
    let (number, key) = world.tenant(tenant, &["admin"]).await;
    let body = json!({ "kind": "smsapi", "token": "t" });
    let made = world.call(&key, "PUT", "/v1/sms/gateways/main", Some(body)).await;
    let made: serde_json::Value = serde_json::from_str(&made.1).expect("a gateway");
    let url = made["callback_url"].as_str().expect("a callback");
    (number, url.strip_prefix("https://push.example").expect("our own URL").to_owned())
}

fn status(bits: Option<i16>) -> Option<Status> {
    bits.map(|bits| Evidence(bits as u16).status())
}

#[tokio::test]
async fn a_report_by_get_or_by_form_is_evidence_and_is_answered_ok() {
    let world = World::new().await;
    let (tenant, path) = callback(&world, "acme").await;
    let (run, idx) = world.sent(tenant, 5).await;
    let form = |number: u32| {
        format!(
            "MsgId=5F1&status={number}&status_name=X&idx={idx}&donedate=1700000000&username=u&points=0.16&from=SHOP&to=48501"
        )
    };
    let ok = (200, "OK".to_owned());
    assert_eq!(call(world.http, None, "GET", &format!("{path}?{}", form(403)), None).await, ok);
    assert_eq!(status(world.bits(run).await), Some(Status::Sent));
    let posted = Some(("application/x-www-form-urlencoded", form(404)));
    assert_eq!(call(world.http, None, "POST", &path, posted).await, ok);
    assert_eq!(status(world.bits(run).await), Some(Status::Delivered));
    // Late and twice: the greatest evidence stays.
    for number in [403, 404] {
        assert_eq!(call(world.http, None, "GET", &format!("{path}?{}", form(number)), None).await, ok);
    }
    assert_eq!(status(world.bits(run).await), Some(Status::Delivered));
    let sql = "SELECT sum(sent)::int8, sum(delivered)::int8 FROM run_counters WHERE run_id = $1 AND channel = 2";
    let counts = world.sql.query_one(sql, &[&run]).await.unwrap();
    assert_eq!((counts.get::<_, i64>(0), counts.get::<_, i64>(1)), (1, 1));
    let row = world
        .sql
        .query_one("SELECT provider_id, delivered_at FROM deliveries WHERE run_id = $1", &[&run])
        .await
        .unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, jiff::Timestamp>(1).as_second()), ("5F1", 1_700_000_000));
    world.end().await;
}

#[tokio::test]
async fn lists_with_commas_report_many_messages_and_strangers_change_nothing() {
    let world = World::new().await;
    let (tenant, path) = callback(&world, "acme").await;
    let (foreign_tenant, _) = callback(&world, "other").await;
    let (first, second) = (world.sent(tenant, 0).await, world.sent(tenant, 1).await);
    let foreign = world.sent(foreign_tenant, 2).await;
    let query = format!(
        "MsgId=A,B,C,D&status=404,402,404,404&status_name=a,b,c,d&idx={},{},{},order-17&donedate=1,2,3,4",
        first.1, second.1, foreign.1
    );
    assert_eq!(call(world.http, None, "GET", &format!("{path}?{query}"), None).await, (200, "OK".to_owned()));
    let statuses = [world.bits(first.0).await, world.bits(second.0).await, world.bits(foreign.0).await].map(status);
    assert_eq!(statuses, [Some(Status::Delivered), Some(Status::Undelivered), None]);
    world.end().await;
}

#[tokio::test]
async fn a_wrong_secret_is_a_404_and_a_gateway_that_went_takes_its_callback_along() {
    let world = World::new().await;
    let (_, path) = callback(&world, "acme").await;
    for wrong in [
        "/v1/callbacks/sms/x",
        "/v1/callbacks/sms/0123456789abcdef0123456789abcdef0123456789a",
        "/v1/callbacks/sms/%00%27",
    ] {
        let (got, body) = call(world.http, None, "GET", wrong, None).await;
        assert_eq!((got, body.contains("not_found")), (404, true), "{wrong}: {body}");
    }
    assert_eq!(call(world.http, None, "GET", &path, None).await.0, 200);
    let (_, key) = world.tenant("acme", &["admin"]).await;
    world.expect(&key, "DELETE", "/v1/sms/gateways/main", None, 204).await;
    assert_eq!(call(world.http, None, "GET", &path, None).await.0, 404);
    world.end().await;
}

#[tokio::test]
async fn without_the_database_a_gateway_is_asked_to_repeat() {
    let (scope, http) = start("postgres://nobody@127.0.0.1:1/nothing").await;
    let path = "/v1/callbacks/sms/0123456789abcdef0123456789abcdef0123456789a?status=404&idx=x";
    assert_eq!(call(http, None, "GET", path, None).await.0, 503);
    scope.kill().await;
}
