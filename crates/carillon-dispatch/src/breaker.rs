//! A circuit breaker: after an outage the provider is asked with one message a second, and then with more and more. Pure, `now` is an
//! argument.

use std::time::Duration;

use tokio::time::Instant;

use crate::pace::Bucket;
use crate::plan::IN_PROCESS;

/// Failures in a row after which nothing more is tried but probes.
pub(crate) const OPENS_AFTER: u32 = 10;
/// One real message per this long finds out whether the provider is back.
pub(crate) const PROBE_EVERY: Duration = Duration::from_secs(1);
/// A probe that was cut without a verdict no longer blocks the next one after this.
pub(crate) const PROBE_LOST: Duration = Duration::from_secs(30);
/// Messages per second right after an outage, at least; doubled every [`RAMP_STEP`] up to [`RAMP_DONE`] or what the host is known to take, then
/// unbounded. The first failure on the way opens the breaker again, so a provider that is not up to it sees at most twice of what it has just
/// taken.
const RAMP_START: f64 = 100.0;
pub(crate) const RAMP_STEP: Duration = Duration::from_secs(2);
const RAMP_DONE: f64 = 10_000.0;
/// A host that is known to take more begins with this share of it, and with half of that after each failure on the way.
const KNOWN_SHARE: f64 = 0.125;
/// Messages per second of a host from which on that makes a difference.
pub(crate) const WORTH_KNOWING: f64 = RAMP_START / KNOWN_SHARE;
/// Least and most that chunks are held while the provider is away, before they are spread; in between it is half of how long it has been away.
pub(crate) const OUTAGE_HOLD: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// May one message go?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// Yes.
    Go,
    /// Yes, and nothing else until its verdict is there.
    Probe,
    /// In a moment (at most a second).
    Wait(Duration),
    /// Not in this while.
    Hold(Duration),
}

/// What a verdict did to the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing.
    None,
    /// It opened.
    Opened,
    /// The provider is back.
    Recovered,
}

#[derive(Debug)]
pub(crate) enum Breaker {
    Closed { failures: u32 },
    Open { since: Instant, probe_at: Instant, relapses: u16 },
    Ramp { bucket: Bucket, rate: f64, until: f64, raise_at: Instant, relapses: u16 },
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker::Closed { failures: 0 }
    }
}

impl Breaker {
    /// Asked before each send.
    pub(crate) fn admit(&mut self, now: Instant) -> Passage {
        match self {
            Breaker::Closed { .. } => Passage::Go,
            Breaker::Open { since, probe_at, .. } => {
                if now < *probe_at {
                    return Passage::Hold(outage_hold(*since, now));
                }
                *probe_at = now + PROBE_LOST;
                Passage::Probe
            }
            Breaker::Ramp { bucket, rate, until, raise_at, .. } => {
                while now >= *raise_at && *rate < *until {
                    *rate *= 2.0;
                    *raise_at += RAMP_STEP;
                    bucket.set_rate(*rate, *rate / 10.0);
                }
                if *rate >= *until {
                    *self = Breaker::default();
                    return Passage::Go;
                }
                match bucket.take(now) {
                    None => Passage::Go,
                    Some(wait) => Passage::Wait(wait.min(IN_PROCESS)),
                }
            }
        }
    }

    /// How long nothing can go, if that is so. Asking changes nothing.
    pub(crate) fn holds(&self, now: Instant) -> Option<Duration> {
        match self {
            Breaker::Open { since, probe_at, .. } if now < *probe_at => Some(outage_hold(*since, now)),
            _ => None,
        }
    }

    /// Whether it has nothing to remember.
    pub(crate) fn is_calm(&self) -> bool {
        matches!(self, Breaker::Closed { failures: 0 })
    }

    /// Whether it can be forgotten without letting anything through that it would stop.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self, Breaker::Closed { .. })
    }

    /// The provider answered. `taken` is what it is known to take, a second.
    pub(crate) fn works(&mut self, now: Instant, taken: f64) -> Turn {
        match self {
            Breaker::Closed { failures } => *failures = 0,
            Breaker::Open { relapses, .. } => {
                let relapses = *relapses;
                let rate = (taken * KNOWN_SHARE * 0.5f64.powi(relapses.into())).max(RAMP_START);
                let bucket = Bucket::new(rate, rate / 10.0, now);
                let until = taken.max(RAMP_DONE);
                *self = Breaker::Ramp { bucket, rate, until, raise_at: now + RAMP_STEP, relapses };
                return Turn::Recovered;
            }
            Breaker::Ramp { .. } => {}
        }
        Turn::None
    }

    /// The provider did not answer, or is not well.
    pub(crate) fn fails(&mut self, now: Instant) -> Turn {
        let relapses = match self {
            Breaker::Closed { failures } => {
                *failures += 1;
                if *failures < OPENS_AFTER {
                    return Turn::None;
                }
                0
            }
            Breaker::Open { probe_at, .. } => {
                *probe_at = now + PROBE_EVERY;
                return Turn::None;
            }
            Breaker::Ramp { relapses, .. } => relapses.saturating_add(1),
        };
        *self = Breaker::Open { since: now, probe_at: now + PROBE_EVERY, relapses };
        Turn::Opened
    }
}

/// The longer the provider has been away, the less often the held come back to ask.
fn outage_hold(since: Instant, now: Instant) -> Duration {
    (now.saturating_duration_since(since) / 2).clamp(OUTAGE_HOLD.0, OUTAGE_HOLD.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        assert_eq!((0..OPENS_AFTER).filter(|_| breaker.fails(now) == Turn::Opened).count(), 1);
        breaker
    }

    /// A probe that is answered; returns when.
    fn probed(breaker: &mut Breaker, now: Instant, taken: f64) -> Instant {
        let then = now + PROBE_EVERY;
        assert_eq!(breaker.admit(then), Passage::Probe);
        assert_eq!(breaker.works(then, taken), Turn::Recovered);
        then
    }

    /// How many go in a second in which more want to.
    fn second(breaker: &mut Breaker, from: Instant) -> usize {
        (0..20_000).filter(|i| breaker.admit(from + Duration::from_micros(*i * 50)) == Passage::Go).count()
    }

    #[test]
    fn ten_failures_in_a_row_open_it_and_nine_with_a_success_between_do_not() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..3 {
            (1..OPENS_AFTER).for_each(|_| assert_eq!(breaker.fails(now), Turn::None));
            breaker.works(now, 0.0);
        }
        assert_eq!(breaker.admit(now), Passage::Go);
        assert!(matches!(opened(now).admit(now), Passage::Hold(_)));
    }

    #[test]
    fn an_open_one_lets_one_message_a_second_through_and_holds_the_others() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let then = now + PROBE_EVERY;
        assert_eq!(breaker.admit(then), Passage::Probe);
        assert!(matches!(breaker.admit(then), Passage::Hold(_)));
        breaker.fails(then);
        assert!(matches!(breaker.admit(then), Passage::Hold(_)));
        assert_eq!(breaker.admit(then + PROBE_EVERY), Passage::Probe);
    }

    #[test]
    fn a_probe_that_never_came_back_does_not_stop_the_next_one() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert_eq!(breaker.admit(now + PROBE_EVERY), Passage::Probe);
        assert_eq!(breaker.admit(now + PROBE_EVERY + PROBE_LOST), Passage::Probe);
    }

    #[test]
    fn after_an_outage_the_rate_doubles_every_two_seconds_until_it_is_unbounded() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let start = probed(&mut breaker, now, 0.0);
        assert!((100..=120).contains(&second(&mut breaker, start)));
        assert!((200..=230).contains(&second(&mut breaker, start + RAMP_STEP)));
        assert!((6_400..=7_100).contains(&second(&mut breaker, start + RAMP_STEP * 6)));
        assert_eq!(breaker.admit(start + RAMP_STEP * 7), Passage::Go);
        assert!(breaker.is_calm());
    }

    #[test]
    fn a_host_that_is_known_to_take_much_begins_with_an_eighth_of_it() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let start = probed(&mut breaker, now, 24_000.0);
        assert!((3_000..=3_350).contains(&second(&mut breaker, start)));
        assert!(
            (12_000..=13_300).contains(&second(&mut breaker, start + RAMP_STEP * 2)),
            "beyond what others end with"
        );
        breaker.admit(start + RAMP_STEP * 3);
        assert!(breaker.is_calm());
    }

    #[test]
    fn a_host_that_fails_on_the_way_begins_with_half_as_much_each_time_but_never_with_less_than_any_other() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        for least in [1_000, 500, 250, 125, 100, 100] {
            let start = probed(&mut breaker, now, 8_000.0);
            let gone = second(&mut breaker, start);
            assert!((least..=least * 6 / 5).contains(&gone), "{gone} where it is {least}");
            now = start + RAMP_STEP;
            assert_eq!(breaker.fails(now), Turn::Opened);
        }
        let start = probed(&mut breaker, now, 8_000.0);
        breaker.admit(start + RAMP_STEP * 7);
        assert!(breaker.is_calm());
        (0..OPENS_AFTER).for_each(|_| _ = breaker.fails(now));
        let start = probed(&mut breaker, now, 8_000.0);
        assert!(second(&mut breaker, start) >= 1_000, "once it was through, what was before is past");
    }

    #[test]
    fn a_long_outage_is_asked_about_less_often_by_the_held() {
        let now = Instant::now();
        let hold = |after: u64| match opened(now).admit(now + Duration::from_millis(after)) {
            Passage::Hold(wait) => wait.as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!(hold(500), 1);
        let mut breaker = opened(now);
        let later = now + Duration::from_secs(600);
        breaker.admit(later);
        assert_eq!(breaker.admit(later), Passage::Hold(OUTAGE_HOLD.1));
    }
}
