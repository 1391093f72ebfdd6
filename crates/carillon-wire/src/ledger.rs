//! Outcomes between dispatcher and ledger.

use crate::internal;
use carillon_domain::delivery_status::{Reason, Status};
use carillon_domain::outcome::{Outcome, Progress, TokenVerdict};
use jiff::Timestamp;

/// An outcome as it travels.
pub fn outcome_to_wire(outcome: &Outcome) -> internal::Outcome {
    let mut wire = internal::Outcome {
        position: u32::from(outcome.position),
        generation: outcome.generation,
        ..Default::default()
    };
    match &outcome.progress {
        Progress::Closed { status, reason, provider_id } => {
            wire.status = *status as u32;
            wire.reason = reason.map_or(0, |r| r as u32);
            wire.provider_id = provider_id.clone().unwrap_or_default();
        }
        Progress::Deferred { not_before, attempts } => {
            wire.not_before_ms = not_before.as_millisecond();
            wire.attempts = u32::from(*attempts);
        }
    }
    if let TokenVerdict::Retire { since } = outcome.token {
        wire.retire_token = true;
        wire.retire_since_ms = since.map_or(0, |t| t.as_millisecond());
    }
    wire
}

/// Back from [`outcome_to_wire`]; `None` for what no dispatcher of ours says (an unknown status, a position out of range).
pub fn outcome_from_wire(wire: &internal::Outcome) -> Option<Outcome> {
    let status = Status::from_number(i16::try_from(wire.status).ok()?)?;
    let progress = match status {
        Status::Queued => Progress::Deferred {
            not_before: Timestamp::from_millisecond(wire.not_before_ms).ok()?,
            attempts: u8::try_from(wire.attempts.min(255)).ok()?,
        },
        closed => Progress::Closed {
            status: closed,
            reason: i16::try_from(wire.reason).ok().and_then(Reason::from_number),
            provider_id: (!wire.provider_id.is_empty()).then(|| wire.provider_id.clone()),
        },
    };
    let token = if wire.retire_token {
        let since =
            (wire.retire_since_ms > 0).then(|| Timestamp::from_millisecond(wire.retire_since_ms).ok()).flatten();
        TokenVerdict::Retire { since }
    } else {
        TokenVerdict::Keep
    };
    Some(Outcome { position: u16::try_from(wire.position).ok()?, progress, token, generation: wire.generation })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_read_back_as_they_were() {
        let at = Timestamp::from_millisecond(1_790_000_000_123).unwrap();
        let outcomes = [
            Outcome {
                position: 499,
                progress: Progress::Closed {
                    status: Status::Failed,
                    reason: Some(Reason::TokenInvalid),
                    provider_id: None,
                },
                token: TokenVerdict::Retire { since: Some(at) },
                generation: 7,
            },
            Outcome {
                position: 0,
                progress: Progress::Closed {
                    status: Status::Sent,
                    reason: None,
                    provider_id: Some("projects/p/messages/1".into()),
                },
                token: TokenVerdict::Keep,
                generation: 1,
            },
            Outcome {
                position: 3,
                progress: Progress::Deferred { not_before: at, attempts: 3 },
                token: TokenVerdict::Retire { since: None },
                generation: 0,
            },
        ];
        for outcome in outcomes {
            assert_eq!(outcome_from_wire(&outcome_to_wire(&outcome)), Some(outcome));
        }
    }

    #[test]
    fn what_no_dispatcher_says_is_not_read() {
        assert_eq!(outcome_from_wire(&internal::Outcome { status: 99, ..Default::default() }), None);
        assert_eq!(outcome_from_wire(&internal::Outcome { position: 70_000, ..Default::default() }), None);
    }
}
