//! What the evidence about one delivery adds up to.
//!
//! Evidence is a set of bits; the status is the greatest of them. Joining sets is commutative, associative and idempotent, so
//! reports and receipts may come early, late and twice, in any order, from any process (contract, section 8).

use crate::platform::closed_list;

closed_list! {
    /// A delivery's status, in the order of what wins. `Queued` is the absence of evidence.
    Status {
        /// Nothing is known yet.
        Queued = 0, "queued";
        /// Never tried, for a reason of the recipient's.
        Suppressed = 1, "suppressed";
        /// Stopped by the caller, or by a cascade that went on without it.
        Cancelled = 2, "cancelled";
        /// Its time to live, window or deadline passed.
        Expired = 3, "expired";
        /// SMS only: the gateway did not say.
        Unknown = 4, "unknown";
        /// Tried and refused for good.
        Failed = 5, "failed";
        /// A provider accepted it.
        Sent = 6, "sent";
        /// Accepted, and reported later as not delivered.
        Undelivered = 7, "undelivered";
        /// The device or the operator has it.
        Delivered = 8, "delivered";
        /// Shown to the person.
        Displayed = 9, "displayed";
        /// Swiped away: seen, not read.
        Dismissed = 10, "dismissed";
        /// The person opened it.
        Opened = 11, "opened";
        /// The person pressed a button or the link.
        Clicked = 12, "clicked";
    }
}

impl Status {
    /// Whether this status counts as read (opened, clicked; dismissed is not read).
    pub const fn is_read(self) -> bool {
        matches!(self, Status::Opened | Status::Clicked)
    }

    /// Everything that is true when this is true: clicked implies opened implies displayed implies delivered implies sent.
    pub const fn implied(self) -> Evidence {
        let own = 1u16 << (self as u8);
        let rest = match self {
            Status::Queued => return Evidence(0),
            Status::Suppressed
            | Status::Cancelled
            | Status::Expired
            | Status::Unknown
            | Status::Failed
            | Status::Sent => 0,
            Status::Undelivered | Status::Delivered => Status::Sent.implied().0,
            Status::Displayed => Status::Delivered.implied().0,
            Status::Dismissed | Status::Opened => Status::Displayed.implied().0,
            Status::Clicked => Status::Opened.implied().0,
        };
        Evidence(own | rest)
    }
}

/// A set of statuses that evidence was seen for. Bit `n` is the status with number `n`; bit 0 is never set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Evidence(pub u16);

/// Whose word a delivery's status is (contract, section 8): `provider`, `device`, `operator` or `none`. A failure is the provider's word if it is one that
/// only a provider gives. `is_push`: else it is a text message.
pub fn told_by(status: Status, reason: Option<Reason>, is_push: bool) -> &'static str {
    let refused = [Reason::ProviderRejected, Reason::TokenInvalid, Reason::Credential, Reason::PayloadTooLarge];
    match status {
        Status::Sent => "provider",
        Status::Failed if reason.is_some_and(|reason| refused.contains(&reason)) => "provider",
        Status::Undelivered if is_push => "provider",
        status if status >= Status::Undelivered => {
            if is_push {
                "device"
            } else {
                "operator"
            }
        }
        _ => "none",
    }
}

impl Evidence {
    /// All that either knows.
    pub const fn join(self, other: Evidence) -> Evidence {
        Evidence(self.0 | other.0)
    }

    /// Whether evidence for `status` was seen.
    pub const fn has(self, status: Status) -> bool {
        self.0 & (1 << (status as u8)) != 0
    }

    /// The greatest status in the set.
    pub fn status(self) -> Status {
        match self.0 {
            0 => Status::Queued,
            bits => Status::from_number((15 - bits.leading_zeros()) as i16).unwrap_or(Status::Queued),
        }
    }

    /// The one bucket of `total = pending + sent + failed + expired + suppressed + cancelled (+ unknown)` that this delivery is
    /// counted in; `None` while it is pending.
    pub fn bucket(self) -> Option<Status> {
        match self.status() {
            Status::Queued => None,
            closed if (closed as u8) < (Status::Sent as u8) => Some(closed),
            _ => Some(Status::Sent),
        }
    }
}

/// Counts of deliveries by status: exclusive up to `sent`, cumulative parts of `sent` above (contract, section 8).
/// Index `n` belongs to the status with number `n`; index 0 is unused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally(pub [i64; 13]);

impl Tally {
    /// What changes when a delivery's evidence grows from `before` to `after`.
    pub fn change(before: Evidence, after: Evidence) -> Tally {
        let mut tally = Tally::default();
        if let Some(bucket) = before.bucket() {
            tally.0[bucket as usize] -= 1;
        }
        if let Some(bucket) = after.bucket() {
            tally.0[bucket as usize] += 1;
        }
        for status in &Status::ALL[Status::Undelivered as usize..] {
            if after.has(*status) && !before.has(*status) {
                tally.0[*status as usize] += 1;
            }
        }
        tally
    }

    /// Adds another tally.
    pub fn add(&mut self, other: Tally) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// The count of one status.
    pub fn of(&self, status: Status) -> i64 {
        self.0[status as usize]
    }

    /// All that is no longer pending.
    pub fn closed(&self) -> i64 {
        self.0[1..=Status::Sent as usize].iter().sum()
    }

    /// Whether nothing is counted.
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|n| *n == 0)
    }
}

closed_list! {
    /// Why a delivery ended as it did (contract, section 8).
    Reason {
        /// The person has no device.
        NoDevice = 1, "no_device";
        /// The device is switched off.
        Inactive = 2, "inactive";
        /// The provider says that the token is dead.
        TokenInvalid = 3, "token_invalid";
        /// The token, or the device, belongs to somebody else now.
        TokenMoved = 4, "token_moved";
        /// The person forbade what would be shown.
        PermissionDenied = 5, "permission_denied";
        /// `push_enabled` is off on the account, app or user.
        PushDisabled = 8, "push_disabled";
        /// Another device with the same token was reached.
        DuplicateDevice = 11, "duplicate_device";
        /// Nobody to text.
        NoPhone = 12, "no_phone";
        /// Its time to live passed.
        Ttl = 15, "ttl";
        /// The caller cancelled it.
        Cancelled = 18, "cancelled";
        /// A cascade went on without it.
        Cascaded = 19, "cascaded";
        /// Too large for the platform once rendered for this recipient.
        PayloadTooLarge = 21, "payload_too_large";
        /// The app's credential is missing or refused.
        Credential = 22, "credential";
        /// The provider refused the message.
        ProviderRejected = 23, "provider_rejected";
        /// The provider could not be reached in time.
        ProviderUnavailable = 24, "provider_unavailable";
        /// The gateway did not say.
        Unknown = 25, "unknown";
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn evidence() -> impl Strategy<Value = Evidence> {
        proptest::collection::vec(0usize..Status::ALL.len(), 0..5)
            .prop_map(|v| v.iter().fold(Evidence::default(), |e, i| e.join(Status::ALL[*i].implied())))
    }

    #[test]
    fn clicked_implies_all_that_leads_to_it() {
        let clicked = Status::Clicked.implied();
        for status in [Status::Opened, Status::Displayed, Status::Delivered, Status::Sent] {
            assert!(clicked.has(status));
        }
        assert!(!clicked.has(Status::Dismissed) && !clicked.has(Status::Undelivered));
    }

    #[test]
    fn the_greatest_evidence_wins() {
        let e = Status::Failed.implied().join(Status::Sent.implied());
        assert_eq!((e.status(), e.bucket()), (Status::Sent, Some(Status::Sent)));
        assert_eq!(Status::Dismissed.implied().join(Status::Clicked.implied()).status(), Status::Clicked);
    }

    proptest! {
        #[test]
        fn joining_is_commutative_associative_and_idempotent(a in evidence(), b in evidence(), c in evidence()) {
            prop_assert_eq!(a.join(b), b.join(a));
            prop_assert_eq!(a.join(b).join(c), a.join(b.join(c)));
            prop_assert_eq!(a.join(a), a);
        }

        #[test]
        fn a_delivery_is_counted_in_one_bucket_however_the_evidence_came(steps in proptest::collection::vec(evidence(), 1..8)) {
            let (mut tally, mut now) = (Tally::default(), Evidence::default());
            for step in steps {
                let next = now.join(step);
                tally.add(Tally::change(now, next));
                now = next;
            }
            prop_assert_eq!(tally.closed(), i64::from(now.bucket().is_some()));
            prop_assert!(tally.0.iter().all(|n| (0..=1).contains(n)));
            for part in [Status::Undelivered, Status::Delivered, Status::Opened] {
                prop_assert!(tally.of(part) <= tally.of(Status::Sent));
            }
        }
    }

    #[test]
    fn a_status_is_the_word_of_who_said_so() {
        let of = |is_push| {
            let told = |by: &str| -> Vec<&str> {
                Status::ALL.iter().filter(|s| told_by(**s, None, is_push) == by).map(|s| s.as_str()).collect()
            };
            (told("none").join(" "), told("provider").join(" "), told("device").join(" "), told("operator").join(" "))
        };
        let unsaid = "queued suppressed cancelled expired unknown failed";
        let heard = "delivered displayed dismissed opened clicked";
        assert_eq!(of(true), (unsaid.into(), "sent undelivered".into(), heard.into(), String::new()));
        assert_eq!(of(false), (unsaid.into(), "sent".into(), String::new(), format!("undelivered {heard}")));
        for (reason, by) in [(Reason::TokenInvalid, "provider"), (Reason::ProviderUnavailable, "none")] {
            assert_eq!(told_by(Status::Failed, Some(reason), true), by);
        }
    }
}
