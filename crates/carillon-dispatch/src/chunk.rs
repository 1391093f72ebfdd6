//! A chunk as the engine works on it, read once from what travelled.

use bytes::Bytes;
use carillon_domain::delivery_status::Reason;
use carillon_domain::device::Environment;
use carillon_domain::ids::{ChunkId, NotificationId, RunId};
use carillon_domain::limits;
use carillon_domain::reference::Reference;
use carillon_payload::{Splice, Template};
use carillon_wire::events;
use carillon_wire::events::splice::What;
use carillon_wire::internal::ChunkCopy;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::provider::ChunkFacts;
use crate::trace::Trace;

const NOW_OR_NEVER: SignedDuration = SignedDuration::from_secs(limits::NOW_OR_NEVER_SECONDS as i64);

/// A chunk that cannot be what a segmenter of ours made. Names the field, never its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chunk's {0} is not what it should be")]
pub(crate) struct Malformed(&'static str);

pub(crate) struct Chunk {
    pub(crate) id: ChunkId,
    pub(crate) copy: u32,
    pub(crate) facts: ChunkFacts,
    pub(crate) credential_version: u32,
    pub(crate) sealed: Bytes,
    pub(crate) released_at: Timestamp,
    pub(crate) grant: Option<AdvanceGrant>,
    /// The rendered bodies with their splice points.
    pub(crate) variants: Vec<Template>,
    /// Ascending by position.
    pub(crate) targets: Vec<Target>,
    pub(crate) trace: Trace,
}

/// A claim that was granted when the chunk was inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdvanceGrant {
    pub(crate) lease: u64,
    pub(crate) granted_at_ms: i64,
    pub(crate) lease_ms: u32,
}

pub(crate) struct Target {
    pub(crate) position: u16,
    pub(crate) device: String,
    pub(crate) generation: u32,
    pub(crate) token: String,
    /// The token is a Firebase installation id.
    pub(crate) is_installation: bool,
    pub(crate) p256dh: Vec<u8>,
    pub(crate) auth: Vec<u8>,
    pub(crate) environment: Environment,
    pub(crate) variant: usize,
    pub(crate) suppressed: Option<Reason>,
}

impl Chunk {
    /// To be called inside the message's span.
    pub(crate) fn read(wire: events::DispatchChunk) -> Result<Self, Malformed> {
        let run = RunId(Uuid::from_slice(&wire.run_id).map_err(|_| Malformed("run id"))?);
        let notification =
            NotificationId(Uuid::from_slice(&wire.notification_id).map_err(|_| Malformed("notification id"))?);
        let delivery = wire.delivery.ok_or(Malformed("delivery"))?;
        // An app without a credential: it does not open, and its messages are held until there is one.
        let credential = wire.credential.unwrap_or_default();
        let time = |ms, what| Timestamp::from_millisecond(ms).map_err(|_| Malformed(what));
        let released_at = time(wire.released_at_ms, "release")?;
        let expires_at = time(wire.expires_at_ms, "expiry")?;
        let now_or_never = expires_at <= released_at;
        let mut targets = wire.targets.into_iter().map(Target::read).collect::<Result<Vec<_>, _>>()?;
        targets.sort_by_key(|target| target.position);
        let id = ChunkId { run, number: wire.chunk };
        Ok(Self {
            id,
            copy: wire.copy,
            facts: ChunkFacts {
                run,
                notification,
                tenant: wire.tenant,
                app: wire.app,
                link: wire.link,
                expires_at: if now_or_never {
                    released_at.saturating_add(NOW_OR_NEVER).unwrap_or(released_at)
                } else {
                    expires_at
                },
                now_or_never,
                shown: delivery.shown,
                high_priority: delivery.high_priority,
                collapse_id: delivery.collapse_id,
                collapse_chosen: delivery.collapse_chosen,
                interruption_level: Some(delivery.interruption_level).filter(|level| !level.is_empty()),
            },
            credential_version: credential.version,
            sealed: credential.sealed,
            released_at,
            grant: wire.grant.map(|grant| AdvanceGrant {
                lease: grant.lease,
                granted_at_ms: grant.granted_at_ms,
                lease_ms: grant.lease_ms,
            }),
            variants: wire.variants.into_iter().map(template).collect::<Result<_, _>>()?,
            targets,
            trace: Trace::of(&wire.traceparent, id),
        })
    }

    /// The index of a position's target.
    pub(crate) fn index_of(&self, position: u32) -> Option<usize> {
        let position = u16::try_from(position).ok()?;
        self.targets.binary_search_by_key(&position, |target| target.position).ok()
    }

    pub(crate) fn reference(&self, target: &Target) -> Reference {
        Reference { chunk: self.id, position: target.position }
    }

    /// The chunk's name in a claim. The lease that was granted in advance is ours to exchange if no other copy can be at work under it.
    pub(crate) fn named(&self, redelivered: bool) -> ChunkCopy {
        let own = self.grant.filter(|_| self.copy == 0 && !redelivered);
        ChunkCopy {
            run_id: self.id.run.0.as_bytes().to_vec(),
            chunk: self.id.number,
            copy: self.copy,
            advance_lease: own.map_or(0, |grant| grant.lease),
        }
    }
}

fn template(wire: events::Variant) -> Result<Template, Malformed> {
    let splice = |splice: &events::Splice| {
        let what = match What::try_from(splice.what) {
            Ok(What::Token) => Splice::Token,
            Ok(What::Device) => Splice::Device,
            Ok(What::Reference) => Splice::Reference,
            Ok(What::TtlSeconds) => Splice::TtlSeconds,
            Ok(What::Unspecified) | Err(_) => return Err(Malformed("splice")),
        };
        Ok((splice.offset, what))
    };
    let splices = wire.splices.iter().map(splice).collect::<Result<Vec<_>, _>>()?;
    Template::new(wire.body, splices).map_err(|_| Malformed("splice point"))
}

impl Target {
    fn read(wire: events::Target) -> Result<Self, Malformed> {
        Ok(Self {
            position: u16::try_from(wire.position).map_err(|_| Malformed("position"))?,
            device: wire.device,
            generation: wire.generation,
            token: wire.token,
            is_installation: wire.is_installation,
            p256dh: wire.p256dh,
            auth: wire.auth,
            environment: i16::try_from(wire.environment)
                .ok()
                .and_then(Environment::from_number)
                .unwrap_or(Environment::Unknown),
            variant: wire.variant as usize,
            suppressed: match wire.suppressed {
                0 => None,
                // A reason that a newer segmenter knows still means: do not send.
                number => Some(i16::try_from(number).ok().and_then(Reason::from_number).unwrap_or(Reason::Inactive)),
            },
        })
    }
}
