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

/// The newest files, of which the first needs a lock that traffic is in the way of.
const NEWEST: [&str; 3] = ["what_is_due_at_a_glance", "chunks_are_dropped", "conditions"];

/// Takes the newest files back.
async fn forget_newest(db: &Database) -> i32 {
    let number = newest(db).await;
    assert_eq!(number, 14, "take back here what the newest file makes");
    let sql = "ALTER TABLE devices DROP COLUMN tag_hashes;
               DROP FUNCTION carillon_tag_hashes, carillon_tag_hash, carillon_version_numbers, carillon_version_suffix, carillon_time;
               DROP FUNCTION carillon_drop_old_chunks;
               DROP INDEX chunks_next; DELETE FROM carillon_migrations WHERE number >= 12";
    db.sql.batch_execute(sql).await.expect("SQL");
    number
}

#[tokio::test]
async fn a_migration_lets_traffic_pass_while_it_waits_for_its_locks() {
    let db = Database::new().await;
    let number = forget_newest(&db).await;
    let writing = "UPDATE chunks SET copies = copies";
    db.sql.batch_execute(&format!("BEGIN; {writing}")).await.expect("a transaction that takes its time");
    let others = db.connect().await;
    let migrating = db.store.migrate();
    let serving = async {
        // Until the migration waits for the table.
        let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'chunks'::regclass";
        while others.query_one(waits, &[]).await.expect("locks").get::<_, i64>(0) == 0 {
            tokio::task::yield_now().await;
        }
        let began = std::time::Instant::now();
        others.batch_execute(writing).await.expect("the platform goes on");
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
        db.sql.batch_execute("COMMIT").await.expect("the end of it");
    };
    let (applied, ()) = tokio::join!(migrating, serving);
    assert_eq!(applied.expect("once it can"), NEWEST);
    assert_eq!(newest(&db).await, number);
    db.drop_it().await;
}

#[tokio::test]
async fn each_file_is_committed_by_itself_and_a_repetition_goes_on_behind_it() {
    let db = Database::new().await;
    forget_newest(&db).await;
    db.sql
        .batch_execute("DELETE FROM carillon_migrations WHERE number = 11; DROP TABLE device_sends")
        .await
        .expect("SQL");
    db.sql
        .batch_execute("DROP FUNCTION carillon_last_sent; CREATE INDEX chunks_next ON chunks (lane)")
        .await
        .expect("SQL");
    let refused = db.store.migrate().await.expect_err("a file finds its index there").to_string();
    assert!(refused.contains("chunks_next"), "{refused}");
    assert_eq!(newest(&db).await, 11, "the one before it stays");
    db.sql.batch_execute("DROP INDEX chunks_next").await.expect("SQL");
    assert_eq!(db.store.migrate().await.expect("the rest"), NEWEST);
    db.drop_it().await;
}

#[tokio::test]
async fn whoever_comes_while_another_migrates_waits_and_finds_nothing_to_do() {
    let db = Database::new().await;
    forget_newest(&db).await;
    let (a, b, c) = tokio::join!(db.store.migrate(), db.store.migrate(), db.store.migrate());
    let applied: Vec<_> = [a, b, c].into_iter().flat_map(|applied| applied.expect("done")).collect();
    assert_eq!(applied, NEWEST, "once");
    db.drop_it().await;
}
