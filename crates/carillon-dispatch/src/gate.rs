//! Whether a credential's messages may go: not while their host fails or refuses the credential, nor while the provider asks for patience.
//!
//! A pure state machine per credential: one app's trouble holds only its own chunks, and a new version of a credential
//! starts with a clean slate. Where a credential reaches several hosts, each is known by itself: a browser's push service that is
//! down, or that takes our signatures for bad, holds nobody else's.

use std::collections::HashMap;
use std::time::Duration;

use carillon_telemetry::metrics::Gauge;
use tokio::time::Instant;

use crate::brake::Brake;
use crate::breaker::Passage;
use crate::host::Host;
use crate::plan::{IN_PROCESS, Lesson};

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
}

impl Gate {
    /// Asked before each send.
    pub(crate) fn admit(&mut self, host: &str, now: Instant) -> Admission {
        if let Some(left) = left(self.closed_until, now) {
            let of = Reach::Credential;
            return if left <= IN_PROCESS { Admission::Wait(left, of) } else { Admission::Hold(left, of) };
        }
        self.closed_until = None;
        if self.hosts.is_empty() {
            return Admission::Go;
        }
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
        if self.hosts.is_empty() {
            return None;
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

    /// Told of each refusal that kills a token if it is alone, and of every other final answer. When nearly all answers are
    /// such refusals the token is not to be retired, and the app's messages are held.
    pub(crate) fn brakes(&mut self, suspicious: bool, now: Instant) -> Brakes {
        if !self.brake.engages(suspicious, now) {
            return Brakes::No;
        }
        let known = self.closed_until.is_some_and(|until| until > now);
        self.close_for(BRAKE_HOLD, now);
        if known { Brakes::Still } else { Brakes::Now }
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
        if self.hosts.is_empty() {
            return Change::None;
        }
        let Some(known) = self.hosts.get_mut(host) else { return Change::None };
        let recovered = known.works(now);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::{OPENS_AFTER, PROBE_EVERY};
    use crate::host::STALE;
    use carillon_telemetry::metrics::gauge;
    use carillon_telemetry::names;
    use proptest::prelude::*;

    const HOST: &str = "push.example";

    fn opened(now: Instant) -> Gate {
        let mut gate = Gate::default();
        assert_eq!((0..OPENS_AFTER).filter(|_| gate.learn(Lesson::Fails, HOST, now) == Change::Opened).count(), 1);
        gate
    }

    #[test]
    fn a_host_that_is_away_holds_its_own_messages_and_no_others() {
        let now = Instant::now();
        let mut gate = opened(now);
        assert!(matches!(gate.admit(HOST, now), Admission::Hold(_, Reach::Host)));
        assert_eq!(gate.admit("other.example", now), Admission::Go);
        assert!(gate.closed([HOST].into_iter(), now).is_some());
        assert_eq!(gate.closed([HOST, "other.example"].into_iter(), now), None);
        assert_eq!(gate.admit(HOST, now + PROBE_EVERY), Admission::Probe);
        assert_eq!(gate.learn(Lesson::Works, HOST, now + PROBE_EVERY), Change::Recovered);
        assert_eq!(gate.admit(HOST, now + PROBE_EVERY), Admission::Go);
    }

    #[test]
    fn a_preparation_that_fails_holds_all_hosts_until_one_succeeds() {
        let now = Instant::now();
        let mut gate = Gate::default();
        (0..OPENS_AFTER).for_each(|_| _ = gate.learn(Lesson::Fails, PREPARATION, now));
        assert!(gate.closed([HOST].into_iter(), now).is_some());
        let then = now + PROBE_EVERY;
        assert_eq!(gate.closed([HOST].into_iter(), then), None, "one may try");
        assert_eq!(gate.learn(Lesson::Works, PREPARATION, then), Change::Recovered);
        assert_eq!((gate.closed([HOST].into_iter(), now), gate.hosts.len()), (None, 0));
    }

    #[test]
    fn hosts_that_answer_are_not_remembered_and_those_that_fail_not_without_bound() {
        let now = Instant::now();
        let mut gate = Gate::default();
        for number in 0..3 * MOST_HOSTS {
            let host = format!("{number}.example");
            (0..OPENS_AFTER).for_each(|_| _ = gate.learn(Lesson::Fails, &host, now));
            assert!(gate.hosts.len() <= MOST_HOSTS);
        }
        let mut gate = Gate::default();
        gate.learn(Lesson::Fails, HOST, now);
        gate.learn(Lesson::Works, HOST, now);
        assert!(gate.hosts.is_empty());
    }

    #[test]
    fn a_host_that_asks_for_patience_gets_it_and_the_others_go_on() {
        let now = Instant::now();
        let mut gate = Gate::default();
        gate.learn(Lesson::Away(Duration::from_secs(5)), HOST, now);
        assert_eq!(gate.admit(HOST, now), Admission::Hold(Duration::from_secs(5), Reach::Host));
        assert_eq!(gate.admit("other.example", now), Admission::Go);
        assert_eq!(gate.admit(HOST, now + Duration::from_secs(5)), Admission::Go, "one failure opens no breaker");
        (0..OPENS_AFTER).for_each(|_| _ = gate.learn(Lesson::Away(Duration::from_secs(5)), HOST, now));
        assert_eq!(gate.admit(HOST, now + Duration::from_secs(5)), Admission::Probe);
    }

    #[test]
    fn a_throttle_is_waited_for_or_held_by_its_length() {
        let now = Instant::now();
        let mut gate = Gate::default();
        gate.learn(Lesson::Pause(Duration::from_secs(3)), HOST, now);
        assert_eq!(gate.admit(HOST, now), Admission::Hold(Duration::from_secs(3), Reach::Credential));
        let later = now + Duration::from_secs(2);
        assert_eq!(gate.admit(HOST, later), Admission::Wait(Duration::from_secs(1), Reach::Credential));
        assert_eq!(gate.admit(HOST, now + Duration::from_secs(3)), Admission::Go);
    }

    #[test]
    fn a_shorter_throttle_does_not_end_a_longer_one() {
        let now = Instant::now();
        let mut gate = Gate::default();
        gate.learn(Lesson::Pause(Duration::from_secs(60)), HOST, now);
        gate.learn(Lesson::Pause(Duration::from_secs(2)), HOST, now);
        assert_eq!(gate.admit(HOST, now), Admission::Hold(Duration::from_secs(60), Reach::Credential));
    }

    #[test]
    fn a_host_that_refuses_the_credential_holds_its_own_messages_and_says_so_once() {
        let now = Instant::now();
        let minute = Duration::from_secs(60);
        let mut gate = Gate::default();
        let said = [(); 3].map(|()| gate.learn(Lesson::Refused(minute), HOST, now));
        assert_eq!(said, [Change::Refused, Change::None, Change::None]);
        assert_eq!(gate.admit(HOST, now), Admission::Hold(minute, Reach::Host));
        assert_eq!(gate.admit("other.example", now), Admission::Go);
        assert_eq!(gate.closed([HOST, "other.example"].into_iter(), now), None);
        assert_eq!(gate.admit(HOST, now + minute), Admission::Go);
        assert!(gate.hosts.is_empty(), "what it said is over");
        assert_eq!(gate.learn(Lesson::Refused(minute), HOST, now + minute), Change::Refused);
    }

    #[test]
    fn a_credential_that_is_refused_before_any_host_was_asked_holds_them_all() {
        let now = Instant::now();
        let minute = Duration::from_secs(60);
        let mut gate = Gate::default();
        let said = [(); 2].map(|()| gate.learn(Lesson::Refused(minute), PREPARATION, now));
        assert_eq!(said, [Change::Refused, Change::None]);
        assert_eq!(gate.admit(HOST, now), Admission::Hold(minute, Reach::Credential));
        assert_eq!(gate.closed([HOST].into_iter(), now), Some(minute));
    }

    #[test]
    fn a_full_table_keeps_what_still_holds_and_lets_go_of_what_does_not() {
        let now = Instant::now();
        let mut gate = Gate::default();
        gate.learn(Lesson::Away(Duration::from_secs(30)), HOST, now);
        for number in 0..2 * MOST_HOSTS {
            gate.learn(Lesson::Fails, &format!("{number}.example"), now);
        }
        assert_eq!(gate.admit(HOST, now), Admission::Hold(Duration::from_secs(30), Reach::Host));
        for number in 0..2 * MOST_HOSTS {
            (0..OPENS_AFTER).for_each(|_| _ = gate.learn(Lesson::Fails, &format!("{number}.example"), now));
        }
        let later = now + STALE * 2;
        let lately = "lately.example";
        (0..OPENS_AFTER).for_each(|_| _ = gate.learn(Lesson::Fails, lately, later));
        assert!(matches!(gate.admit(lately, later), Admission::Hold(_, Reach::Host)), "the dead made room");
    }

    #[test]
    fn a_breaker_is_counted_while_it_is_open_however_that_ends() {
        let shown = gauge(&names::INFLIGHT, &[("stage", "breakers of a test")]);
        let now = Instant::now();
        let open = || {
            let mut gate = opened(now);
            gate.count(HOST, &shown);
            assert_eq!(shown.get(), 1);
            gate
        };
        let mut works = open();
        works.learn(Lesson::Works, HOST, now);
        assert_eq!(shown.get(), 0, "it works");
        let mut refused = open();
        assert_eq!(refused.learn(Lesson::Refused(Duration::from_secs(60)), HOST, now), Change::Refused);
        assert_eq!(shown.get(), 0, "it answers, with a refusal");
        let mut forgotten = open();
        forgotten.forget(now + STALE / 2);
        assert_eq!(shown.get(), 1, "it may well be asked again");
        forgotten.forget(now + STALE * 2);
        assert_eq!((shown.get(), forgotten.hosts.len()), (0, 0), "nobody sends there any more");
        drop(open());
        assert_eq!(shown.get(), 0, "the credential is gone");
    }

    #[test]
    fn dead_tokens_among_living_ones_are_retired_and_a_whole_app_of_dead_ones_is_held() {
        let now = Instant::now();
        let mut mixed = Gate::default();
        for _ in 0..500 {
            assert_eq!([mixed.brakes(false, now), mixed.brakes(true, now)], [Brakes::No; 2]);
        }
        let mut wrong = Gate::default();
        let said: Vec<_> = (0..100).map(|_| wrong.brakes(true, now)).collect();
        let count = |what| said.iter().filter(|brakes| **brakes == what).count();
        assert_eq!([count(Brakes::No), count(Brakes::Now), count(Brakes::Still)], [50, 1, 49]);
        assert_eq!(wrong.admit(HOST, now), Admission::Hold(BRAKE_HOLD, Reach::Credential));
    }

    proptest! {
        #[test]
        fn whatever_happens_a_message_gets_through_once_the_provider_works(
            lessons in proptest::collection::vec((0u8..5, 0u64..5_000, 0u8..3), 0..60)
        ) {
            let mut now = Instant::now();
            let mut gate = Gate::default();
            let host = |number: u8| ["a", "b", PREPARATION][usize::from(number)];
            for (kind, ms, of) in lessons {
                now += Duration::from_millis(ms);
                gate.admit(host(of), now);
                let wait = Duration::from_millis(ms);
                let all = [Lesson::Works, Lesson::Fails, Lesson::Pause(wait), Lesson::Refused(wait), Lesson::Away(wait)];
                gate.learn(all[usize::from(kind)], host(of), now);
            }
            now += Duration::from_secs(120);
            gate.forget(now);
            for host in ["a", "b", "c"] {
                prop_assert!(gate.closed([host].into_iter(), now).is_none());
                prop_assert!(matches!(gate.admit(host, now), Admission::Go | Admission::Probe));
            }
        }
    }
}
