//! The messages of a chunk that are not under way: those that may go, those that wait for a moment, those that wait for a probe.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::gate::Reach;

/// A message that is to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open<'a> {
    /// Into the chunk's targets.
    pub(crate) index: usize,
    /// Where it goes, as [`crate::Provider::host`] says.
    pub(crate) host: &'a str,
    /// Provider calls so far.
    pub(crate) attempts: u8,
    /// Those of them that this chunk's handling made.
    pub(crate) retries: u8,
}

/// A chunk's messages in the order in which they go.
pub(crate) struct Line<'a> {
    ready: VecDeque<Open<'a>>,
    later: Vec<(Instant, Open<'a>)>,
    /// Nothing starts before.
    not_until: Option<Instant>,
    probes: Vec<Probe<'a>>,
}

/// A message on its way to a host that was away.
struct Probe<'a> {
    index: usize,
    host: &'a str,
    /// What goes once it has come back with good news.
    behind: Vec<Open<'a>>,
}

impl<'a> Line<'a> {
    pub(crate) fn new(ready: VecDeque<Open<'a>>) -> Self {
        Self { ready, later: Vec::new(), not_until: None, probes: Vec::new() }
    }

    /// Whether nothing is left but what waits for a probe, which is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.later.is_empty()
    }

    /// Whether anything at all is left.
    pub(crate) fn is_left(&self) -> bool {
        !self.is_empty() || self.probes.iter().any(|probe| !probe.behind.is_empty())
    }

    /// Whether there is one that could go now.
    pub(crate) fn may_start(&self, now: Instant) -> bool {
        !self.ready.is_empty() && self.not_until.is_none_or(|until| until <= now)
    }

    /// When there may be something to do although nothing has happened.
    pub(crate) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let due = self.later.iter().map(|(due, _)| *due);
        due.chain(self.not_until.filter(|until| *until > now)).min()
    }

    /// Those whose time has come are next.
    pub(crate) fn wake(&mut self, now: Instant) {
        let mut i = 0;
        while i < self.later.len() {
            if self.later[i].0 <= now {
                let (_, open) = self.later.swap_remove(i);
                self.ready.push_front(open);
            } else {
                i += 1;
            }
        }
    }

    /// The next one, which is kept.
    pub(crate) fn front(&self) -> Option<Open<'a>> {
        self.ready.front().copied()
    }

    /// The next one, which goes.
    pub(crate) fn pop(&mut self) -> Option<Open<'a>> {
        self.ready.pop_front()
    }

    /// Not before `at`.
    pub(crate) fn put_off(&mut self, open: Open<'a>, at: Instant) {
        self.later.push((at, open));
    }

    /// The front is the probe of its host.
    pub(crate) fn probe(&mut self, open: Open<'a>) {
        self.probes.push(Probe { index: open.index, host: open.host, behind: Vec::new() });
    }

    /// Puts the front behind its host's probe; false if there is none under way.
    pub(crate) fn put_behind_probe(&mut self, host: &str) -> bool {
        let Some(probe) = self.probes.iter_mut().find(|probe| probe.host == host) else { return false };
        probe.behind.extend(self.ready.pop_front());
        true
    }

    /// A message has come back; if it was a probe, what waits for it goes on.
    pub(crate) fn landed(&mut self, open: Open<'a>) {
        if let Some(at) = self.probes.iter().position(|probe| probe.index == open.index) {
            self.ready.extend(self.probes.swap_remove(at).behind);
        }
    }

    /// Nothing of this reach before `until`. Messages to other hosts need not wait for one that is slow to come back.
    pub(crate) fn wait(&mut self, host: &str, until: Instant, reach: Reach) {
        if reach == Reach::Credential || self.ready.iter().all(|open| open.host == host) {
            self.not_until = Some(until);
            return;
        }
        for open in self.take_ready(host) {
            self.later.push((until, open));
        }
    }

    /// Takes what this is about out of the line.
    pub(crate) fn take(&mut self, host: &str, reach: Reach) -> Vec<Open<'a>> {
        if reach == Reach::Credential {
            return self.take_all();
        }
        let mut taken = self.take_ready(host);
        let later = std::mem::take(&mut self.later);
        let (theirs, others): (Vec<_>, Vec<_>) = later.into_iter().partition(|(_, open)| open.host == host);
        self.later = others;
        taken.extend(theirs.into_iter().map(|(_, open)| open));
        taken
    }

    /// Takes everything out of the line.
    pub(crate) fn take_all(&mut self) -> Vec<Open<'a>> {
        let mut taken: Vec<Open<'a>> = std::mem::take(&mut self.ready).into();
        taken.extend(std::mem::take(&mut self.later).into_iter().map(|(_, open)| open));
        taken.extend(self.probes.iter_mut().flat_map(|probe| std::mem::take(&mut probe.behind)));
        taken
    }

    fn take_ready(&mut self, host: &str) -> Vec<Open<'a>> {
        let ready = std::mem::take(&mut self.ready);
        let (theirs, others): (Vec<_>, Vec<_>) = ready.into_iter().partition(|open| open.host == host);
        self.ready = others.into();
        theirs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Even ones go to `a`, odd ones to `b`.
    fn open(index: usize) -> Open<'static> {
        Open { index, host: if index.is_multiple_of(2) { "a" } else { "b" }, attempts: 0, retries: 0 }
    }

    fn line(count: usize) -> Line<'static> {
        Line::new((0..count).map(open).collect())
    }

    fn indices(opens: Vec<Open<'_>>) -> Vec<usize> {
        opens.into_iter().map(|open| open.index).collect()
    }

    #[test]
    fn what_one_host_holds_is_taken_and_the_other_hosts_go_on() {
        let (mut line, now) = (line(4), Instant::now());
        let first = line.pop().unwrap();
        line.put_off(first, now + Duration::from_secs(1));
        assert_eq!(indices(line.take("a", Reach::Host)), [2, 0]);
        assert_eq!((line.pop().unwrap().index, line.pop().unwrap().index), (1, 3));
    }

    #[test]
    fn a_host_that_comes_back_slowly_makes_only_its_own_wait() {
        let (mut line, now) = (line(4), Instant::now());
        let then = now + Duration::from_millis(10);
        line.wait("a", then, Reach::Host);
        assert!(line.may_start(now));
        assert_eq!((line.pop().unwrap().index, line.pop().unwrap().index), (1, 3));
        assert_eq!((line.may_start(now), line.wake_at(now)), (false, Some(then)));
        line.wake(then);
        assert_eq!(indices(line.take_all()).len(), 2);
    }

    #[test]
    fn what_waits_for_a_probe_goes_when_it_is_back_and_is_not_forgotten_before() {
        let mut line = line(5);
        let probe = line.front().unwrap();
        line.probe(probe);
        line.pop();
        assert!(!line.put_behind_probe("b"));
        line.pop();
        assert!(line.put_behind_probe("a"));
        line.pop();
        assert!(line.put_behind_probe("a"));
        assert!(line.is_empty() && line.is_left());
        line.landed(probe);
        assert_eq!(indices(line.take_all()), [2, 4]);
        assert!(!line.is_left());
    }
}
