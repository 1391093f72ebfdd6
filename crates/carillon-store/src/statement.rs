//! One prepared statement on one connection, reading or writing. Whatever is no transaction passes here.
//!
//! Texts are few: the cache of statements grows with every other text.

use crate::commit::{autocommit, within};
use crate::{Error, Result, Store};
use carillon_failpoint::Point;
use deadpool_postgres::Object;
use std::time::Duration;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

impl Store {
    /// Reads.
    pub(crate) async fn rows(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>> {
        debug_assert!(!writes(sql), "a statement that writes commits by itself: {sql}");
        let connection = self.connection().await?;
        let asking = async {
            let statement = connection.prepare_cached(sql).await?;
            Ok(connection.query(&statement, parameters).await?)
        };
        // Boxed, or it would lie in every future above it several times.
        within(self.patience(), Box::pin(asking)).await
    }

    /// Reads one row.
    pub(crate) async fn row(&self, sql: &str, parameters: Parameters<'_>) -> Result<Row> {
        debug_assert!(!writes(sql), "a statement that writes commits by itself: {sql}");
        let connection = self.connection().await?;
        let asking = async {
            let statement = connection.prepare_cached(sql).await?;
            Ok(connection.query_one(&statement, parameters).await?)
        };
        within(self.patience(), Box::pin(asking)).await
    }

    /// Reads one row, or finds none.
    pub(crate) async fn maybe_row(&self, sql: &str, parameters: Parameters<'_>) -> Result<Option<Row>> {
        debug_assert!(!writes(sql), "a statement that writes commits by itself: {sql}");
        let connection = self.connection().await?;
        let asking = async {
            let statement = connection.prepare_cached(sql).await?;
            Ok(connection.query_opt(&statement, parameters).await?)
        };
        within(self.patience(), Box::pin(asking)).await
    }

    /// Reads by a plan made for these parameters. A plan that is kept for all of them would not know whether an app has ten devices or
    /// most of the table, nor which filter is given, and so not which index is the right one.
    pub(crate) async fn planned_rows(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>> {
        debug_assert!(!writes(sql), "a statement that writes commits by itself: {sql}");
        let connection = self.connection().await?;
        let asking = async {
            let statement = connection.prepare(sql).await?;
            Ok(connection.query(&statement, parameters).await?)
        };
        within(self.patience(), Box::pin(asking)).await
    }

    /// Writes, which commits by itself, and returns what the statement returns.
    pub(crate) async fn write(&self, point: Point, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>> {
        self.write_within(self.patience(), point, sql, parameters).await
    }

    /// As [`Store::write`], for what callers wait for.
    pub(crate) async fn write_within(
        &self,
        patience: Duration,
        point: Point,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>> {
        let connection = self.connection().await?;
        let statement = self.prepared(&connection, sql).await?;
        autocommit(point, patience, again_after_deadlocks(|| connection.query(&statement, parameters))).await
    }

    /// Writes, and returns the one row that the statement returns.
    pub(crate) async fn write_row(&self, point: Point, sql: &str, parameters: Parameters<'_>) -> Result<Row> {
        let row = self.write_maybe_row(point, sql, parameters).await?;
        row.ok_or_else(|| Error::Refused("a statement that always returns a row returned none".into()))
    }

    /// Writes, and returns the row if the statement returns one.
    pub(crate) async fn write_maybe_row(
        &self,
        point: Point,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Option<Row>> {
        Ok(self.write(point, sql, parameters).await?.pop())
    }

    /// As [`Store::write_maybe_row`], for what gives way to others: nothing either if this statement was the one that the database ended because it and
    /// others waited for each other.
    pub(crate) async fn write_if_first(
        &self,
        point: Point,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Option<Row>> {
        let connection = self.connection().await?;
        let statement = self.prepared(&connection, sql).await?;
        let writing = async {
            match connection.query_opt(&statement, parameters).await {
                Err(error) if is_deadlock(&error) => Ok(None),
                done => done,
            }
        };
        autocommit(point, self.patience(), writing).await
    }

    async fn prepared(&self, connection: &Object, sql: &str) -> Result<Statement> {
        within(self.patience(), Box::pin(async { Ok(connection.prepare_cached(sql).await?) })).await
    }

    /// Writes; how many rows.
    pub(crate) async fn write_count(&self, point: Point, sql: &str, parameters: Parameters<'_>) -> Result<u64> {
        let connection = self.connection().await?;
        let statement = self.prepared(&connection, sql).await?;
        let writing = again_after_deadlocks(|| connection.execute(&statement, parameters));
        autocommit(point, self.patience(), writing).await
    }
}

/// How often a statement that the database ended because it and others waited for each other is tried again. It has changed nothing, and
/// those others go on; even one that locks a single row may be it, waiting in a queue of transactions that lock more.
const DEADLOCKS: u32 = 5;

async fn again_after_deadlocks<T, F>(statement: impl Fn() -> F) -> std::result::Result<T, tokio_postgres::Error>
where
    F: Future<Output = std::result::Result<T, tokio_postgres::Error>>,
{
    for _ in 0..DEADLOCKS {
        match statement().await {
            Err(error) if is_deadlock(&error) => {}
            done => return done,
        }
    }
    statement().await
}

fn is_deadlock(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED)
}

/// The functions of the schema that change something.
const FUNCTIONS: [&str; 2] = ["carillon_make_partitions", "carillon_drop_old_chunks"];

/// Whether a statement changes rows: its own words, and the functions of the schema that do.
fn writes(sql: &str) -> bool {
    let mut before = "";
    sql.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).any(|word| {
        let locks = word == "UPDATE" && (before == "FOR" || before == "KEY");
        before = word;
        !locks && ["INSERT", "UPDATE", "DELETE"].contains(&word) || FUNCTIONS.contains(&word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_that_changes_rows_is_told_from_one_that_locks_them() {
        for sql in [
            "DELETE FROM apps",
            "WITH a AS (INSERT INTO b VALUES (1) RETURNING c) SELECT c FROM a",
            "SELECT 1 FROM a FOR UPDATE; UPDATE a SET b = 1",
            "SELECT carillon_make_partitions($1)",
            "SELECT carillon_drop_old_chunks($1)",
        ] {
            assert!(writes(sql), "{sql}");
        }
        for sql in [
            "SELECT updated_at FROM a",
            "SELECT 1 FROM a FOR UPDATE OF a SKIP LOCKED",
            "SELECT 1 FROM a FOR NO KEY UPDATE",
        ] {
            assert!(!writes(sql), "{sql}");
        }
    }
}
