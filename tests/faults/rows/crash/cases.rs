//! Which point is armed in which service, on which side, for what.

use crate::dice::Dice;
use crate::options::{Options, Size};
use carillon_failpoint::{Action, Arming, Point, Side};

/// One point armed once in one process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) service: &'static str,
    pub(crate) arming: Arming,
}

impl Case {
    /// What its hits are counted under.
    pub(crate) fn metric(&self) -> String {
        format!("carillon_failpoint_hits_total{{point=\"{}\"}}", self.arming.point.name())
    }
}

/// The services that pass a point while they work. A point that is new does not compile without its row.
const fn services(point: Point) -> &'static [&'static str] {
    const API: &[&str] = &["ingest-api"];
    const LEDGER: &[&str] = &["status-collector"];
    const SEGMENTER: &[&str] = &["segmenter"];
    const CASCADE: &[&str] = &["sms-cascade"];
    const DISPATCHERS: &[&str] = &["dispatcher-apns", "dispatcher-fcm", "dispatcher-webpush"];
    match point {
        Point::AcceptCommit
        | Point::ReceiptsCommit
        | Point::DevicesCommit
        | Point::SetupCommit
        | Point::CancelCommit
        | Point::SmsReportsCommit
        | Point::PublishReplies
        | Point::PublishRefused
        | Point::RestAnswer
        | Point::GrpcAnswer => API,
        Point::PagesCommit
        | Point::DueNotificationsCommit
        | Point::DueChunksCommit
        | Point::ExpiredCommit
        | Point::CancelledCommit
        | Point::PurgeCommit
        | Point::PublishChunks => SEGMENTER,
        Point::ClaimCommit
        | Point::ReportCommit
        | Point::LastSentCommit
        | Point::StatusTakeCommit
        | Point::StatusToldCommit
        | Point::FinishedCommit
        | Point::PublishStatuses
        | Point::ClaimAnswer
        | Point::ReportAnswer => LEDGER,
        Point::CascadesDueCommit
        | Point::CascadesAssignCommit
        | Point::CascadesFinishCommit
        | Point::CascadesCloseCommit
        | Point::CascadesOvertakenCommit => CASCADE,
        Point::PublishRuns => &["ingest-api", "segmenter"],
        Point::PublishParked => &["segmenter", "dispatcher-webpush", "dispatcher-apns", "dispatcher-fcm"],
        Point::Ack => &["dispatcher-webpush", "segmenter", "dispatcher-apns", "ingest-api", "dispatcher-fcm"],
        Point::Nack => &["dispatcher-apns"],
        Point::ProviderCall => DISPATCHERS,
        Point::PlainCall => &["sms-cascade", "dispatcher-fcm"],
    }
}

/// Whether a point is passed only when something is arranged for it: [`super::arranged`].
pub(crate) fn is_arranged(point: Point) -> bool {
    matches!(point, Point::Nack | Point::ExpiredCommit)
}

/// Whether a process passes it again and again: then any of its first passings can be the one.
fn recurs(point: Point) -> bool {
    !is_arranged(point) && !matches!(point, Point::PlainCall | Point::PurgeCommit)
}

/// Whether dispatchers pass it at the one ledger that they have settled on.
pub(crate) fn is_asked(point: Point) -> bool {
    use Point::{ClaimAnswer, ClaimCommit, FinishedCommit, LastSentCommit, ReportAnswer, ReportCommit};
    matches!(point, ClaimCommit | ReportCommit | LastSentCommit | FinishedCommit | ClaimAnswer | ReportAnswer)
}

/// Every point with every action. For a pipeline once, on sides and in services that take turns; else on both sides; in the full form in
/// every service, and at another passing each time.
pub(crate) fn all(options: &Options, dice: &mut Dice) -> Vec<Case> {
    let turn = usize::try_from(options.seed).unwrap_or(0);
    let mut cases = Vec::new();
    for (p, point) in Point::ALL.into_iter().enumerate() {
        let places = services(point);
        for (a, action) in Action::ALL.into_iter().enumerate() {
            for (s, side) in Side::ALL.into_iter().enumerate() {
                let nth = |dice: &mut Dice| if recurs(point) { 1 + (dice.next() % 3) as u32 } else { 1 };
                match options.size {
                    Size::Ci if (p + a + turn) % 2 != s => {}
                    Size::Ci | Size::Short => {
                        let service = places[(a + s + turn) % places.len()];
                        cases.push(Case { service, arming: Arming { point, side, action, nth: 1 } });
                    }
                    Size::Full => cases.extend(
                        places
                            .iter()
                            .map(|service| Case { service, arming: Arming { point, side, action, nth: nth(dice) } }),
                    ),
                }
            }
        }
    }
    dice.shuffle(&mut cases);
    cases
}
