//! Schemas and binaries of different versions, as a rollout brings them together.

use crate::database::Database;

/// Pretends that a later release has applied a migration that this binary does not know.
async fn later(db: &Database, number: i32, oldest_binary: Option<i32>) {
    let sql = "INSERT INTO carillon_migrations (number, name, crc, oldest_binary) VALUES ($1, 'later', 7, $2)";
    db.sql.execute(sql, &[&number, &oldest_binary]).await.expect("a row");
}

async fn newest(db: &Database) -> i32 {
    db.sql.query_one("SELECT max(number) FROM carillon_migrations", &[]).await.expect("a number").get(0)
}

#[tokio::test]
async fn a_binary_runs_on_beside_a_newer_schema_that_still_works_with_it_and_stops_at_one_that_does_not() {
    let db = Database::new().await;
    let known = newest(&db).await;
    later(&db, known + 1, Some(known)).await;
    db.store.check_schema().await.expect("an older binary goes on during a rollout");
    assert!(db.store.migrate().await.expect("and has nothing to apply").is_empty());
    later(&db, known + 2, Some(known + 1)).await;
    let refused = db.store.check_schema().await.unwrap_err().to_string();
    assert!(refused.contains(&format!("migration {}", known + 2)) && refused.contains("too old"), "{refused}");
    assert!(db.store.migrate().await.is_err());
    db.drop_it().await;
}

#[tokio::test]
async fn a_table_of_migrations_from_before_they_named_binaries_is_read_and_completed() {
    let db = Database::new().await;
    db.sql.batch_execute("ALTER TABLE carillon_migrations DROP COLUMN oldest_binary").await.expect("SQL");
    db.store.check_schema().await.expect("read without the column");
    db.store.migrate().await.expect("migrated again");
    assert!(newest(&db).await > 0);
    later(&db, 999, None).await;
    assert!(db.store.check_schema().await.is_err(), "who does not say works with nobody older");
    db.drop_it().await;
}
