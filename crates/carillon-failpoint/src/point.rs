//! The closed list of points.

macro_rules! points {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// A function that commits, publishes, acknowledges, calls a provider or answers a request, and for whom.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Point {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Point {
            /// All of them.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// Its name in the setting, in logs and in metrics.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

points! {
    /// Notifications accepted, in groups.
    AcceptCommit = "store.accept.commit",
    /// Receipts of devices.
    ReceiptsCommit = "store.receipts.commit",
    /// A registered, changed or deleted device.
    DevicesCommit = "store.devices.commit",
    /// What tenants and operators set up: tenants, keys, apps, credentials, gateways, senders.
    SetupCommit = "store.setup.commit",
    /// A notification that is cancelled, paused or resumed.
    CancelCommit = "store.cancel.commit",
    /// A page of an audience: chunks, cascades, cursor.
    PagesCommit = "store.pages.commit",
    /// Notifications taken because they are due.
    DueNotificationsCommit = "store.due_notifications.commit",
    /// Chunks taken because they are due.
    DueChunksCommit = "store.due_chunks.commit",
    /// Chunks closed because they expired.
    ExpiredCommit = "store.expired.commit",
    /// What cancelled notifications left, closed.
    CancelledCommit = "store.cancelled.commit",
    /// Runs marked as finished.
    FinishedCommit = "store.finished.commit",
    /// What has served its time, deleted; partitions made.
    PurgeCommit = "store.purge.commit",
    /// Claims of dispatchers.
    ClaimCommit = "store.claim.commit",
    /// Reports of dispatchers.
    ReportCommit = "store.report.commit",
    /// When devices were last sent to.
    LastSentCommit = "store.last_sent.commit",
    /// Status batches taken to be told.
    StatusTakeCommit = "store.status_take.commit",
    /// Status batches that were told, deleted.
    StatusToldCommit = "store.status_told.commit",
    /// Cascades taken because they are due.
    CascadesDueCommit = "store.cascades_due.commit",
    /// The gateway that is about to be asked.
    CascadesAssignCommit = "store.cascades_assign.commit",
    /// What became of text messages.
    CascadesFinishCommit = "store.cascades_finish.commit",
    /// Pushes closed because their cascade had fired.
    CascadesCloseCommit = "store.cascades_close.commit",
    /// Cascades taken that fired while a dispatcher held pushes of their persons.
    CascadesOvertakenCommit = "store.cascades_overtaken.commit",
    /// Delivery reports of SMS gateways.
    SmsReportsCommit = "store.sms_reports.commit",
    /// Wake-ups of the segmenter.
    PublishRuns = "broker.publish.runs",
    /// Chunks for dispatchers.
    PublishChunks = "broker.publish.chunks",
    /// Status events.
    PublishStatuses = "broker.publish.statuses",
    /// Answers to notifications that came over AMQP.
    PublishReplies = "broker.publish.replies",
    /// Refusals of such that asked for no answer.
    PublishRefused = "broker.publish.refused",
    /// Messages set aside, and those sent back from there.
    PublishParked = "broker.publish.parked",
    /// The acknowledgement of consumed messages.
    Ack = "broker.ack",
    /// A message given back to its queue.
    Nack = "broker.nack",
    /// A request to a push provider's gateway.
    ProviderCall = "egress.provider.call",
    /// A request to an SMS gateway, a token endpoint, or a push service that speaks no HTTP/2.
    PlainCall = "egress.plain.call",
    /// The answer to a REST call.
    RestAnswer = "ingest.rest.answer",
    /// The answer to a public gRPC call.
    GrpcAnswer = "ingest.grpc.answer",
    /// The ledger's answer to a claim.
    ClaimAnswer = "ledger.claim.answer",
    /// The ledger's answer to a report.
    ReportAnswer = "ledger.report.answer",
}

impl Point {
    /// The point of what is published to this exchange under this key.
    pub fn of_publishing(exchange: &str, key: &str) -> Self {
        match exchange {
            "carillon.statuses" => Self::PublishStatuses,
            "carillon.events.replies" => Self::PublishReplies,
            "carillon.events.refused" => Self::PublishRefused,
            _ if key.starts_with("segmenter.") => Self::PublishRuns,
            _ if key.starts_with("dispatcher-") => Self::PublishChunks,
            _ => Self::PublishParked,
        }
    }

    /// The point of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|point| point.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unlike_and_found() {
        for point in Point::ALL {
            assert_eq!(Point::named(point.name()), Some(point));
            let proper = |b: u8| b.is_ascii_lowercase() || b == b'.' || b == b'_';
            assert!(point.name().bytes().all(proper), "{}", point.name());
        }
    }
}
