//! What can go wrong with the database, sorted by what the caller can do about it.

use tokio_postgres::error::SqlState;

/// The result of every call into the store.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of the database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Away, full, switching over, or too slow: try again later; nothing is known to be wrong with the request. Whether a commit
    /// that was under way happened is unknown, so repeat it by its id.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A unique constraint refused: somebody else was first.
    #[error("already there: {0}")]
    Duplicate(String),
    /// Ours to mend: a statement the database does not take, or a row that does not read as it was written.
    #[error("the database refused a statement: {0}")]
    Refused(String),
}

impl Error {
    /// Whether trying again later can help.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Error::Unavailable(_))
    }

    /// A row that does not read as it was written.
    pub(crate) fn corrupt(what: &str) -> Self {
        Error::Refused(format!("{what} does not read as it was written"))
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            // Without a word from the server it is the connection: closed, reset, timed out.
            return if error.is_closed() || std::error::Error::source(&error).is_some_and(|s| s.is::<std::io::Error>()) {
                Error::Unavailable(error.to_string())
            } else {
                Error::Refused(error.to_string())
            };
        };
        // The message and the constraint only: details quote values, and values may be secrets.
        let words = format!("{} ({})", db.message(), db.code().code());
        match db.code() {
            code if *code == SqlState::UNIQUE_VIOLATION => {
                Error::Duplicate(db.constraint().unwrap_or_default().to_owned())
            }
            code if is_passing(code) => Error::Unavailable(words),
            _ => Error::Refused(words),
        }
    }
}

impl From<carillon_failpoint::Failed> for Error {
    fn from(failed: carillon_failpoint::Failed) -> Self {
        Error::Unavailable(failed.to_string())
    }
}

/// Classes 08 (connection), 53 (resources), 57 (operator intervention, statement timeout), serialisation failure, deadlock, a lock that was not had in time, and a standby that was
/// promoted over (read-only).
fn is_passing(code: &SqlState) -> bool {
    let class = &code.code()[..2];
    matches!(class, "08" | "53" | "57" | "58")
        || [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::READ_ONLY_SQL_TRANSACTION,
        ]
        .contains(code)
}

impl From<deadpool_postgres::PoolError> for Error {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        match error {
            deadpool_postgres::PoolError::Backend(inner) => {
                Error::Unavailable(inner.as_db_error().map_or_else(|| inner.to_string(), |db| db.message().to_owned()))
            }
            other => Error::Unavailable(other.to_string()),
        }
    }
}
