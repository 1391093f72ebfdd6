//! How much hosts have taken of late: after an outage a host need not be met as if nobody had ever sent it anything. Pure, `now` is an
//! argument.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::breaker::WORTH_KNOWING;

/// What a host took longer ago says nothing about it any more.
const LATELY: Duration = Duration::from_secs(3600);
/// A rate is counted over this long, or longer where nothing came.
const WINDOW: Duration = Duration::from_secs(1);
/// Hosts that are counted at once; those beyond are not known.
const MOST_HOSTS: usize = 1024;

/// The most that hosts answered in a second, within the last hour or so.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    since: Option<Instant>,
    /// Answers since then.
    counts: HashMap<Box<str>, u32>,
    /// Few: all of them together are what one process sends.
    most: HashMap<Box<str>, Rate>,
}

#[derive(Clone, Copy, Debug)]
struct Rate {
    per_second: f64,
    at: Instant,
}

impl Taken {
    /// Counts so many answers of one host.
    pub(crate) fn count(&mut self, host: &str, answers: u32, now: Instant) {
        let passed = now.saturating_duration_since(*self.since.get_or_insert(now));
        if passed >= WINDOW {
            self.sum_up(passed, now);
            self.since = Some(now);
        }
        if let Some(count) = self.counts.get_mut(host) {
            *count = count.saturating_add(answers);
        } else if self.counts.len() < MOST_HOSTS {
            self.counts.insert(host.into(), answers);
        }
    }

    /// The most that a host took, a second; 0 if that is not worth knowing.
    pub(crate) fn of(&self, host: &str, now: Instant) -> f64 {
        self.most.get(host).filter(|rate| rate.is_of_late(now)).map_or(0.0, |rate| rate.per_second)
    }

    fn sum_up(&mut self, passed: Duration, now: Instant) {
        self.most.retain(|_, rate| rate.is_of_late(now));
        for (host, count) in self.counts.drain() {
            let per_second = f64::from(count) / passed.as_secs_f64();
            let least = self.most.get(&host).map_or(WORTH_KNOWING, |known| known.per_second);
            if per_second >= least {
                self.most.insert(host, Rate { per_second, at: now });
            }
        }
    }
}

impl Rate {
    fn is_of_late(self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) < LATELY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "push.example";

    /// So many answers a second, in bursts, for so many seconds; returns when that was over.
    fn answers(taken: &mut Taken, host: &str, per_second: u32, seconds: u64, from: Instant) -> Instant {
        for burst in 0..seconds * 100 {
            taken.count(host, per_second / 100, from + Duration::from_millis(burst * 10));
        }
        let end = from + Duration::from_secs(seconds);
        taken.count(host, 0, end);
        end
    }

    #[test]
    fn the_most_of_the_last_hour_counts_whatever_came_after() {
        let (mut taken, now) = (Taken::default(), Instant::now());
        let busy = answers(&mut taken, HOST, 10_000, 3, now);
        let quiet = answers(&mut taken, HOST, 1_000, 3, busy);
        assert_eq!(taken.of(HOST, quiet).round(), 10_000.0);
        let later = answers(&mut taken, HOST, 20_000, 1, quiet);
        assert_eq!(taken.of(HOST, later).round(), 20_000.0);
    }

    #[test]
    fn after_an_hour_it_is_what_came_since() {
        let (mut taken, now) = (Taken::default(), Instant::now());
        let busy = answers(&mut taken, HOST, 10_000, 1, now);
        assert_eq!(taken.of(HOST, busy + LATELY), 0.0);
        let end = answers(&mut taken, HOST, 1_000, 2, busy + LATELY);
        assert_eq!(taken.of(HOST, end).round(), 1_000.0);
    }

    #[test]
    fn each_host_is_counted_by_itself_and_a_little_is_not_kept() {
        let (mut taken, now) = (Taken::default(), Instant::now());
        for burst in 0..=100 {
            let at = now + Duration::from_millis(burst * 10);
            taken.count(HOST, 50, at);
            taken.count("small.example", 7, at);
        }
        assert_eq!((taken.of(HOST, now).round(), taken.of("small.example", now)), (5_000.0, 0.0));
        assert_eq!(taken.most.len(), 1);
    }

    #[test]
    fn a_burst_before_a_silence_is_no_rate() {
        let (mut taken, now) = (Taken::default(), Instant::now());
        taken.count(HOST, 5_000, now);
        taken.count(HOST, 1, now + Duration::from_secs(60));
        assert_eq!(taken.of(HOST, now + Duration::from_secs(60)), 0.0);
    }

    #[test]
    fn hosts_are_not_counted_without_bound() {
        let (mut taken, now) = (Taken::default(), Instant::now());
        (0..3 * MOST_HOSTS).for_each(|number| taken.count(&format!("{number}.example"), 1, now));
        assert_eq!(taken.counts.len(), MOST_HOSTS);
    }
}
