//! The pump against a real broker and a real database.

use super::*;
use tokio_postgres::{Client, NoTls};

#[allow(clippy::disallowed_methods, reason = "tests are told their broker and database by the environment")]
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests with `make test`"))
}

#[allow(clippy::disallowed_methods, reason = "the connection of a test needs a driver")]
async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the database answers");
    tokio::spawn(connection);
    client
}

/// A delivery that was sent, and a batch that says so.
const SENT: &str = r#"
    INSERT INTO tenants (tenant) VALUES ('acme');
    INSERT INTO apps (tenant_key, app, public_key) SELECT tenant_key, 'shop', 'cpk_x' FROM tenants;
    INSERT INTO notifications (notification_id, tenant_key, app_key, body, state, lane, run_id)
    SELECT '00000000-0000-0000-0000-000000000009', tenant_key, app_key, '', 2, 1, '00000000-0000-0000-0000-000000000009' FROM apps;
    INSERT INTO deliveries (run_id, subject, link, tenant_key, platform, bits)
    SELECT run_id, 7, 0, tenant_key, 1, 66 FROM notifications;
    INSERT INTO status_batches (changes, due_at) VALUES (
        '[{"run": "00000000-0000-0000-0000-000000000009", "link": 0, "status": 6, "platform": 1, "at_ms": 0, "subjects": [7]}]', now())"#;

#[tokio::test]
async fn a_batch_that_cannot_be_described_for_now_is_told_later_and_not_set_aside() {
    let server = variable("CARILLON_DATABASE__URL");
    let name = format!("pump_{}", Uuid::new_v4().simple());
    let admin = connect(&server).await;
    admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let url = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
    let store = Store::open(&carillon_store::Config::new(url.clone()), "test").unwrap();
    store.migrate().await.unwrap();
    let sql = connect(&url).await;
    sql.batch_execute(SENT).await.unwrap();
    let amqp: carillon_broker::Config =
        serde_json::from_value(serde_json::json!({ "url": variable("CARILLON_AMQP__URL") })).unwrap();
    let stop = CancellationToken::new();
    let broker = Broker::connect(&amqp, "test", carillon_wire::topology::topology(), stop.clone()).unwrap();
    let mut status = broker.status();
    tokio::time::timeout(Duration::from_secs(30), status.wait_for(|status| status.accepts())).await.unwrap().unwrap();

    // A statement that the database does not take, as long as something is wrong with a table that it reads.
    sql.batch_execute("ALTER TABLE deliveries RENAME TO away").await.unwrap();
    assert_eq!(round(&store, &broker).await.unwrap(), 1);
    let kept = "SELECT count(*) FROM status_batches WHERE due_at BETWEEN now() AND now() + interval '11 s'";
    assert_eq!(sql.query_one(kept, &[]).await.unwrap().get::<_, i64>(0), 1, "due again soon");
    sql.batch_execute("ALTER TABLE away RENAME TO deliveries; UPDATE status_batches SET due_at = now()").await.unwrap();
    assert_eq!(round(&store, &broker).await.unwrap(), 1);
    let left = "SELECT count(*) FROM status_batches";
    assert_eq!(sql.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0, "told");

    stop.cancel();
    drop((store, sql));
    admin.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
}
