//! What becomes of a transaction whose commit is sent behind its last statements, asked of a real PostgreSQL.

use super::*;
use crate::Store;
use tokio_postgres::NoTls;

const WRITE: &str = "INSERT INTO written (number) VALUES ($1)";

#[allow(clippy::disallowed_methods, reason = "tests are told their database by the environment")]
pub(crate) fn server() -> String {
    std::env::var("CARILLON_DATABASE__URL").expect("CARILLON_DATABASE__URL names a PostgreSQL for tests")
}

/// A store with one connection to a database of its own, which has one table.
#[allow(clippy::disallowed_methods, reason = "the connection of a test lives as long as its runtime")]
pub(crate) async fn one_connection() -> Store {
    let name = format!("test_{}", uuid::Uuid::now_v7().simple());
    let (client, connection) = tokio_postgres::connect(&server(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let mut config = crate::Config::new(format!("{}/{name}", server().rsplit_once('/').unwrap().0));
    config.connections = 1;
    let store = Store::open(&config, "test").unwrap();
    let table = "CREATE TABLE written (number integer PRIMARY KEY)";
    store.connection().await.unwrap().batch_execute(table).await.unwrap();
    store
}

async fn begin(store: &Store) -> Begun {
    Begun::with(store.connection().await.unwrap(), async |_| Ok(())).await.unwrap().0
}

async fn write(transaction: &Begun, number: i32) -> Ready<'static> {
    Ready::new(transaction.client().unwrap(), WRITE, vec![Box::new(number)]).await.unwrap()
}

/// What was committed, and which of the server's processes the connection leads to.
pub(crate) async fn there(store: &Store) -> (Vec<i32>, i32) {
    let rows = store.rows("SELECT number FROM written ORDER BY number", &[]).await.unwrap();
    let process = store.row("SELECT pg_backend_pid()", &[]).await.unwrap();
    (rows.iter().map(|row| row.get(0)).collect(), process.get(0))
}

#[tokio::test]
async fn what_is_sent_with_its_commit_is_there_when_that_is_answered() {
    let store = one_connection().await;
    let (_, before) = there(&store).await;
    let transaction = begin(&store).await;
    let last = vec![write(&transaction, 1).await, write(&transaction, 2).await];
    transaction.commit_behind(Point::PagesCommit, last).await.unwrap();
    assert_eq!(there(&store).await, (vec![1, 2], before));
    begin(&store).await.commit_behind(Point::PagesCommit, Vec::new()).await.unwrap();
    assert_eq!(there(&store).await, (vec![1, 2], before), "with nothing to write it ends too");
}

#[tokio::test]
async fn one_statement_that_fails_takes_the_others_with_it_and_leaves_the_connection() {
    let store = one_connection().await;
    let (_, before) = there(&store).await;
    let transaction = begin(&store).await;
    let last = vec![write(&transaction, 1).await, write(&transaction, 1).await, write(&transaction, 2).await];
    let failed = transaction.commit_behind(Point::PagesCommit, last).await;
    assert!(matches!(failed, Err(Error::Duplicate(_))), "{failed:?}");
    assert_eq!(there(&store).await, (Vec::new(), before));
}

#[tokio::test]
async fn nothing_is_committed_without_a_statement_that_could_not_be_sent() {
    let store = one_connection().await;
    let (_, before) = there(&store).await;
    let transaction = begin(&store).await;
    let wrong = Ready::new(transaction.client().unwrap(), WRITE, vec![Box::new("no number")]).await.unwrap();
    let last = vec![write(&transaction, 1).await, wrong, write(&transaction, 2).await];
    let failed = transaction.commit_behind(Point::PagesCommit, last).await;
    assert!(matches!(failed, Err(Error::Refused(_))), "{failed:?}");
    let (written, after) = there(&store).await;
    assert!(written.is_empty() && after != before, "{written:?} by {after}, {before} before");
}

#[tokio::test]
async fn what_is_dropped_or_undone_was_never_there() {
    let store = one_connection().await;
    let (_, before) = there(&store).await;
    for ends in [false, true] {
        let transaction = begin(&store).await;
        write(&transaction, 1).await.send(transaction.client().unwrap()).await.unwrap();
        if ends {
            transaction.undo().await.unwrap();
        } else {
            drop(transaction);
        }
        let (written, after) = there(&store).await;
        assert!(written.is_empty(), "{written:?}");
        assert!(ends || after != before, "an open transaction went back to the pool");
    }
}
