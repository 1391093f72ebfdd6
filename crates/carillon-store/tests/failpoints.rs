//! What a caller knows after a commit that failed, was cut or never came back. The points are the process', so these tests are a process of
//! their own and take turns.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "devices/database.rs"]
mod database;

use carillon_domain::delivery_status::Reason;
use carillon_domain::ids::NotificationId;
use carillon_domain::platform::Lane;
use carillon_failpoint::Armed;
use carillon_store::{Error, NewNotification, Page, Suppressed, TenantChange};
use database::Database;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Armed until it goes.
fn armed(text: &str) -> Armed {
    Armed::with(text.parse().unwrap(), |_| {})
}

fn notification(database: &Database) -> NewNotification {
    NewNotification {
        notification_id: NotificationId(Uuid::now_v7()),
        tenant_key: database.tenant,
        app_key: database.app,
        reference: None,
        body: vec![1],
        lane: Lane::Transactional,
        scheduled_at: None,
        idempotency: None,
        traceparent: String::new(),
    }
}

async fn kept(database: &Database) -> i64 {
    database.sql.query_one("SELECT count(*) FROM notifications", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_commit_that_fails_before_leaves_nothing_and_one_that_fails_after_leaves_all() {
    let database = Database::new().await;
    let new = notification(&database);
    for (side, left) in [("before", 0), ("after", 1)] {
        let _armed = armed(&format!("store.accept.commit:{side}=error"));
        let error = database.store.accept_group(std::slice::from_ref(&new)).await.unwrap_err();
        assert!(error.is_unavailable(), "{side}: {error}");
        assert_eq!(kept(&database).await, left, "{side}");
    }
    // The caller repeats it with the same id, and it is there once.
    let _armed = armed("");
    database.store.accept_group(&[new]).await.unwrap();
    assert_eq!(kept(&database).await, 1);
    database.drop_it().await;
}

#[tokio::test]
async fn a_commit_that_never_comes_back_is_given_up_in_time_and_its_connection_is_no_trap() {
    let database = Database::new().await;
    let new = notification(&database);
    for (side, left) in [("before", 0), ("after", 1)] {
        let _armed = armed(&format!("store.accept.commit:{side}=hang"));
        let began = Instant::now();
        let error = database.store.accept_group(std::slice::from_ref(&new)).await.unwrap_err();
        assert!(error.is_unavailable(), "{side}: {error}");
        assert!(began.elapsed() < Duration::from_secs(10), "{side}: {:?}", began.elapsed());
        assert_eq!(kept(&database).await, left, "{side}");
    }
    let _armed = armed("");
    let again = notification(&database);
    database.store.accept_group(&[again]).await.unwrap();
    assert_eq!(kept(&database).await, 2, "what was left open does not swallow the next commit");
    database.drop_it().await;
}

#[tokio::test]
async fn a_page_of_which_somebody_is_suppressed_is_committed_in_one_piece_too() {
    let database = Database::new().await;
    let new = notification(&database);
    database.store.accept_group(std::slice::from_ref(&new)).await.unwrap();
    let sql = "SELECT (SELECT count(*) FROM deliveries), (SELECT epoch FROM notifications)";
    for (side, left) in [("before", (0, 0)), ("after", (1, 1))] {
        let _armed = armed(&format!("store.pages.commit:{side}=error"));
        let (expansion, rows) = database.store.expand(&[new.notification_id]).await.unwrap();
        let (row, now) = (&rows[0], expansion.now());
        let page = Page {
            notification_id: row.notification_id,
            tenant_key: row.tenant_key,
            app_key: row.app_key,
            lane: row.lane,
            run: row.notification_id.as_run(),
            run_started_at: now,
            expires_at: now,
            first_chunk: 0,
            chunks: Vec::new(),
            suppressed: vec![Suppressed { subject: -1, platform: None, person: None, reason: Reason::NoDevice }],
            cascades: Vec::new(),
            persons: 1,
            cursor: None,
            last: true,
            rests: false,
        };
        let error = expansion.commit(vec![page], 0).await.unwrap_err();
        assert!(error.is_unavailable(), "{side}: {error}");
        let row = database.sql.query_one(sql, &[]).await.unwrap();
        assert_eq!((row.get::<_, i64>(0), row.get::<_, i32>(1)), left, "{side}");
    }
    database.drop_it().await;
}

#[tokio::test]
async fn a_statement_that_commits_by_itself_has_both_sides_too() {
    let database = Database::new().await;
    let new = async || {
        let row = database.sql.query_one("SELECT count(*) FROM tenants WHERE tenant = 'new'", &[]).await;
        row.unwrap().get::<_, i64>(0)
    };
    for (side, left) in [("before", 0), ("after", 1)] {
        let _armed = armed(&format!("store.setup.commit:{side}=error"));
        let put = database.store.put_tenant("new", &TenantChange::default()).await;
        assert!(matches!(put, Err(Error::Unavailable(_))) && new().await == left, "{side}: {put:?}");
    }
    database.drop_it().await;
}
