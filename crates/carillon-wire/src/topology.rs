//! EVERY exchange, queue and binding. A fixed number of queues, platform x lane, none per tenant: fairness between tenants is
//! the segmenter's.

use crate::events::{DispatchChunks, NotificationsAccepted};
use carillon_broker::{Binding, Exchange, ExchangeKind, Queue, Raw, Topology};
use carillon_domain::platform::{Lane, Platform};

/// Where services outside publish events (contract, section 10). No alternate exchange: with `mandatory` a stranger's message
/// comes back to the stranger.
pub const EVENTS: Exchange = Exchange { name: "carillon.events", kind: ExchangeKind::Topic, alternate: None };
/// Where answers to intake messages go, under the `reply_to` as routing key.
pub const REPLIES: Exchange = Exchange { name: "carillon.events.replies", kind: ExchangeKind::Topic, alternate: None };
/// Where refusals go that nobody asked to have answered.
pub const REFUSED: Exchange = Exchange { name: "carillon.events.refused", kind: ExchangeKind::Topic, alternate: None };
/// Status events for whoever binds a queue: `<tenant>.<app>.<push|sms>.<platform|none>.<status>`.
pub const STATUSES: Exchange = Exchange { name: "carillon.statuses", kind: ExchangeKind::Topic, alternate: None };
/// Work inside the platform.
pub const WORK: Exchange =
    Exchange { name: "carillon.work", kind: ExchangeKind::Direct, alternate: Some("unroutable") };

/// Events from services outside.
pub const INTAKE: Queue<Raw> =
    Queue::new("ingest-api.events", &[Binding { exchange: EVENTS.name, key: "notification.requested" }]);
/// Refused events, kept for whoever wants to look.
pub const INTAKE_REFUSED: Queue<Raw> =
    Queue::new("ingest-api.refused", &[Binding { exchange: REFUSED.name, key: "#" }]);

/// Wake-ups of the segmenter.
pub const RUNS_TRANSACTIONAL: Queue<NotificationsAccepted> =
    Queue::new("segmenter.runs.transactional", &[Binding { exchange: WORK.name, key: "segmenter.runs.transactional" }]);
/// Wake-ups of the segmenter for campaigns.
pub const RUNS_BULK: Queue<NotificationsAccepted> =
    Queue::new("segmenter.runs.bulk", &[Binding { exchange: WORK.name, key: "segmenter.runs.bulk" }]);

macro_rules! dispatcher_queues {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)+) => {
        $($(#[$doc])* pub const $name: Queue<DispatchChunks> = Queue::new($text, &[Binding { exchange: WORK.name, key: $text }]);)+
    };
}

dispatcher_queues! {
    /// APNs, few recipients.
    APNS_TRANSACTIONAL = "dispatcher-apns.transactional";
    /// APNs, campaigns.
    APNS_BULK = "dispatcher-apns.bulk";
    /// FCM, few recipients.
    FCM_TRANSACTIONAL = "dispatcher-fcm.transactional";
    /// FCM, campaigns.
    FCM_BULK = "dispatcher-fcm.bulk";
    /// Web Push, few recipients.
    WEBPUSH_TRANSACTIONAL = "dispatcher-webpush.transactional";
    /// Web Push, campaigns.
    WEBPUSH_BULK = "dispatcher-webpush.bulk";
}

/// The queue of a platform's dispatcher and a lane.
pub fn chunks(platform: Platform, lane: Lane) -> &'static Queue<DispatchChunks> {
    match (platform, lane) {
        (Platform::Apns, Lane::Transactional) => &APNS_TRANSACTIONAL,
        (Platform::Apns, Lane::Bulk) => &APNS_BULK,
        (Platform::Fcm, Lane::Transactional) => &FCM_TRANSACTIONAL,
        (Platform::Fcm, Lane::Bulk) => &FCM_BULK,
        (Platform::Webpush, Lane::Transactional) => &WEBPUSH_TRANSACTIONAL,
        (Platform::Webpush, Lane::Bulk) => &WEBPUSH_BULK,
    }
}

/// The segmenter's queue of a lane.
pub fn runs(lane: Lane) -> &'static Queue<NotificationsAccepted> {
    match lane {
        Lane::Transactional => &RUNS_TRANSACTIONAL,
        Lane::Bulk => &RUNS_BULK,
    }
}

/// The whole topology.
pub fn topology() -> Topology {
    let mut queues = vec![INTAKE.spec(), INTAKE_REFUSED.spec(), RUNS_TRANSACTIONAL.spec(), RUNS_BULK.spec()];
    for platform in Platform::ALL {
        for lane in Lane::ALL {
            queues.push(chunks(*platform, *lane).spec());
        }
    }
    Topology::new(&[EVENTS, REPLIES, REFUSED, STATUSES, WORK], &queues)
}
