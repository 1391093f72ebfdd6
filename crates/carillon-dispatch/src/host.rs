//! One host that is, or was of late, not well: what it asked for, its breaker, and who is shown that. Pure, `now` is an argument.

use std::time::Duration;

use carillon_telemetry::metrics::{Gauge, Held};
use tokio::time::Instant;

use crate::breaker::{Breaker, Passage, Turn};
use crate::plan::IN_PROCESS;

/// A host that nothing was sent to for this long is forgotten. Longer than any message that it held would wait for it.
pub(crate) const STALE: Duration = Duration::from_secs(600);

/// A host that is, or was of late, not well.
#[derive(Debug, Default)]
pub(crate) struct Host {
    /// What it asked for, or how long it refuses the credential.
    closed_until: Option<Instant>,
    breaker: Breaker,
    /// Counts the breaker as open.
    open: Option<Held>,
    learned_at: Option<Instant>,
}

impl Host {
    pub(crate) fn admit(&mut self, now: Instant) -> Passage {
        match self.closed_for(now) {
            Some(wait) if wait <= IN_PROCESS => Passage::Wait(wait),
            Some(wait) => Passage::Hold(wait),
            None => {
                self.closed_until = None;
                self.breaker.admit(now)
            }
        }
    }

    /// How long nothing can go, if that is so. Asking changes nothing.
    pub(crate) fn holds(&self, now: Instant) -> Option<Duration> {
        let asked = self.closed_for(now).filter(|wait| *wait > IN_PROCESS);
        asked.or_else(|| self.breaker.holds(now))
    }

    /// It answered; see [`Breaker::works`]. True if it had been given up.
    pub(crate) fn works(&mut self, now: Instant, taken: f64) -> bool {
        self.learned_at = Some(now);
        let recovered = self.breaker.works(now, taken) == Turn::Recovered;
        if recovered {
            self.open = None;
        }
        recovered
    }

    /// It did not answer, or is not well. True if it is given up for that.
    pub(crate) fn fails(&mut self, until: Option<Instant>, now: Instant) -> bool {
        self.learned_at = Some(now);
        self.closed_until = self.closed_until.max(until);
        self.breaker.fails(now) == Turn::Opened
    }

    /// Nothing before `until`. True if it was closed before.
    pub(crate) fn close(&mut self, until: Instant, now: Instant) -> bool {
        self.learned_at = Some(now);
        let was_closed = self.closed_for(now).is_some();
        self.closed_until = self.closed_until.max(Some(until));
        was_closed
    }

    /// Shows the breaker for as long as it is open.
    pub(crate) fn count(&mut self, open: &Gauge) {
        self.open = Some(open.hold());
    }

    /// Whether there is nothing to remember.
    pub(crate) fn is_calm(&self) -> bool {
        self.closed_until.is_none() && self.breaker.is_calm()
    }

    /// Whether something would go that should not if it were forgotten now.
    pub(crate) fn matters(&self, now: Instant) -> bool {
        self.closed_for(now).is_some() || !(self.breaker.is_closed() || self.is_stale(now))
    }

    /// Whether nothing was sent there for so long that nobody waits for it.
    pub(crate) fn is_stale(&self, now: Instant) -> bool {
        let last = self.learned_at.max(self.closed_until);
        last.is_none_or(|at| now.saturating_duration_since(at) >= STALE)
    }

    fn closed_for(&self, now: Instant) -> Option<Duration> {
        let left = self.closed_until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }
}
