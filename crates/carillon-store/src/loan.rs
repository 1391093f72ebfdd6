//! Connections on loan from the pool.

use deadpool_postgres::Object;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

/// A connection on loan. Who has it for longer than a statement may take was probably cut off in the middle of one: it is closed then instead of being given
/// back, as the next one would wait for the same answer.
pub(crate) struct Loan {
    connection: Option<Object>,
    since: Instant,
    longest: Duration,
}

impl Loan {
    pub(crate) fn new(connection: Object, longest: Duration) -> Self {
        Self { connection: Some(connection), since: Instant::now(), longest }
    }

    /// Closes it, and with it the transaction that is open on it.
    pub(crate) fn close(mut self) {
        self.connection.take().map(Object::take);
    }
}

impl Deref for Loan {
    type Target = Object;

    fn deref(&self) -> &Object {
        self.connection.as_ref().unwrap_or_else(|| unreachable!("only who ends the loan takes it"))
    }
}

impl DerefMut for Loan {
    fn deref_mut(&mut self) -> &mut Object {
        self.connection.as_mut().unwrap_or_else(|| unreachable!("only who ends the loan takes it"))
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if self.since.elapsed() >= self.longest {
            self.connection.take().map(Object::take);
        }
    }
}

#[cfg(test)]
mod tests;
