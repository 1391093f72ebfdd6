//! What REST and gRPC say of a delivery beside its fields.

use carillon_domain::delivery_status::{Status, told_by};
use carillon_store::DeliveryRow;
use uuid::Uuid;

/// A stable id: the same delivery has the same one for ever, and it says nothing of what is counted inside.
pub(crate) fn id(row: &DeliveryRow) -> Uuid {
    let mut name = [0; 10];
    name[..8].copy_from_slice(&row.id.subject.to_be_bytes());
    name[8..].copy_from_slice(&row.id.link.to_be_bytes());
    Uuid::new_v5(&row.id.run.0, &name)
}

/// `push` or `sms`.
pub(crate) fn channel(row: &DeliveryRow) -> &'static str {
    if row.id.link == 0 { "push" } else { "sms" }
}

/// Back from [`channel`]: whether it is the one of pushes.
pub(crate) fn is_push(text: &str) -> Option<bool> {
    match text {
        "push" => Some(true),
        "sms" => Some(false),
        _ => None,
    }
}

/// Whose word the status rests on.
pub(crate) fn evidence(row: &DeliveryRow) -> &'static str {
    told_by(row.evidence.status(), row.reason, row.id.link == 0)
}

/// The button, where a step of the history is its click.
pub(crate) fn action(row: &DeliveryRow, step: Status) -> Option<&str> {
    row.action.as_deref().filter(|_| step == Status::Clicked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_domain::delivery_status::Reason;
    use carillon_domain::ids::RunId;
    use carillon_store::DeliveryId;

    fn row(status: Status, reason: Option<Reason>, link: i16) -> DeliveryRow {
        DeliveryRow {
            id: DeliveryId { run: RunId(Uuid::from_u128(7)), subject: 3, link },
            device: None,
            user_id: None,
            phone: None,
            platform: None,
            os: None,
            gateway: None,
            evidence: status.implied(),
            reason,
            provider_id: None,
            steps: Vec::new(),
            action: None,
        }
    }

    #[test]
    fn the_evidence_names_who_said_it() {
        for (status, reason, link, expected) in [
            (Status::Queued, None, 0, "none"),
            (Status::Suppressed, Some(Reason::NoDevice), 0, "none"),
            (Status::Sent, None, 0, "provider"),
            (Status::Failed, Some(Reason::ProviderRejected), 0, "provider"),
            (Status::Failed, Some(Reason::ProviderUnavailable), 0, "none"),
            (Status::Opened, None, 0, "device"),
            (Status::Delivered, None, 1, "operator"),
            (Status::Undelivered, None, 1, "operator"),
        ] {
            assert_eq!(evidence(&row(status, reason, link)), expected, "{status:?}");
        }
    }

    #[test]
    fn an_id_is_the_deliverys_own() {
        let (push, sms) = (row(Status::Sent, None, 0), row(Status::Sent, None, 1));
        assert_eq!(id(&push), id(&row(Status::Opened, None, 0)));
        assert_ne!(id(&push), id(&sms));
        assert_eq!((channel(&push), channel(&sms)), ("push", "sms"));
    }
}
