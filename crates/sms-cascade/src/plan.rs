//! What to do with a message: pure, from what is known to the next step.

use crate::smsapi::Verdict;
use carillon_domain::backoff::full_jitter;
use carillon_domain::cascade::Sms;
use carillon_domain::delivery_status::{Reason, Status};
use carillon_store::{CascadeOutcome, DueCascade};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// How long a gateway may try where the caller did not say.
const USUAL_TTL: u32 = 86_400;
/// Tries at one gateway within one claim.
pub(crate) const TRIES: u32 = 3;
/// SMSAPI knows a reference for a day; half of it is trusted.
const REMEMBERED: Duration = Duration::from_secs(12 * 3600);
/// Claims after which a message whose fate is open is left alone: with the pauses between them they stay far below [`REMEMBERED`].
const MOST_REPEATS: i16 = 20;
/// First and longest pause before a message is tried again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// Shortest pause.
const LEAST_PAUSE: Duration = Duration::from_millis(500);

/// How long the gateway may try, in seconds.
fn ttl(sms: &Sms) -> u32 {
    sms.ttl.map_or(USUAL_TTL, |ttl| ttl.0)
}

/// Why a message is not sent although its time has come, by the database's clock; nothing when it is.
pub(crate) fn judge(due: &DueCascade, sms: &Sms, now: Timestamp) -> Option<CascadeOutcome> {
    let ttl = ttl(sms);
    let too_late = now >= due.deadline + SignedDuration::from_secs(i64::from(ttl));
    if due.tried.is_some() {
        let forgotten = due.abandoned.is_some_and(|ago| ago >= REMEMBERED);
        let over = due.cancelled || too_late || forgotten || due.attempt > MOST_REPEATS;
        return over.then_some(CascadeOutcome::Unknown);
    }
    // A cascade that went on at once lies far ahead of its deadline; its tries are bounded by their number.
    let most_attempts = 12 + i64::from(ttl) / 300;
    let expired = CascadeOutcome::Ended { status: Status::Expired, reason: Reason::Ttl };
    (too_late || i64::from(due.attempt) > most_attempts).then_some(expired)
}

/// Until when the gateway may try, in seconds since 1970, where the caller said how long.
pub(crate) fn expires(due: &DueCascade, sms: &Sms, now: Timestamp) -> Option<i64> {
    sms.ttl.map(|ttl| due.deadline.min(now).as_second() + i64::from(ttl.0))
}

/// What is known when a gateway has spoken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation<'a> {
    /// The gateway.
    pub(crate) gateway: &'a str,
    /// Parts of the text by our own count.
    pub(crate) segments: i16,
    /// This gateway may have taken it by an earlier try.
    pub(crate) in_doubt: bool,
    /// There is no further gateway.
    pub(crate) last_gateway: bool,
    /// There is no further try within this claim.
    pub(crate) last_try: bool,
    /// A gateway before this one could not take it now, but may later.
    pub(crate) may_later: bool,
    /// Which claim this is.
    pub(crate) attempt: i16,
    /// Uniform.
    pub(crate) random: u32,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The claim is over.
    Finish(CascadeOutcome),
    /// The next gateway: this one surely did not take it.
    Elsewhere,
    /// This gateway again: it may have taken it, and would say so.
    TryAgain,
}

/// From a verdict to the next step.
pub(crate) fn after(verdict: Verdict, at: &Situation<'_>) -> Next {
    let sent = |segments, provider_id| {
        Next::Finish(CascadeOutcome::Sent { gateway: at.gateway.to_owned(), segments, provider_id })
    };
    match verdict {
        Verdict::Accepted { provider_id, parts } => sent(parts.unwrap_or(at.segments), provider_id),
        Verdict::Repeated => sent(at.segments, None),
        Verdict::Doubtful if at.last_try => Next::Finish(CascadeOutcome::Unknown),
        Verdict::Doubtful => Next::TryAgain,
        // It says nothing about the try before.
        Verdict::Refused { elsewhere: true, .. } if at.in_doubt => Next::Finish(CascadeOutcome::Unknown),
        Verdict::Refused { elsewhere: true, .. } | Verdict::Unavailable { .. } if !at.in_doubt && !at.last_gateway => {
            Next::Elsewhere
        }
        Verdict::Refused { elsewhere: true, .. } if at.may_later => Next::Finish(later(at, None)),
        Verdict::Refused { reason, .. } => Next::Finish(CascadeOutcome::Ended { status: Status::Failed, reason }),
        Verdict::Unavailable { after } => Next::Finish(later(at, after)),
    }
}

fn later(at: &Situation<'_>, asked: Option<Duration>) -> CascadeOutcome {
    let attempt = u8::try_from(at.attempt.max(1) - 1).unwrap_or(u8::MAX);
    let pause = full_jitter(attempt, FIRST_PAUSE, LONGEST_PAUSE, LEAST_PAUSE, at.random);
    CascadeOutcome::Retry {
        after: asked.map_or(pause, |asked| asked.max(pause)),
        tried: at.in_doubt.then(|| at.gateway.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_domain::ids::{AppKey, NotificationId, RunId, TenantKey};
    use carillon_domain::phone::Phone;
    use carillon_domain::span::Seconds;
    use carillon_store::CascadeId;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn due() -> DueCascade {
        DueCascade {
            id: CascadeId { run: RunId(uuid::Uuid::nil()), link: 1, person_number: 0 },
            attempt: 1,
            notification_id: NotificationId(uuid::Uuid::nil()),
            tenant_key: TenantKey(1),
            app_key: AppKey(1),
            phone: Phone::from_e164("+48501502503"),
            locale: None,
            open_devices: 0,
            tried: None,
            cancelled: false,
            abandoned: None,
            late: Duration::ZERO,
            deadline: NOW,
        }
    }

    fn situation() -> Situation<'static> {
        Situation {
            gateway: "main",
            segments: 1,
            in_doubt: false,
            last_gateway: true,
            last_try: false,
            may_later: false,
            attempt: 1,
            random: u32::MAX,
        }
    }

    fn account() -> Verdict {
        Verdict::Refused { reason: Reason::Credential, elsewhere: true }
    }

    #[test]
    fn a_message_is_sent_within_its_time_to_live_and_not_after_it() {
        let sms = Sms { ttl: Some(Seconds(60)), ..Default::default() };
        let at = |seconds| judge(&due(), &sms, Timestamp::from_second(seconds).unwrap());
        assert_eq!(at(59), None);
        assert_eq!(at(60), Some(CascadeOutcome::Ended { status: Status::Expired, reason: Reason::Ttl }));
        assert_eq!(judge(&due(), &Sms::default(), Timestamp::from_second(86_399).unwrap()), None);
    }

    #[test]
    fn a_message_whose_fate_is_open_is_repeated_only_while_the_gateway_remembers_it() {
        let open = DueCascade { tried: Some("main".into()), abandoned: Some(Duration::from_secs(60)), ..due() };
        assert_eq!(judge(&open, &Sms::default(), NOW), None);
        for over in [
            DueCascade { cancelled: true, ..open.clone() },
            DueCascade { abandoned: Some(REMEMBERED), ..open.clone() },
            DueCascade { attempt: MOST_REPEATS + 1, ..open.clone() },
        ] {
            assert_eq!(judge(&over, &Sms::default(), NOW), Some(CascadeOutcome::Unknown));
        }
        let late = Timestamp::from_second(86_400).unwrap();
        assert_eq!(judge(&open, &Sms::default(), late), Some(CascadeOutcome::Unknown));
    }

    #[test]
    fn the_gateway_is_told_how_long_it_may_try_when_the_caller_said_so() {
        let sms = Sms { ttl: Some(Seconds(600)), ..Default::default() };
        let early = DueCascade { deadline: Timestamp::from_second(9_000).unwrap(), ..due() };
        assert_eq!(expires(&early, &sms, Timestamp::from_second(100).unwrap()), Some(700));
        assert_eq!(expires(&due(), &Sms::default(), NOW), None);
    }

    #[test]
    fn a_reference_that_is_known_to_the_gateway_was_sent() {
        let sent = CascadeOutcome::Sent { gateway: "main".into(), segments: 1, provider_id: None };
        assert_eq!(after(Verdict::Repeated, &situation()), Next::Finish(sent));
    }

    #[test]
    fn what_surely_was_not_taken_goes_to_the_next_gateway_or_waits() {
        let more = Situation { last_gateway: false, ..situation() };
        let busy = Verdict::Unavailable { after: Some(Duration::from_secs(9)) };
        assert_eq!(after(busy.clone(), &more), Next::Elsewhere);
        assert_eq!(after(account(), &more), Next::Elsewhere);
        let wait = CascadeOutcome::Retry { after: Duration::from_secs(9), tried: None };
        assert_eq!(after(busy, &situation()), Next::Finish(wait));
        let failed = CascadeOutcome::Ended { status: Status::Failed, reason: Reason::Credential };
        assert_eq!(after(account(), &situation()), Next::Finish(failed));
        let may_later = Situation { may_later: true, ..situation() };
        assert!(matches!(after(account(), &may_later), Next::Finish(CascadeOutcome::Retry { tried: None, .. })));
    }

    #[test]
    fn doubt_is_settled_at_the_same_gateway_or_not_at_all() {
        assert_eq!(after(Verdict::Doubtful, &situation()), Next::TryAgain);
        let last = Situation { last_try: true, ..situation() };
        assert_eq!(after(Verdict::Doubtful, &last), Next::Finish(CascadeOutcome::Unknown));
    }

    fn verdicts() -> impl Strategy<Value = Verdict> {
        prop_oneof![
            Just(Verdict::Accepted { provider_id: None, parts: None }),
            Just(Verdict::Repeated),
            Just(account()),
            Just(Verdict::Refused { reason: Reason::ProviderRejected, elsewhere: false }),
            Just(Verdict::Unavailable { after: None }),
            Just(Verdict::Doubtful),
        ]
    }

    proptest! {
        /// The rule that keeps it at one message: whoever may have it is asked again, and nobody else is.
        #[test]
        fn in_doubt_no_other_gateway_is_ever_asked(
            verdict in verdicts(), last_gateway: bool, last_try: bool, may_later: bool, attempt in 1i16..300, random: u32,
        ) {
            let at = Situation { in_doubt: true, last_gateway, last_try, may_later, attempt, random, ..situation() };
            match after(verdict, &at) {
                Next::Elsewhere => prop_assert!(false, "another gateway was asked"),
                Next::Finish(CascadeOutcome::Retry { tried, .. }) => prop_assert_eq!(tried.as_deref(), Some("main")),
                Next::Finish(_) | Next::TryAgain => {}
            }
        }
    }
}
