//! Notifications and deliveries as protobuf has them.

use carillon_domain::delivery_status::{Reason, Status};
use carillon_domain::platform::Platform;
use carillon_store::{ChannelCounts, DeliveryRow, NotificationRow};
use carillon_wire::public as pb;

use super::super::time::to_wire;
use crate::accept::Warning;
use crate::deliveries;

pub(super) fn notification(row: NotificationRow) -> pb::Notification {
    // A body that cannot be read is the sending's trouble; here it only has no metadata.
    let metadata = carillon_wire::decode_body(&row.body).map(|n| n.draft().metadata.iter().cloned().collect());
    let r = row.recipients;
    pb::Notification {
        id: row.notification_id.0.to_string(),
        app: row.app,
        reference: row.reference.unwrap_or_default(),
        metadata: metadata.unwrap_or_default(),
        state: row.state.as_str().to_owned(),
        reason: row.reason.unwrap_or_default(),
        created_at: Some(to_wire(row.created_at)),
        scheduled_at: row.scheduled_at.map(to_wire),
        finished_at: row.finished_at.map(to_wire),
        counts: Some(pb::Counts {
            recipients: Some(pb::Recipients {
                total: r.total,
                pending: r.pending,
                read: r.read,
                reached: r.reached,
                unreached: r.unreached,
            }),
            push: Some(channel(&row.push)),
            sms: Some(channel(&row.sms)),
        }),
        held: row.held.into_iter().map(held).collect(),
    }
}

fn held(platform: Platform) -> pb::notification::Held {
    let reason = Reason::Credential.as_str().to_owned();
    pb::notification::Held { platform: platform.as_str().to_owned(), reason }
}

pub(super) fn warning(warning: Warning) -> pb::send_response::Warning {
    pb::send_response::Warning {
        reason: warning.reason.as_str().to_owned(),
        platforms: warning.platforms.iter().map(|platform| platform.as_str().to_owned()).collect(),
        detail: warning.detail,
    }
}

fn channel(counts: &ChannelCounts) -> pb::ChannelCounts {
    let of = |status| counts.tally.of(status);
    pb::ChannelCounts {
        total: counts.total,
        pending: counts.pending,
        sent: of(Status::Sent),
        failed: of(Status::Failed),
        expired: of(Status::Expired),
        suppressed: of(Status::Suppressed),
        cancelled: of(Status::Cancelled),
        undelivered: of(Status::Undelivered),
        delivered: of(Status::Delivered),
        displayed: of(Status::Displayed),
        dismissed: of(Status::Dismissed),
        opened: of(Status::Opened),
        clicked: of(Status::Clicked),
        unknown: of(Status::Unknown),
        segments: counts.segments,
    }
}

pub(super) fn delivery(row: DeliveryRow) -> pb::Delivery {
    let status = row.evidence.status();
    let reason = row.reason.map(|reason| reason.as_str().to_owned()).unwrap_or_default();
    let step = |(of, at): &(Status, jiff::Timestamp)| pb::delivery::Step {
        status: of.as_str().to_owned(),
        at: Some(to_wire(*at)),
        reason: if *of == status { reason.clone() } else { String::new() },
        action: deliveries::action(&row, *of).unwrap_or_default().to_owned(),
    };
    pb::Delivery {
        id: deliveries::id(&row).to_string(),
        channel: deliveries::channel(&row).to_owned(),
        link: u32::try_from(row.id.link).unwrap_or_default(),
        evidence: deliveries::evidence(&row).to_owned(),
        history: row.steps.iter().map(step).collect(),
        device: row.device.unwrap_or_default(),
        user_id: row.user_id.unwrap_or_default(),
        phone: row.phone.map(|phone| phone.masked()).unwrap_or_default(),
        platform: row.platform.map(|platform| platform.as_str().to_owned()).unwrap_or_default(),
        os: row.os.map(|os| os.as_str().to_owned()).unwrap_or_default(),
        gateway: row.gateway.unwrap_or_default(),
        status: status.as_str().to_owned(),
        reason,
        provider_id: row.provider_id.unwrap_or_default(),
    }
}
