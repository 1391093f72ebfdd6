//! Keeps an app's tokens when it is the app that is wrong: a credential of another app or environment makes every token look
//! dead. Pure, `now` is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// So many suspicious refusals, and so large a share of all answers, look like wrong settings rather than dead tokens.
const BRAKE_COUNT: f64 = 50.0;
const BRAKE_SHARE: f64 = 0.9;
/// Both counts are halved this often.
const BRAKE_HALF_LIFE: Duration = Duration::from_secs(60);
/// The fading is computed this often, not at every answer.
const BRAKE_FADES_EVERY: Duration = Duration::from_secs(1);

/// Counts of answers, which fade.
#[derive(Debug, Default)]
pub(crate) struct Brake {
    suspicious: f64,
    others: f64,
    faded_at: Option<Instant>,
}

impl Brake {
    fn fade(&mut self, now: Instant) {
        let faded_for = now.saturating_duration_since(*self.faded_at.get_or_insert(now));
        if faded_for < BRAKE_FADES_EVERY {
            return;
        }
        let keep = 0.5f64.powf(faded_for.as_secs_f64() / BRAKE_HALF_LIFE.as_secs_f64());
        self.suspicious *= keep;
        self.others *= keep;
        self.faded_at = Some(now);
    }

    /// Counts a suspicious answer. True when nearly all are.
    pub(crate) fn engages(&mut self, now: Instant) -> bool {
        self.fade(now);
        self.suspicious += 1.0;
        self.suspicious > BRAKE_COUNT && self.suspicious >= (self.suspicious + self.others) * BRAKE_SHARE
    }

    /// Counts so many others.
    pub(crate) fn others(&mut self, count: u32, now: Instant) {
        self.fade(now);
        self.others += f64::from(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_fades() {
        let (mut brake, now) = (Brake::default(), Instant::now());
        assert!((0..50).all(|_| !brake.engages(now)));
        assert!(!brake.engages(now + BRAKE_HALF_LIFE), "half of fifty and one are not more than fifty");
        assert!((0..40).any(|_| brake.engages(now + BRAKE_HALF_LIFE)));
    }
}
