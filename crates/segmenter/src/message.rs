//! The messages of chunks, with what each target needs.

use crate::text::{Renderer, RunText};
use carillon_broker::Outgoing;
use carillon_domain::delivery_status::Reason;
use carillon_domain::device::{DeviceState, Permission};
use carillon_domain::ids::ChunkId;
use carillon_domain::limits;
use carillon_domain::notification::Priority;
use carillon_domain::platform::{Lane, Platform};
use carillon_store::Recipient;
use carillon_telemetry::RemoteContext;
use carillon_wire::events::{AdvanceGrant, Delivery, DispatchChunk, DispatchChunks, Target};
use carillon_wire::topology;
use jiff::Timestamp;

/// From this copy on a chunk travels alone: whoever had it four times did not come to its end, perhaps because of it, and the ledger
/// sets aside what fails twice more. It must not take others along.
const ALONE_FROM: u32 = 4;

/// One position of a chunk's message.
pub(crate) struct Member {
    pub position: u16,
    /// `None`: the device is gone or changed hands.
    pub device: Option<Recipient>,
}

/// A chunk's message. A variant that does not fit its platform (an icon or a default locale changed since it was accepted) closes its
/// positions with that reason; the others are sent.
pub(crate) fn chunk(
    renderer: &mut Renderer<'_>,
    platform: Platform,
    id: ChunkId,
    copy: u32,
    grant: Option<AdvanceGrant>,
    members: impl ExactSizeIterator<Item = Member>,
) -> DispatchChunk {
    let mut used: Vec<usize> = Vec::new();
    let mut targets = Vec::with_capacity(members.len());
    let mut bytes = 0;
    for member in members {
        // Devices may have got longer tokens or other languages since the chunk was planned. What does not fit any more stays open
        // at its position, and goes with the next copy.
        let Some(target) = target(renderer, platform, member, &mut used) else { continue };
        bytes += carillon_wire::target_len(&target);
        if bytes > limits::CHUNK_BYTES && !targets.is_empty() {
            break;
        }
        targets.push(target);
    }
    let variants = used.iter().filter_map(|index| renderer.variant(platform, *index).cloned()).collect();
    let text = &renderer.text;
    let delivery = carillon_payload::delivery(text.notification, platform, &text.facts());
    DispatchChunk {
        run_id: id.run.0.as_bytes().to_vec(),
        chunk: id.number,
        copy,
        notification_id: text.notification_id.0.as_bytes().to_vec(),
        tenant: text.tenant.to_owned(),
        app: text.notification.draft().app.clone(),
        credential: text.credentials.iter().find(|(p, _)| *p == platform).map(|(_, c)| c.clone()),
        released_at_ms: text.released_at.as_millisecond(),
        expires_at_ms: told_expiry(text).as_millisecond(),
        grant,
        delivery: Some(Delivery {
            shown: delivery.shown,
            high_priority: delivery.priority == Priority::High,
            collapse_id: delivery.collapse_id,
            collapse_chosen: delivery.collapse_chosen,
            interruption_level: delivery.interruption_level.map(|l| l.as_str().to_owned()).unwrap_or_default(),
        }),
        variants,
        targets,
        link: u32::from(text.link),
        traceparent: text.traceparent.to_owned(),
    }
}

/// What goes now or never is told so by an expiry that is over when it is due. The row lives a moment longer, so that what was put off for a second is
/// not taken for expired at once.
fn told_expiry(text: &RunText<'_>) -> Timestamp {
    if text.notification.is_now_or_never() { text.released_at } else { text.expires_at }
}

/// A member as the dispatcher sees it; nothing when the chunk carries as many variants as it may, and not this one.
fn target(renderer: &mut Renderer<'_>, platform: Platform, member: Member, used: &mut Vec<usize>) -> Option<Target> {
    let closed = |reason: Reason| {
        Some(Target { position: u32::from(member.position), suppressed: reason as u32, ..Default::default() })
    };
    if !renderer.text.push_enabled {
        return closed(Reason::PushDisabled);
    }
    let Some(device) = member.device else { return closed(Reason::TokenMoved) };
    match device.state {
        DeviceState::Active => {}
        DeviceState::Invalid => return closed(Reason::TokenInvalid),
        DeviceState::Inactive | DeviceState::Forgotten => return closed(Reason::Inactive),
    }
    if renderer.text.notification.draft().content.is_shown() && device.permission == Permission::Denied {
        return closed(Reason::PermissionDenied);
    }
    let index = renderer.variants().index(device.locale.as_deref());
    if renderer.variant(platform, index).is_none() {
        return closed(Reason::PayloadTooLarge);
    }
    let variant = match used.iter().position(|v| *v == index) {
        Some(variant) => variant,
        None if used.len() >= limits::CHUNK_VARIANTS => return None,
        None => {
            used.push(index);
            used.len() - 1
        }
    };
    Some(Target {
        position: u32::from(member.position),
        device: device.device,
        generation: device.generation,
        token: device.token,
        p256dh: device.p256dh,
        auth: device.auth,
        environment: device.environment as u32,
        variant: variant as u32,
        suppressed: 0,
        is_installation: device.is_installation,
    })
}

/// Puts chunks into messages: small ones travel together, at most 64 recipients and 128 KiB a message, each platform by itself.
pub(crate) fn messages(lane: Lane, chunks: Vec<(Platform, DispatchChunk)>, now: Timestamp) -> Vec<Outgoing> {
    let here = RemoteContext::current();
    let mut parcels: Vec<Parcel> = Vec::new();
    for (platform, chunk) in chunks {
        let (recipients, bytes) = (chunk.targets.len(), carillon_wire::chunk_len(&chunk));
        let alone = chunk.copy >= ALONE_FROM;
        let fits = |p: &Parcel| {
            p.platform == platform
                && !(alone || p.alone)
                && p.recipients + recipients <= limits::PREGRANTED_RECIPIENTS
                && p.bytes + bytes <= limits::CHUNK_BYTES
        };
        match parcels.iter_mut().rev().take(Platform::ALL.len()).find(|p| fits(p)) {
            Some(parcel) => parcel.add(chunk, recipients, bytes),
            None => parcels.push(Parcel { platform, alone, recipients, bytes, chunks: vec![chunk] }),
        }
    }
    parcels.into_iter().map(|parcel| parcel.seal(lane, now, &here)).collect()
}

/// Chunks that travel in one message.
struct Parcel {
    platform: Platform,
    /// Nothing travels with it.
    alone: bool,
    recipients: usize,
    bytes: usize,
    chunks: Vec<DispatchChunk>,
}

impl Parcel {
    fn add(&mut self, chunk: DispatchChunk, recipients: usize, bytes: usize) {
        self.recipients += recipients;
        self.bytes += bytes;
        self.chunks.push(chunk);
    }

    /// The message, under an id that the same work has whenever it is published.
    fn seal(mut self, lane: Lane, now: Timestamp, here: &RemoteContext) -> Outgoing {
        let headers = self.trace(lane, here).headers();
        if lane == Lane::Bulk {
            // A campaign's messages are traces of their own, linked to the one in their header.
            self.chunks.iter_mut().for_each(|chunk| chunk.traceparent.clear());
        }
        let id = self.chunks.first().map_or_else(String::new, |first| {
            let run = uuid::Uuid::from_slice(&first.run_id).unwrap_or_default();
            format!("{run}:{}:{}", first.chunk, first.copy)
        });
        let event = DispatchChunks { chunks: self.chunks, published_at_ms: now.as_millisecond() };
        let message = Outgoing::to(topology::chunks(self.platform, lane), &event).with_id(id);
        headers.into_iter().fold(message, |m, (name, value)| m.with_header(name, value))
    }

    /// The trace that the message's header names: a recorded one of its chunks'. Chunks of which none is recorded are not to
    /// be seen in the trace of a notification that came in the same wake-up.
    fn trace(&self, lane: Lane, here: &RemoteContext) -> RemoteContext {
        let own = self.chunks.iter().map(|chunk| chunk.traceparent.as_str()).find(|text| !text.is_empty());
        match own.map(RemoteContext::from_traceparent) {
            // The same position, with what other tracing systems added.
            Some(own) if own.is_at(here) => here.clone(),
            Some(own) => own,
            None if lane == Lane::Transactional && here.is_sampled() => RemoteContext::none(),
            None => here.clone(),
        }
    }
}
