//! A page of a run: which chunks, which cascade rows, who is not tried. Pure.

use crate::audience::Addressee;
use carillon_domain::cascade::{CascadeLink, fires_at_once};
use carillon_domain::delivery_status::{Reason, Status};
use carillon_domain::device::{DeviceState, Permission};
use carillon_domain::limits;
use carillon_domain::platform::Platform;
use carillon_payload::Variants;
use carillon_store::{DeliveryId, NewCascade, Recipient, Suppressed};

/// What planning needs to know of the run.
pub(crate) struct RunFacts<'a> {
    pub shown: bool,
    pub push_enabled: bool,
    pub cascade: Option<&'a CascadeLink>,
    pub first_person: i32,
    pub chunk_recipients: usize,
    pub variants: &'a Variants,
}

/// A chunk with the devices that go into it.
pub(crate) struct PlannedChunk {
    pub platform: Platform,
    pub members: Vec<Recipient>,
    pub person_numbers: Option<Vec<i32>>,
    bytes: usize,
    /// The texts its devices fall to.
    variants: Vec<usize>,
}

/// A planned page.
#[derive(Default)]
pub(crate) struct Plan {
    pub chunks: Vec<PlannedChunk>,
    pub suppressed: Vec<Suppressed>,
    pub cascades: Vec<NewCascade>,
    pub persons: i32,
}

/// Plans a page from whole persons in order. A chunk closes at the number of recipients, where its targets
/// would take more than half of the bytes it may have, or where it would need more variants than it may carry.
pub(crate) fn plan(facts: &RunFacts<'_>, addressees: Vec<Addressee>) -> Plan {
    let mut plan = Plan { persons: addressees.len() as i32, ..Default::default() };
    let mut open: [Option<PlannedChunk>; Platform::ALL.len()] = Default::default();
    for (i, addressee) in addressees.into_iter().enumerate() {
        let number = facts.first_person + i as i32;
        let mut ending = Ending::default();
        if addressee.devices.is_empty() {
            let reason = if addressee.only_invalid { Reason::TokenInvalid } else { Reason::NoDevice };
            let reason = if facts.push_enabled { reason } else { Reason::PushDisabled };
            ending.note(reason);
            plan.suppressed.push(Suppressed {
                subject: DeliveryId::person_subject(number),
                platform: None,
                person: Some(addressee.person.clone()),
                reason,
            });
        }
        for device in addressee.devices {
            if let Some(reason) = hindrance(facts, &device) {
                ending.note(reason);
                let platform = Some(device.platform);
                plan.suppressed.push(Suppressed { subject: device.key.0, platform, person: None, reason });
                continue;
            }
            ending.open = ending.open.saturating_add(1);
            let slot = &mut open[device.platform as usize - 1];
            plan.chunks.extend(add(slot, device, facts.cascade.map(|_| number), facts));
        }
        if let Some(link) = facts.cascade {
            plan.cascades.push(NewCascade {
                person_number: number,
                person: addressee.person,
                phone: addressee.phone,
                locale: addressee.locale,
                unless: link.unless,
                within: link.within.0,
                open_devices: ending.open,
                fires: ending.fires,
            });
        }
    }
    plan.chunks.extend(open.into_iter().flatten());
    plan
}

#[derive(Default)]
struct Ending {
    open: i16,
    fires: bool,
}

impl Ending {
    fn note(&mut self, reason: Reason) {
        self.fires |= fires_at_once(Status::Suppressed, Some(reason));
    }
}

/// Why a device is not tried.
fn hindrance(facts: &RunFacts<'_>, device: &Recipient) -> Option<Reason> {
    if !facts.push_enabled {
        Some(Reason::PushDisabled)
    } else if device.state == DeviceState::Invalid {
        Some(Reason::TokenInvalid)
    } else if device.state != DeviceState::Active {
        Some(Reason::Inactive)
    } else if facts.shown && device.permission == Permission::Denied {
        Some(Reason::PermissionDenied)
    } else {
        None
    }
}

/// Adds a device to the platform's open chunk; returns the chunk that this closed.
fn add(
    slot: &mut Option<PlannedChunk>,
    device: Recipient,
    person_number: Option<i32>,
    facts: &RunFacts<'_>,
) -> Option<PlannedChunk> {
    let variant = facts.variants.index(device.locale.as_deref());
    let bytes = device.token.len() + device.device.len() + device.p256dh.len() + device.auth.len() + 32;
    let full = slot.as_ref().is_some_and(|c| {
        c.members.len() >= facts.chunk_recipients
            || c.bytes + bytes > limits::CHUNK_BYTES / 2
            || (c.variants.len() >= limits::CHUNK_VARIANTS && !c.variants.contains(&variant))
    });
    let closed = if full { slot.take() } else { None };
    let chunk = slot.get_or_insert_with(|| PlannedChunk {
        platform: device.platform,
        members: Vec::new(),
        person_numbers: person_number.map(|_| Vec::new()),
        bytes: 0,
        variants: Vec::new(),
    });
    if !chunk.variants.contains(&variant) {
        chunk.variants.push(variant);
    }
    chunk.bytes += bytes;
    chunk.members.push(device);
    if let (Some(numbers), Some(number)) = (&mut chunk.person_numbers, person_number) {
        numbers.push(number);
    }
    closed
}
