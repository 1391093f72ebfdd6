//! The only functions that commit. Each names its failpoint and has a deadline.

use crate::begun::Ready;
use crate::loan::Loan;
use crate::{Error, Result};
use carillon_failpoint::Point;
use deadpool_postgres::{Object, Transaction};
use futures::future::{Either, join, ready, try_join_all};
use futures::poll;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// How long the database may take to answer a commit, or a statement that callers wait for. Above the 5 s after which a connection is asked before it is used again, so that one that
/// answers nothing is thrown away.
pub(crate) const ANSWER: Duration = Duration::from_secs(6);

/// Commits a transaction.
///
/// # Errors
/// [`Error::Unavailable`] when the connection broke or nothing was answered in time: all of it is committed or nothing is.
#[allow(clippy::disallowed_methods, reason = "the one function that commits what the driver opened")]
pub(crate) async fn commit(transaction: Transaction<'_>, point: Point) -> Result<()> {
    within(ANSWER, point.around(async { Ok(transaction.commit().await?) })).await
}

/// Commits a transaction that was begun by hand, because it outlives the function that began it. After an error the connection is gone.
///
/// # Errors
/// As [`commit`].
pub(crate) async fn commit_by_hand(connection: Loan, point: Point) -> Result<()> {
    let committed = within(ANSWER, point.around(async { Ok(connection.batch_execute("COMMIT").await?) })).await;
    if committed.is_err() {
        // It must not go back to the pool with a transaction open.
        connection.close();
    }
    committed
}

/// Commits a transaction that was begun by hand together with its last statements: all of it is sent before the first is answered. Where one of them
/// fails, what is sent behind it ends the transaction without effect, as the database has it.
///
/// # Errors
/// What the database says of the statements, and as [`commit`]. Unless the commit itself was not answered, the connection goes back to the pool.
pub(crate) async fn commit_behind(connection: Loan, point: Point, last: Vec<Ready<'_>>) -> Result<()> {
    let client: &Object = &connection;
    let answered = within(ANSWER, async {
        let mut writing = pin!(try_join_all(last.into_iter().map(|statement| statement.send(client))));
        // Sends them all. One that cannot be sent ends it here: nothing may be committed without it.
        let writing = match poll!(writing.as_mut()) {
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Ready(nothing) => Either::Left(ready(nothing)),
            Poll::Pending => Either::Right(writing),
        };
        let commit = point.around(async { Ok(client.batch_execute("COMMIT").await?) });
        let (written, committed) = join(writing, commit).await;
        committed.map(|()| written.map(drop))
    });
    match answered.await {
        Ok(written) => written,
        Err(error) => {
            // It must not go back to the pool with a transaction open.
            connection.close();
            Err(error)
        }
    }
}

/// Runs a statement that writes and is its own transaction.
///
/// # Errors
/// As [`commit`], and what the database says of the statement.
pub(crate) async fn autocommit<T>(
    point: Point,
    patience: Duration,
    statement: impl Future<Output = std::result::Result<T, tokio_postgres::Error>>,
) -> Result<T> {
    within(patience, point.around(async { Ok(statement.await?) })).await
}

/// Does the work, or gives it up when its time is over.
pub(crate) async fn within<T>(patience: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    let late = |_| Err(Error::Unavailable("the database did not answer in time".into()));
    tokio::time::timeout(patience, work).await.unwrap_or_else(late)
}
