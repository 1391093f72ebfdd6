//! Verdicts become outcomes here and nowhere else. Pure: the time and the dice are arguments.

use std::time::Duration;

use carillon_domain::backoff::full_jitter;
use carillon_domain::delivery_status::{Reason, Status};
use carillon_domain::outcome::{Progress, TokenVerdict};
use carillon_domain::platform::Lane;
use jiff::{SignedDuration, Timestamp};

use crate::provider::{Scope, TokenFate, Verdict};

/// A wait up to here stays in the process; a longer one becomes state in the ledger.
pub(crate) const IN_PROCESS: Duration = Duration::from_secs(1);
/// The wait after a first failure is at most this, and doubles with every attempt.
const BACKOFF: Duration = Duration::from_secs(1);
/// Apple's advice for its own failures, and the most that anybody waits without being told to.
const BACKOFF_CAP: Duration = Duration::from_secs(15 * 60);
/// Failures are never repeated faster than this.
const BACKOFF_FLOOR: Duration = Duration::from_millis(100);
/// A provider that asks for more patience than this is asked again after it: such a header is a mistake more often than not.
const MOST_PATIENCE: Duration = Duration::from_secs(3600);
/// A campaign's chunks come back after no less: for each, hundreds of devices are read again, and there may be thousands.
const CAMPAIGN_HOLD: Duration = Duration::from_secs(5);
/// How long an app's messages wait for its credential to be repaired.
const CREDENTIAL_HOLD: Duration = Duration::from_secs(60);

/// Where one message stands when its verdict comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation {
    /// Provider calls, this one included.
    pub(crate) attempts: u8,
    /// By the ledger's clock.
    pub(crate) now: Timestamp,
    pub(crate) expires_at: Timestamp,
    /// Uniform in all of `u32`.
    pub(crate) random: u32,
}

/// What happens with the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is reported.
    Report { progress: Progress, token: TokenVerdict },
    /// It is sent again from here.
    Again { after: Duration },
}

/// What everything else that is sent with the credential learns from the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lesson {
    /// The provider answers.
    Works,
    /// The host does not answer, or is not well.
    Fails,
    /// The host is not well, and wants nothing for this long.
    Away(Duration),
    /// Nothing may go for this long.
    Pause(Duration),
    /// The credential is refused: nothing goes for this long.
    Refused(Duration),
}

/// What one verdict means for its message.
pub(crate) fn plan(verdict: Verdict, at: &Situation) -> Step {
    match verdict {
        Verdict::Sent { provider_id } => closed(Status::Sent, None, provider_id, TokenVerdict::Keep),
        Verdict::Rejected { reason, token } => {
            let token = match token {
                TokenFate::Keep => TokenVerdict::Keep,
                TokenFate::Retire { since } => TokenVerdict::Retire { since },
                TokenFate::RetireUnlessMany => TokenVerdict::Retire { since: None },
            };
            closed(Status::Failed, Some(reason), None, token)
        }
        Verdict::Throttled { retry_after, .. } | Verdict::Unavailable { retry_after } => {
            later(retry_after.map_or_else(|| backoff(at), |wait| wait.min(MOST_PATIENCE)), at)
        }
        Verdict::Failing { at_least } => later(at_least.min(MOST_PATIENCE) + backoff(at), at),
        Verdict::Unknown => later(backoff(at), at),
        Verdict::Misconfigured { .. } => later(CREDENTIAL_HOLD, at),
    }
}

/// What one verdict means for everything else that is sent with the credential.
pub(crate) fn lesson(verdict: &Verdict) -> Lesson {
    match verdict {
        Verdict::Sent { .. } | Verdict::Rejected { .. } => Lesson::Works,
        Verdict::Throttled { scope: Scope::Device, .. } => Lesson::Works,
        Verdict::Throttled { scope: Scope::Credential, retry_after } => {
            Lesson::Pause(retry_after.unwrap_or(CREDENTIAL_HOLD).min(MOST_PATIENCE))
        }
        Verdict::Unavailable { retry_after: Some(wait) } if *wait > IN_PROCESS => {
            Lesson::Away((*wait).min(MOST_PATIENCE))
        }
        Verdict::Unavailable { .. } | Verdict::Failing { .. } | Verdict::Unknown => Lesson::Fails,
        Verdict::Misconfigured { .. } => Lesson::Refused(CREDENTIAL_HOLD),
    }
}

/// A message that is not sent because of others: the same deferral for the rest of the chunk, attempts unchanged.
pub(crate) fn held(wait: Duration, attempts: u8, now: Timestamp, expires_at: Timestamp) -> Progress {
    Progress::Deferred { not_before: after(now, wait).min(expires_at), attempts }
}

/// How long one chunk is held of those that all wait for the same: up to a quarter longer, so that they do not come back in one moment, and a
/// campaign's for [`CAMPAIGN_HOLD`] at least. `random` is uniform in all of `u32`.
pub(crate) fn hold_for(wait: Duration, lane: Lane, random: u32) -> Duration {
    let wait = match lane {
        Lane::Transactional => wait,
        Lane::Bulk => wait.max(CAMPAIGN_HOLD),
    };
    wait + wait.mul_f64(f64::from(random) / f64::from(u32::MAX) / 4.0)
}

/// A message whose time is over.
pub(crate) fn expired() -> Progress {
    Progress::Closed { status: Status::Expired, reason: Some(Reason::Ttl), provider_id: None }
}

fn closed(status: Status, reason: Option<Reason>, provider_id: Option<String>, token: TokenVerdict) -> Step {
    Step::Report { progress: Progress::Closed { status, reason, provider_id }, token }
}

/// Short waits stay here; long ones go to the ledger, but never past the expiry, so that it is looked at then.
fn later(wait: Duration, at: &Situation) -> Step {
    if wait <= IN_PROCESS && after(at.now, wait) < at.expires_at {
        return Step::Again { after: wait };
    }
    Step::Report { progress: held(wait, at.attempts, at.now, at.expires_at), token: TokenVerdict::Keep }
}

fn backoff(at: &Situation) -> Duration {
    full_jitter(at.attempts.saturating_sub(1), BACKOFF, BACKOFF_CAP, BACKOFF_FLOOR, at.random)
}

fn after(now: Timestamp, wait: Duration) -> Timestamp {
    SignedDuration::try_from(wait).ok().and_then(|wait| now.checked_add(wait).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: i64 = 1_790_000_000;

    #[test]
    fn chunks_that_wait_for_the_same_come_back_one_after_the_other_and_none_too_early() {
        let held = |wait, lane| {
            [0, 1, 2, 4].map(|n| hold_for(Duration::from_secs(wait), lane, u32::MAX / 4 * n).as_secs_f64().round())
        };
        for lane in [Lane::Transactional, Lane::Bulk] {
            assert_eq!(held(60, lane), [60.0, 64.0, 67.0, 75.0]);
        }
        assert_eq!(held(1, Lane::Transactional), [1.0; 4]);
        assert_eq!(held(1, Lane::Bulk), [5.0, 5.0, 6.0, 6.0]);
    }

    fn at(attempts: u8, ttl: i64, random: u32) -> Situation {
        Situation {
            attempts,
            now: Timestamp::from_second(NOW).unwrap(),
            expires_at: Timestamp::from_second(NOW + ttl).unwrap(),
            random,
        }
    }

    fn deferred_by(step: &Step) -> Option<Duration> {
        match step {
            Step::Report { progress: Progress::Deferred { not_before, .. }, .. } => {
                Some(Duration::try_from(not_before.duration_since(Timestamp::from_second(NOW).unwrap())).unwrap())
            }
            _ => None,
        }
    }

    fn any_verdict() -> impl Strategy<Value = Verdict> {
        let wait = || proptest::option::of((0u64..100_000).prop_map(Duration::from_millis));
        prop_oneof![
            Just(Verdict::Sent { provider_id: None }),
            Just(Verdict::Rejected { reason: Reason::TokenInvalid, token: TokenFate::RetireUnlessMany }),
            Just(Verdict::Rejected { reason: Reason::ProviderRejected, token: TokenFate::Keep }),
            wait().prop_map(|retry_after| Verdict::Throttled { retry_after, scope: Scope::Device }),
            wait().prop_map(|retry_after| Verdict::Throttled { retry_after, scope: Scope::Credential }),
            wait().prop_map(|retry_after| Verdict::Unavailable { retry_after }),
            wait().prop_map(|wait| Verdict::Failing { at_least: wait.unwrap_or_default() }),
            Just(Verdict::Misconfigured { detail: "x".into() }),
            Just(Verdict::Unknown),
        ]
    }

    #[test]
    fn an_accepted_message_is_sent_and_a_refused_one_failed_for_its_reason() {
        let sent = plan(Verdict::Sent { provider_id: Some("id".into()) }, &at(1, 60, 0));
        assert_eq!(sent, closed(Status::Sent, None, Some("id".into()), TokenVerdict::Keep));
        let since = Timestamp::from_second(NOW - 9).ok();
        let refused = Verdict::Rejected { reason: Reason::TokenInvalid, token: TokenFate::Retire { since } };
        let step = plan(refused, &at(1, 60, 0));
        assert_eq!(step, closed(Status::Failed, Some(Reason::TokenInvalid), None, TokenVerdict::Retire { since }));
    }

    #[test]
    fn a_provider_that_names_a_time_is_obeyed_to_the_second() {
        for verdict in [
            Verdict::Throttled { retry_after: Some(Duration::from_secs(7)), scope: Scope::Device },
            Verdict::Unavailable { retry_after: Some(Duration::from_secs(7)) },
        ] {
            assert_eq!(deferred_by(&plan(verdict, &at(1, 600, 12345))), Some(Duration::from_secs(7)));
        }
    }

    #[test]
    fn a_wait_of_a_second_stays_in_the_process_and_a_longer_one_does_not() {
        let wait = |ms| Verdict::Unavailable { retry_after: Some(Duration::from_millis(ms)) };
        assert_eq!(plan(wait(1000), &at(1, 600, 0)), Step::Again { after: Duration::from_secs(1) });
        assert_eq!(deferred_by(&plan(wait(1001), &at(1, 600, 0))), Some(Duration::from_millis(1001)));
    }

    #[test]
    fn failures_are_repeated_at_growing_distances_up_to_a_quarter_of_an_hour() {
        let most =
            |attempts| deferred_by(&plan(Verdict::Unknown, &at(attempts, 1_000_000, u32::MAX))).map(|d| d.as_secs());
        assert_eq!([most(2), most(3), most(6), most(200)], [Some(2), Some(4), Some(32), Some(900)]);
    }

    #[test]
    fn a_provider_that_wants_patience_after_a_failure_gets_it_and_more_each_time() {
        let failing = || Verdict::Failing { at_least: Duration::from_secs(10) };
        let wait = |attempts, random| deferred_by(&plan(failing(), &at(attempts, 600, random))).map(|d| d.as_millis());
        assert_eq!([wait(1, 0), wait(1, u32::MAX), wait(3, u32::MAX)], [Some(10_100), Some(11_000), Some(14_000)]);
        assert_eq!(lesson(&failing()), Lesson::Fails);
    }

    #[test]
    fn a_refused_credential_holds_its_messages_for_a_minute_and_counts_as_an_attempt() {
        let step = plan(Verdict::Misconfigured { detail: "InvalidProviderToken".into() }, &at(3, 600, 0));
        assert_eq!(deferred_by(&step), Some(CREDENTIAL_HOLD));
        assert!(matches!(step, Step::Report { progress: Progress::Deferred { attempts: 3, .. }, .. }));
    }

    proptest! {
        #[test]
        fn nothing_is_deferred_past_its_expiry_nor_before_now(v in any_verdict(), attempts in 1u8.., ttl in 1i64..10_000, random: u32) {
            let situation = at(attempts, ttl, random);
            match plan(v.clone(), &situation) {
                Step::Again { after } => prop_assert!(after <= IN_PROCESS),
                Step::Report { progress: Progress::Deferred { not_before, attempts: told }, token } => {
                    prop_assert!(not_before >= situation.now && not_before <= situation.expires_at);
                    prop_assert_eq!((told, token), (attempts, TokenVerdict::Keep));
                }
                Step::Report { progress: Progress::Closed { status, .. }, .. } => {
                    prop_assert_eq!(status == Status::Sent, matches!(v, Verdict::Sent { .. }));
                    prop_assert!(matches!(v, Verdict::Sent { .. } | Verdict::Rejected { .. }), "closed by another verdict");
                }
            }
        }

        #[test]
        fn a_token_is_retired_only_by_a_refusal_that_says_so(v in any_verdict(), attempts in 1u8.., random: u32) {
            if let Step::Report { token: TokenVerdict::Retire { .. }, .. } = plan(v.clone(), &at(attempts, 60, random)) {
                prop_assert!(
                    matches!(v, Verdict::Rejected { token: TokenFate::Retire { .. } | TokenFate::RetireUnlessMany, .. }),
                    "retired by another verdict"
                );
            }
        }

        #[test]
        fn one_devices_throttle_teaches_nothing_about_the_credential(ms in 0u64..100_000) {
            let v = Verdict::Throttled { retry_after: Some(Duration::from_millis(ms)), scope: Scope::Device };
            prop_assert_eq!(lesson(&v), Lesson::Works);
        }
    }
}
