//! Transactions that are begun together with their first statement and committed together with their last ones: two ways to the database
//! and back fewer.

use crate::commit::{commit_behind, commit_by_hand};
use crate::loan::Loan;
use crate::{Error, Result};
use carillon_failpoint::Point;
use deadpool_postgres::{GenericClient, Object};
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

/// What a statement is given.
pub(crate) type Parameters<'a> = Vec<Box<dyn ToSql + Sync + Send + 'a>>;

/// A statement that writes and is ready to be sent: prepared, with its parameters. So the first poll of [`Ready::send`] sends it, and several that are
/// polled one after the other are sent and worked off in that order.
pub(crate) struct Ready<'a> {
    statement: Statement,
    parameters: Parameters<'a>,
}

impl<'a> Ready<'a> {
    /// Prepares it, if that was not done on this connection before.
    pub(crate) async fn new(client: &impl GenericClient, sql: &str, parameters: Parameters<'a>) -> Result<Self> {
        Ok(Self { statement: client.prepare_cached(sql).await?, parameters })
    }

    /// Sends it, in a transaction, and waits until it is done.
    pub(crate) async fn send(self, connection: &impl GenericClient) -> Result<()> {
        connection.execute_raw(&self.statement, self.parameters).await?;
        Ok(())
    }
}

/// A transaction that owns its connection. Dropped without an end, it is rolled back by closing that.
pub(crate) struct Begun {
    connection: Option<Loan>,
}

impl Begun {
    /// Begins, and does what comes first in the transaction; what that sends is sent without waiting for the beginning.
    pub(crate) async fn with<T>(connection: Loan, first: impl AsyncFnOnce(&Object) -> Result<T>) -> Result<(Self, T)> {
        let begun = Self { connection: Some(connection) };
        let client = begun.client()?;
        let begin = async { Ok(client.batch_execute("BEGIN").await?) };
        let ((), done) = futures::try_join!(begin, first(client))?;
        Ok((begun, done))
    }

    /// Where its statements are sent.
    pub(crate) fn client(&self) -> Result<&Object> {
        self.connection.as_deref().ok_or_else(ended)
    }

    /// Commits it.
    ///
    /// # Errors
    /// As [`commit_by_hand`].
    pub(crate) async fn commit(mut self, point: Point) -> Result<()> {
        commit_by_hand(self.connection.take().ok_or_else(ended)?, point).await
    }

    /// Commits it with its last statements.
    ///
    /// # Errors
    /// As [`commit_behind`].
    pub(crate) async fn commit_behind(mut self, point: Point, last: Vec<Ready<'_>>) -> Result<()> {
        commit_behind(self.connection.take().ok_or_else(ended)?, point, last).await
    }

    /// Undoes it, and keeps the connection.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away; nothing was changed anyway.
    pub(crate) async fn undo(mut self) -> Result<()> {
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.batch_execute("ROLLBACK").await
        {
            connection.close();
            return Err(error.into());
        }
        Ok(())
    }
}

fn ended() -> Error {
    Error::Refused("the transaction has ended".into())
}

impl Drop for Begun {
    fn drop(&mut self) {
        // A connection with an open transaction must not go back to the pool.
        if let Some(connection) = self.connection.take() {
            connection.close();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
