//! Whether a credential's messages may go: not while the provider fails, asks for patience or refuses the credential.
//!
//! A pure state machine per credential: one app's trouble holds only its own chunks, and a new version of a credential
//! starts with a clean slate.

use std::time::Duration;

use tokio::time::Instant;

use crate::brake::Brake;
use crate::pace::Bucket;
use crate::plan::{IN_PROCESS, Lesson};

/// Failures in a row after which nothing more is tried but probes.
const OPENS_AFTER: u32 = 10;
/// One real message per this long finds out whether the provider is back.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// A probe that was cut without a verdict no longer blocks the next one after this.
const PROBE_LOST: Duration = Duration::from_secs(30);
/// Messages per second right after an outage; doubled every [`RAMP_STEP`] up to [`RAMP_DONE`], then unbounded.
const RAMP_START: f64 = 100.0;
const RAMP_STEP: Duration = Duration::from_secs(10);
const RAMP_DONE: f64 = 10_000.0;
/// Least and most that chunks are held while the provider is away; in between it is half of how long it has been away.
const OUTAGE_HOLD: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long the brake holds an app.
const BRAKE_HOLD: Duration = Duration::from_secs(600);

/// May one message go?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Yes.
    Go,
    /// Yes, and nothing else of the chunk until its verdict is there.
    Probe,
    /// In a moment (at most a second).
    Wait(Duration),
    /// Not here: the rest of the chunk is deferred by this much.
    Hold(Duration),
}

/// What is new by a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// The breaker opened.
    Opened,
    /// The provider is back.
    Recovered,
    /// The credential is refused.
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

/// The state of one credential. See [`Gate::admit`] and [`Gate::learn`].
#[derive(Debug, Default)]
pub(crate) struct Gate {
    closed_until: Option<Instant>,
    breaker: Breaker,
    brake: Brake,
}

#[derive(Debug)]
enum Breaker {
    Closed { failures: u32 },
    Open { since: Instant, probe_at: Instant },
    Ramp { bucket: Bucket, rate: f64, raise_at: Instant },
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker::Closed { failures: 0 }
    }
}

impl Gate {
    /// Asked before each send.
    pub(crate) fn admit(&mut self, now: Instant) -> Admission {
        if let Some(until) = self.closed_until {
            let left = until.saturating_duration_since(now);
            if !left.is_zero() {
                return if left <= IN_PROCESS { Admission::Wait(left) } else { Admission::Hold(left) };
            }
            self.closed_until = None;
        }
        match &mut self.breaker {
            Breaker::Closed { .. } => Admission::Go,
            Breaker::Open { since, probe_at } => {
                if now < *probe_at {
                    return Admission::Hold(outage_hold(*since, now));
                }
                *probe_at = now + PROBE_LOST;
                Admission::Probe
            }
            Breaker::Ramp { bucket, rate, raise_at } => {
                while now >= *raise_at && *rate < RAMP_DONE {
                    *rate *= 2.0;
                    *raise_at += RAMP_STEP;
                    bucket.set_rate(*rate, *rate / 10.0);
                }
                if *rate >= RAMP_DONE {
                    self.breaker = Breaker::default();
                    return Admission::Go;
                }
                match bucket.take(now) {
                    None => Admission::Go,
                    Some(wait) => Admission::Wait(wait.min(IN_PROCESS)),
                }
            }
        }
    }

    /// How long nothing can go, if that is so: for what need not even be prepared. Asking changes nothing.
    pub(crate) fn closed(&self, now: Instant) -> Option<Duration> {
        let left = self.closed_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        if left > IN_PROCESS {
            return Some(left);
        }
        match &self.breaker {
            Breaker::Open { since, probe_at } if now < *probe_at => Some(outage_hold(*since, now)),
            _ => None,
        }
    }

    /// Told after each verdict. Says what is new by it.
    pub(crate) fn learn(&mut self, lesson: Lesson, now: Instant) -> Change {
        match lesson {
            Lesson::Works => self.works(now),
            Lesson::Fails => self.fails(now),
            // The provider answers; what it says is about us.
            Lesson::Pause(wait) => {
                let change = self.works(now);
                self.close_for(wait, now);
                change
            }
            Lesson::Refused(wait) => {
                let known = self.closed_until.is_some_and(|until| until > now);
                let change = self.works(now);
                self.close_for(wait, now);
                if known { change } else { Change::Refused }
            }
        }
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

    fn works(&mut self, now: Instant) -> Change {
        match &mut self.breaker {
            Breaker::Closed { failures } => *failures = 0,
            Breaker::Open { .. } => {
                let bucket = Bucket::new(RAMP_START, RAMP_START / 10.0, now);
                self.breaker = Breaker::Ramp { bucket, rate: RAMP_START, raise_at: now + RAMP_STEP };
                return Change::Recovered;
            }
            Breaker::Ramp { .. } => {}
        }
        Change::None
    }

    fn fails(&mut self, now: Instant) -> Change {
        match &mut self.breaker {
            Breaker::Closed { failures } => {
                *failures += 1;
                if *failures < OPENS_AFTER {
                    return Change::None;
                }
            }
            Breaker::Open { probe_at, .. } => {
                *probe_at = now + PROBE_EVERY;
                return Change::None;
            }
            Breaker::Ramp { .. } => {}
        }
        self.breaker = Breaker::Open { since: now, probe_at: now + PROBE_EVERY };
        Change::Opened
    }
}

/// The longer the provider has been away, the less often the held come back to ask.
fn outage_hold(since: Instant, now: Instant) -> Duration {
    (now.saturating_duration_since(since) / 2).clamp(OUTAGE_HOLD.0, OUTAGE_HOLD.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn opened(now: Instant) -> Gate {
        let mut gate = Gate::default();
        assert_eq!((0..OPENS_AFTER).filter(|_| gate.learn(Lesson::Fails, now) == Change::Opened).count(), 1);
        gate
    }

    #[test]
    fn ten_failures_in_a_row_open_the_breaker_and_nine_with_a_success_between_do_not() {
        let now = Instant::now();
        let mut gate = Gate::default();
        for _ in 0..3 {
            (1..OPENS_AFTER).for_each(|_| assert_eq!(gate.learn(Lesson::Fails, now), Change::None));
            gate.learn(Lesson::Works, now);
        }
        assert_eq!(gate.admit(now), Admission::Go);
        assert!(matches!(opened(now).admit(now), Admission::Hold(_)));
    }

    #[test]
    fn an_open_breaker_lets_one_message_a_second_through_and_holds_the_others() {
        let now = Instant::now();
        let mut gate = opened(now);
        let then = now + PROBE_EVERY;
        assert_eq!(gate.admit(then), Admission::Probe);
        assert!(matches!(gate.admit(then), Admission::Hold(_)));
        gate.learn(Lesson::Fails, then);
        assert!(matches!(gate.admit(then), Admission::Hold(_)));
        assert_eq!(gate.admit(then + PROBE_EVERY), Admission::Probe);
    }

    #[test]
    fn a_probe_that_never_came_back_does_not_stop_the_next_one() {
        let now = Instant::now();
        let mut gate = opened(now);
        assert_eq!(gate.admit(now + PROBE_EVERY), Admission::Probe);
        assert_eq!(gate.admit(now + PROBE_EVERY + PROBE_LOST), Admission::Probe);
    }

    #[test]
    fn after_an_outage_the_rate_doubles_every_ten_seconds_until_it_is_unbounded() {
        let now = Instant::now();
        let mut gate = opened(now);
        gate.admit(now + PROBE_EVERY);
        gate.learn(Lesson::Works, now + PROBE_EVERY);
        let second = |gate: &mut Gate, from: Instant| {
            (0..1000).filter(|i| gate.admit(from + Duration::from_millis(*i)) == Admission::Go).count()
        };
        let start = now + PROBE_EVERY;
        assert!((100..=120).contains(&second(&mut gate, start)));
        assert!((200..=230).contains(&second(&mut gate, start + RAMP_STEP)));
        assert_eq!(second(&mut gate, start + RAMP_STEP * 8), 1000);
    }

    #[test]
    fn a_long_outage_is_asked_about_less_often_by_the_held() {
        let now = Instant::now();
        let hold = |after: u64| match opened(now).admit(now + Duration::from_millis(after)) {
            Admission::Hold(wait) => wait.as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!(hold(500), 1);
        let mut gate = opened(now);
        let later = now + Duration::from_secs(600);
        gate.admit(later);
        assert_eq!(gate.admit(later), Admission::Hold(OUTAGE_HOLD.1));
    }

    #[test]
    fn a_throttle_is_waited_for_or_held_by_its_length() {
        let now = Instant::now();
        let mut gate = Gate::default();
        gate.learn(Lesson::Pause(Duration::from_secs(3)), now);
        assert_eq!(gate.admit(now), Admission::Hold(Duration::from_secs(3)));
        assert_eq!(gate.admit(now + Duration::from_secs(2)), Admission::Wait(Duration::from_secs(1)));
        assert_eq!(gate.admit(now + Duration::from_secs(3)), Admission::Go);
    }

    #[test]
    fn a_shorter_throttle_does_not_end_a_longer_one() {
        let now = Instant::now();
        let mut gate = Gate::default();
        gate.learn(Lesson::Refused(Duration::from_secs(60)), now);
        gate.learn(Lesson::Pause(Duration::from_secs(2)), now);
        assert_eq!(gate.admit(now), Admission::Hold(Duration::from_secs(60)));
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
        assert_eq!(wrong.admit(now), Admission::Hold(BRAKE_HOLD));
    }

    proptest! {
        #[test]
        fn whatever_happens_a_message_gets_through_once_the_provider_works(
            lessons in proptest::collection::vec((0u8..4, 0u64..5_000), 0..60)
        ) {
            let mut now = Instant::now();
            let mut gate = Gate::default();
            for (kind, ms) in lessons {
                now += Duration::from_millis(ms);
                gate.admit(now);
                let wait = Duration::from_millis(ms);
                gate.learn([Lesson::Works, Lesson::Fails, Lesson::Pause(wait), Lesson::Refused(wait)][usize::from(kind)], now);
            }
            now += Duration::from_secs(120);
            prop_assert!(matches!(gate.admit(now), Admission::Go | Admission::Probe));
        }
    }
}
