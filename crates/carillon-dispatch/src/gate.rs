//! Whether a credential's messages may go: not while their host fails or refuses the credential, nor while the provider asks for patience.
//!
//! A pure state machine per credential: one app's trouble holds only its own chunks, and a new version of a credential
//! starts with a clean slate. Where a credential reaches several hosts, each is known by itself: a browser's push service that is
//! down, or that takes our signatures for bad, holds nobody else's.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use carillon_telemetry::metrics::Gauge;
use tokio::time::Instant;

use crate::brake::Brake;
use crate::breaker::Passage;
use crate::host::Host;
use crate::plan::{IN_PROCESS, Lesson};
use crate::taken::Taken;

/// How long the brake holds an app.
const BRAKE_HOLD: Duration = Duration::from_secs(600);
/// Hosts that are not well; those beyond go as if they were.
const MOST_HOSTS: usize = 1024;
/// The name of what is asked once for a whole chunk, such as a token endpoint. No host has it.
pub(crate) const PREPARATION: &str = "\0preparation";

/// May one message go?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Yes.
    Go,
    /// Yes, and nothing else of the chunk to its host until its verdict is there.
    Probe,
    /// In a moment (at most a second).
    Wait(Duration, Reach),
    /// Not here: they are deferred by this much.
    Hold(Duration, Reach),
}

/// Whom a wait is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Messages to the same host.
    Host,
    /// Everything of the credential.
    Credential,
}

/// What is new by a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// The host's breaker opened.
    Opened,
    /// The host is back.
    Recovered,
    /// The credential is refused, by the host or (where it was asked for all hosts) altogether.
    Refused,
}

/// Whether the brake spares a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Brakes {
    /// No.
    No,
    /// Yes, and somebody should be told.
    Now,
    /// Yes, as those before.
    Still,
}

/// What is left until then, if anything is.
fn left(until: Option<Instant>, now: Instant) -> Option<Duration> {
    until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
}

/// The state of one credential. See [`Gate::admit`] and [`Gate::learn`].
#[derive(Debug, Default)]
pub(crate) struct Gate {
    closed_until: Option<Instant>,
    /// Only of hosts that failed of late: usually empty.
    hosts: HashMap<Box<str>, Host>,
    brake: Brake,
    taken: Taken,
}

impl Gate {
    /// Asked before each send.
    pub(crate) fn admit(&mut self, host: &str, now: Instant) -> Admission {
        if let Some(left) = left(self.closed_until, now) {
            let of = Reach::Credential;
            return if left <= IN_PROCESS { Admission::Wait(left, of) } else { Admission::Hold(left, of) };
        }
        self.closed_until = None;
        let Some(known) = self.hosts.get_mut(host) else { return Admission::Go };
        let passage = known.admit(now);
        if known.is_calm() {
            self.hosts.remove(host);
        }
        match passage {
            Passage::Go => Admission::Go,
            Passage::Probe => Admission::Probe,
            Passage::Wait(wait) => Admission::Wait(wait, Reach::Host),
            Passage::Hold(wait) => Admission::Hold(wait, Reach::Host),
        }
    }

    /// How long nothing to these hosts can go, if that is so: for what need not even be prepared. Asking changes nothing.
    pub(crate) fn closed<'h>(&self, mut hosts: impl Iterator<Item = &'h str>, now: Instant) -> Option<Duration> {
        if let Some(left) = left(self.closed_until, now).filter(|left| *left > IN_PROCESS) {
            return Some(left);
        }
        let holds = |host: &str| self.hosts.get(host).and_then(|known| known.holds(now));
        if let Some(wait) = holds(PREPARATION) {
            return Some(wait);
        }
        // The soonest of all, and None if one of them is open.
        let first = holds(hosts.next()?)?;
        hosts.try_fold(first, |least, host| holds(host).map(|wait| wait.min(least)))
    }

    /// Told after each verdict. Says what is new by it.
    pub(crate) fn learn(&mut self, lesson: Lesson, host: &str, now: Instant) -> Change {
        match lesson {
            Lesson::Works => self.works(host, now),
            Lesson::Fails => self.fails(host, None, now),
            Lesson::Away(wait) => self.fails(host, Some(now + wait), now),
            // The provider answers; what it says is about us.
            Lesson::Pause(wait) => {
                let change = self.works(host, now);
                self.close_for(wait, now);
                change
            }
            Lesson::Refused(wait) => self.refuses(host, wait, now),
        }
    }

    /// Shows a host's breaker in `open` for as long as it is, or until the host is forgotten.
    pub(crate) fn count(&mut self, host: &str, open: &Gauge) {
        if let Some(known) = self.hosts.get_mut(host) {
            known.count(open);
        }
    }

    /// Forgets hosts that nobody has asked for in a long while, and what they showed.
    pub(crate) fn forget(&mut self, now: Instant) {
        self.hosts.retain(|_, known| !known.is_stale(now));
    }

    /// Told of each refusal that kills a token if it is alone. When nearly all answers are such refusals the token is not to be
    /// retired, and the app's messages are held.
    pub(crate) fn brakes(&mut self, now: Instant) -> Brakes {
        if !self.brake.engages(now) {
            return Brakes::No;
        }
        let known = self.closed_until.is_some_and(|until| until > now);
        self.close_for(BRAKE_HOLD, now);
        if known { Brakes::Still } else { Brakes::Now }
    }

    /// Told of so many other final answers of one host.
    pub(crate) fn answered(&mut self, host: &str, count: u32, now: Instant) {
        self.brake.others(count, now);
        self.taken.count(host, count, now);
    }

    /// Whether it lets everything go, and would after any success.
    pub(crate) fn is_calm(&self) -> bool {
        self.closed_until.is_none() && self.hosts.is_empty()
    }

    /// How long the brake holds what it spared.
    pub(crate) const fn brake_hold() -> Duration {
        BRAKE_HOLD
    }

    fn close_for(&mut self, wait: Duration, now: Instant) {
        let until = now + wait;
        self.closed_until = Some(self.closed_until.map_or(until, |known| known.max(until)));
    }

    fn works(&mut self, host: &str, now: Instant) -> Change {
        let Some(known) = self.hosts.get_mut(host) else { return Change::None };
        let recovered = known.works(now, self.taken.of(host, now));
        // A preparation serves a whole chunk: nothing needs to be ramped up.
        if known.is_calm() || host == PREPARATION {
            self.hosts.remove(host);
        }
        if recovered { Change::Recovered } else { Change::None }
    }

    fn fails(&mut self, host: &str, until: Option<Instant>, now: Instant) -> Change {
        let Some(known) = self.known(host, now) else { return Change::None };
        if known.fails(until, now) { Change::Opened } else { Change::None }
    }

    /// The host answers; what it says is about us. Others may take the same credential, unless it was refused before any was asked.
    fn refuses(&mut self, host: &str, wait: Duration, now: Instant) -> Change {
        let change = self.works(host, now);
        let told = if host == PREPARATION {
            let told = left(self.closed_until, now).is_some();
            self.close_for(wait, now);
            told
        } else {
            // Where there is no room for it, each of its messages is refused by itself, and nothing more is said.
            self.known(host, now).is_none_or(|known| known.close(now + wait, now))
        };
        if told { change } else { Change::Refused }
    }

    /// A host's state, made now if there is none and room for it. What would still hold messages back never makes room.
    fn known(&mut self, host: &str, now: Instant) -> Option<&mut Host> {
        if !self.hosts.contains_key(host) && self.hosts.len() >= MOST_HOSTS {
            self.hosts.retain(|_, known| known.matters(now));
            if self.hosts.len() >= MOST_HOSTS {
                return None;
            }
        }
        Some(self.hosts.entry(host.into()).or_default())
    }
}
