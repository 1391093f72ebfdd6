//! Whether listings find their rows by an index, asked of a real PostgreSQL: only the texts know which index they mean.

use super::*;
use tokio_postgres::{Client, NoTls};

#[allow(clippy::disallowed_methods, reason = "tests are told their database by the environment")]
fn server() -> String {
    std::env::var("CARILLON_DATABASE__URL").expect("CARILLON_DATABASE__URL names a PostgreSQL for tests")
}

#[allow(clippy::disallowed_methods, reason = "the connection of a test lives as long as its runtime")]
async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("PostgreSQL answers");
    tokio::spawn(connection);
    client
}

/// A database with a small app and one fifty times as large, registered in turns: of ten devices, one is switched off and one dead.
async fn two_apps(devices: i32) -> (Client, String) {
    let name = format!("test_{}", uuid::Uuid::now_v7().simple());
    connect(&server()).await.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
    let url = format!("{}/{name}", server().rsplit_once('/').expect("the URL ends with a database").0);
    let store = Store::open(&crate::Config::new(url.clone()), "test").expect("a pool");
    store.migrate().await.expect("a schema");
    let sql = connect(&url).await;
    let fill = format!(
        "INSERT INTO tenants (tenant) VALUES ('t');
         INSERT INTO apps (tenant_key, app, public_key) VALUES (1, 'small', 'a'), (1, 'large', 'b');
         INSERT INTO devices (tenant_key, app_key, device, person, platform, os, token, token_hash, user_id, phone, state)
         SELECT 1, CASE WHEN i % 50 = 0 THEN 1 ELSE 2 END, 'd' || i, 'u:' || i / 300, 1, 1, i::text, sha256(i::text::bytea),
             (i / 300)::text, '+4850' || i / 300, CASE i / 50 % 10 WHEN 0 THEN 2 WHEN 1 THEN 3 ELSE 1 END
         FROM generate_series(0, {devices} - 1) i;
         ANALYZE devices;"
    );
    sql.batch_execute(&fill).await.expect("devices");
    (sql, name)
}

/// How a text is executed with these parameters.
async fn plan(sql: &Client, text: &str, parameters: &str) -> String {
    let prepare = format!("SET plan_cache_mode = force_custom_plan; PREPARE listing AS {text}");
    sql.batch_execute(&prepare).await.expect("a statement");
    let explain = format!("EXPLAIN (COSTS OFF) EXECUTE listing ({parameters})");
    let lines = sql.query(&explain, &[]).await.expect("a plan");
    sql.batch_execute("DEALLOCATE listing").await.expect("gone");
    lines.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn every_listing_walks_an_index_in_its_order_and_sorts_nothing_but_a_persons_devices() {
    let (sql, name) = two_apps(100_000).await;
    let last = i64::MAX;
    for (several, index) in [(true, "devices_of_app"), (false, "devices_unusable")] {
        let state = if several { "'{1,2}'" } else { "3" };
        let plan = plan(&sql, &plain_page(!several), &format!("1, 1, {state}, {last}, NULL, NULL, 51")).await;
        assert!(plan.contains(index) && !plan.contains("Sort"), "{plan}");
    }
    // Where nearly every key is the app's, walking the keys is as good.
    let most = format!("2, 1, '{{1,2}}', {last}, NULL, NULL, 51");
    for (text, parameters) in
        [(plain_page(false), most.clone()), (filtered_page(false), format!("{most}, 2, NULL, '{{a}}'"))]
    {
        let plan = plan(&sql, &text, &parameters).await;
        let found = plan.split("Aggregate").next().expect("the window, or all");
        assert!(found.contains("Backward") && !found.contains("Sort"), "{plan}");
    }
    for (filter, index) in [("'u:7', NULL", "devices_by_person"), ("NULL, '+48507'", "devices_by_phone")] {
        let plan = plan(&sql, &plain_page(false), &format!("2, 1, '{{1,2}}', {last}, {filter}, 51")).await;
        assert!(plan.contains(index) && !plan.contains("Seq Scan"), "{plan}");
    }
    drop(sql);
    let admin = connect(&server()).await;
    admin.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.expect("the database goes");
}

#[test]
fn switched_off_nothing_is_active_and_what_is_dead_stays_so() {
    use DeviceState::{Active, Inactive, Invalid};
    assert_eq!(states(None), (vec![1, 2], vec![1, 2]));
    assert_eq!(states(Some(Active)), (vec![1], vec![]));
    assert_eq!(states(Some(Inactive)), (vec![2], vec![1, 2]));
    assert_eq!(states(Some(Invalid)), (vec![3], vec![3]));
}
