//! A service inside a test, without a process of its own.

use std::time::Duration;

use jiff::Timestamp;

use crate::readiness::Phase;
use crate::run::install_crypto;
use crate::supervisor::Unclean;
use crate::{Clock, Scope};

/// How long a test waits for a drain; the hard limit of a real process.
const LIMIT: Duration = Duration::from_secs(20);

/// Runs services inside a test and ends them: in order with [`TestScope::stop`], as a crash with [`TestScope::kill`].
/// Dropping it kills.
#[derive(Debug)]
pub struct TestScope {
    scope: Scope,
}

impl TestScope {
    /// A scope on the machine's clock.
    pub fn new(service: &'static str) -> Self {
        Self::with_clock(service, Clock::system())
    }

    /// A scope on a clock of the test's own, for instance [`Clock::manual`].
    pub fn with_clock(service: &'static str, clock: Clock) -> Self {
        install_crypto();
        let scope = Scope::new(service, clock);
        scope.ready().enter(Phase::Running);
        Self { scope }
    }

    /// A scope whose clock stands at `now`.
    pub fn at(service: &'static str, now: Timestamp) -> Self {
        Self::with_clock(service, Clock::manual(now))
    }

    /// What `start` is given.
    pub fn scope(&self) -> Scope {
        self.scope.clone()
    }

    /// What `/readyz` would answer: ready or not.
    pub fn is_ready(&self) -> bool {
        self.scope.ready().report().ready
    }

    /// Resolves when a critical task has failed.
    pub async fn failed(&self) {
        self.scope.tasks().failed().await;
    }

    /// Stops and drains as a signal would, at most 20 s.
    ///
    /// # Errors
    /// [`Unclean`] if a critical task failed at any time, or one did not end in time.
    pub async fn stop(self) -> Result<(), Unclean> {
        self.stop_within(LIMIT).await
    }

    /// Stops and drains with a limit of the test's own.
    ///
    /// # Errors
    /// As [`TestScope::stop`].
    pub async fn stop_within(self, limit: Duration) -> Result<(), Unclean> {
        self.scope.ready().enter(Phase::Draining);
        self.scope.stop();
        self.scope.tasks().drain(limit).await
    }

    /// Ends all tasks where they stand, as a crash would, and waits until they are gone.
    pub async fn kill(self) {
        self.scope.tasks().abort_all();
        let _ = self.scope.tasks().drain(LIMIT).await;
    }
}

impl Drop for TestScope {
    fn drop(&mut self) {
        self.scope.tasks().abort_all();
    }
}
