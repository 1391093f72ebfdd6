//! The weather at a provider: slow, failing, throttling, holding its answers, gone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::reply::{Fate, Reply};

/// What holds for every request of a provider until it is replaced. The default is fine weather.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Conditions {
    /// Milliseconds before every answer.
    pub delay_ms: u64,
    /// Every request gets this reply, whatever it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail: Option<Failure>,
    /// The next requests get 429.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Throttle>,
    /// Requests are read and recorded, answers wait until this is false again.
    pub paused: bool,
    /// Open connections are cut and new ones closed at once.
    pub refuse_connections: bool,
}

/// An outage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// What is answered; `times` plays no part.
    pub reply: Reply,
    /// Milliseconds until it is over; without it, until the conditions are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}

/// A rate limit that bites for a number of requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Throttle {
    /// How many requests are refused with 429.
    pub requests: u32,
    /// Seconds in `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

/// What the conditions make of one request.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    /// Refused before anybody looks at it.
    pub(crate) refusal: Option<Reply>,
    /// On top of a scripted delay.
    pub(crate) delay: Duration,
    /// The answer has to wait for the end of a pause.
    pub(crate) paused: bool,
}

/// The conditions of one provider, with the counters that run down.
#[derive(Debug)]
pub(crate) struct Weather {
    fine: AtomicBool,
    now: Mutex<Now>,
    paused: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Now {
    conditions: Conditions,
    failing_until: Option<Instant>,
}

impl Default for Weather {
    fn default() -> Self {
        Self { fine: AtomicBool::new(true), now: Mutex::default(), paused: watch::Sender::new(false) }
    }
}

impl Weather {
    /// Replaces the conditions.
    pub(crate) fn set(&self, conditions: Conditions, at: Instant) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let for_ms = conditions.fail.as_ref().and_then(|fail| fail.for_ms);
        now.failing_until = for_ms.map(|for_ms| at + Duration::from_millis(for_ms));
        self.fine.store(conditions == Conditions::default(), Ordering::Release);
        self.paused.send_replace(conditions.paused);
        now.conditions = conditions;
    }

    /// The conditions as they are now, run-down counters included.
    pub(crate) fn get(&self) -> Conditions {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).conditions.clone()
    }

    /// What becomes of a request that came in now.
    pub(crate) fn admit(&self, at: Instant) -> Admission {
        if self.fine.load(Ordering::Acquire) {
            return Admission::default();
        }
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if now.failing_until.is_some_and(|until| at >= until) {
            now.failing_until = None;
            now.conditions.fail = None;
        }
        let conditions = &mut now.conditions;
        let refusal = match (&conditions.fail, &mut conditions.throttle) {
            (Some(failure), _) => Some(failure.reply.clone()),
            (None, Some(throttle)) if throttle.requests > 0 => {
                throttle.requests -= 1;
                Some(Reply { status: Some(429), retry_after: throttle.retry_after, ..Reply::default() })
            }
            _ => None,
        };
        Admission { refusal, delay: Duration::from_millis(conditions.delay_ms), paused: conditions.paused }
    }

    /// Waits for the end of a pause.
    pub(crate) async fn released(&self) {
        let mut paused = self.paused.subscribe();
        let _ = paused.wait_for(|paused| !paused).await;
    }
}

/// What happens with an answer once it is decided.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Disposition {
    pub(crate) delay: Duration,
    pub(crate) paused: bool,
    pub(crate) fate: Fate,
}

impl Disposition {
    /// Whether it can be sent without waiting for anything.
    pub(crate) fn is_immediate(&self) -> bool {
        self.delay.is_zero() && !self.paused && self.fate == Fate::Answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_throttle_bites_for_its_number_of_requests() {
        let weather = Weather::default();
        let now = Instant::now();
        let throttle = Throttle { requests: 2, retry_after: Some(7) };
        weather.set(Conditions { throttle: Some(throttle), ..Conditions::default() }, now);
        let replies: Vec<_> = (0..3).map(|_| weather.admit(now).refusal.and_then(|reply| reply.retry_after)).collect();
        assert_eq!(replies, [Some(7), Some(7), None]);
    }

    #[test]
    fn an_outage_ends_by_itself() {
        let weather = Weather::default();
        let now = Instant::now();
        let fail = Failure { reply: Reply::status(503), for_ms: Some(50) };
        weather.set(Conditions { fail: Some(fail), ..Conditions::default() }, now);
        assert!(weather.admit(now).refusal.is_some());
        assert!(weather.admit(now + Duration::from_millis(50)).refusal.is_none());
        assert_eq!(weather.get().fail, None);
    }
}
