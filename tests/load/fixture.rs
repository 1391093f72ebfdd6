//! What is sent: one campaign's chunks, and the same messages byte for byte for the floors.

use anyhow::Result;
use carillon_domain::audience::Audience;
use carillon_domain::content::{Content, JsonText};
use carillon_domain::ids::{NotificationId, RunId};
use carillon_domain::notification::{Draft, Notification, Priority};
use carillon_domain::platform::Platform;
use carillon_payload::{Facts, Splice, Template};
use carillon_vault::{Context, Vault};
use carillon_wire::events::splice::What;
use carillon_wire::events::{
    Delivery, DispatchChunk, DispatchChunks, SealedCredential, Splice as WireSplice, Target, Variant,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::subscriptions::Subscriptions;

/// Recipients of a chunk.
pub(crate) const CHUNK: usize = 500;
/// The master key of everything that the bench seals.
pub(crate) const MASTER: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
pub(crate) const TENANT: &str = "bench";
pub(crate) const APP: &str = "shop";
/// The tag of every second device.
pub(crate) const TAG: &str = "winter";
pub(crate) const TEAM: &str = "TEAM123456";
pub(crate) const BUNDLE: &str = "com.example.shop";
/// The Firebase project.
pub(crate) const PROJECT: &str = "bench-push";
/// For the services between each other.
pub(crate) const INTERNAL: &str = "internal-token-of-the-bench";

/// What an ordinary campaign says.
pub(crate) fn draft(to: Audience) -> Draft {
    Draft {
        app: APP.into(),
        to,
        content: Content {
            title: Some("Everything for the winter".into()),
            body: Some("From today until Sunday: coats, boots and sledges at half the price, in every shop.".into()),
            sound: Some("default".into()),
            data: vec![("campaign".into(), JsonText("\"winter-26\"".into()))],
            ..Content::default()
        },
        ..Draft::default()
    }
}

/// [`draft`], validated.
pub(crate) fn notification(to: Audience) -> Result<Notification> {
    draft(to).validate(jiff::Timestamp::now()).map_err(|faults| anyhow::anyhow!("{faults:?}"))
}

/// A device's token: its ordinal, and digits that look like nothing, so that neither a cache nor HPACK gains by repetition.
pub(crate) fn apns_token(ordinal: u64) -> String {
    let mix = |n: u64| {
        let mut z = ordinal.wrapping_mul(4).wrapping_add(n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    format!("{ordinal:016x}{:016x}{:016x}{:016x}", mix(1), mix(2), mix(3))
}

/// The public id of a device.
pub(crate) fn device_id(ordinal: u64) -> String {
    format!("device-{ordinal:012}")
}

/// One run over devices `0..count`, as the segmenter would publish it for a platform.
pub(crate) struct Campaign {
    pub(crate) run: RunId,
    pub(crate) platform: Platform,
    pub(crate) template: Template,
    pub(crate) delivery: carillon_payload::Delivery,
    pub(crate) expires_at: jiff::Timestamp,
    sealed: Vec<u8>,
    pub(crate) count: usize,
    /// Web Push: for whom messages are encrypted.
    pub(crate) subscriptions: Option<Subscriptions>,
}

impl Campaign {
    /// `credential` is what the sealed credential holds.
    pub(crate) fn new(platform: Platform, count: usize, credential: &Value) -> Result<Self> {
        let notification = notification(Audience { all: true, ..Audience::default() })?;
        let id = NotificationId(Uuid::now_v7());
        let expires_at = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 28);
        let facts = Facts { notification_id: id, link: 0, expires_at, icon_url: None, default_locale: None };
        let template = carillon_payload::render(&notification, platform, None, &facts)?;
        let delivery = carillon_payload::delivery(&notification, platform, &facts);
        let sealed = seal(platform.as_str(), &credential.to_string())?;
        Ok(Self { run: id.as_run(), platform, template, delivery, expires_at, sealed, count, subscriptions: None })
    }

    /// One message a chunk.
    pub(crate) fn messages(&self) -> Vec<DispatchChunks> {
        let now = jiff::Timestamp::now().as_millisecond();
        let chunks = (0..self.count).step_by(CHUNK).enumerate();
        chunks
            .map(|(number, first)| DispatchChunks {
                chunks: vec![self.chunk(number as u32, first..(first + CHUNK).min(self.count), now)],
                published_at_ms: now,
            })
            .collect()
    }

    fn chunk(&self, number: u32, devices: std::ops::Range<usize>, now: i64) -> DispatchChunk {
        let what = |splice: Splice| match splice {
            Splice::Token => What::Token,
            Splice::Device => What::Device,
            Splice::Reference => What::Reference,
            Splice::TtlSeconds => What::TtlSeconds,
        };
        let splices = self.template.splices().iter();
        let splices =
            splices.map(|(offset, splice)| WireSplice { offset: *offset, what: what(*splice) as i32 }).collect();
        let target = |(position, ordinal): (usize, usize)| {
            let (device, position) = (device_id(ordinal as u64), position as u32);
            let target = Target { position, device, generation: 1, environment: 1, ..Target::default() };
            let Some(subscription) = self.subscriptions.as_ref().map(|all| all.get(ordinal)) else {
                return Target { token: apns_token(ordinal as u64), ..target };
            };
            let (p256dh, auth) = (subscription.p256dh.clone(), subscription.auth.clone());
            Target { token: subscription.endpoint.clone(), p256dh, auth, ..target }
        };
        DispatchChunk {
            run_id: self.run.0.as_bytes().to_vec(),
            chunk: number,
            notification_id: self.run.0.as_bytes().to_vec(),
            tenant: TENANT.into(),
            app: APP.into(),
            credential: Some(SealedCredential { version: 1, sealed: self.sealed.clone().into() }),
            released_at_ms: now,
            expires_at_ms: self.expires_at.as_millisecond(),
            delivery: Some(Delivery {
                shown: self.delivery.shown,
                high_priority: self.delivery.priority == Priority::High,
                collapse_id: self.delivery.collapse_id.clone(),
                collapse_chosen: self.delivery.collapse_chosen,
                interruption_level: String::new(),
            }),
            variants: vec![Variant { body: self.template.bytes().clone(), splices }],
            targets: devices.enumerate().map(target).collect(),
            ..DispatchChunk::default()
        }
    }
}

/// An APNs credential as a tenant uploads it.
pub(crate) fn apns_credential(private_key: &str, key_id: &str) -> Value {
    json!({"auth": "token", "key_id": key_id, "team_id": TEAM, "bundle_id": BUNDLE, "private_key": private_key})
}

/// Seals a credential of the bench's app.
pub(crate) fn seal(kind: &str, plain: &str) -> Result<Vec<u8>> {
    let vault = Vault::from_list(MASTER).and_then(|vault| vault.for_kind(kind)).map_err(|e| anyhow::anyhow!("{e}"))?;
    let context = Context { tenant: TENANT, app: Some(APP), kind, version: 1 };
    vault.seal(&context, plain.as_bytes()).map_err(|e| anyhow::anyhow!("{e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_has_a_token_of_its_own_that_begins_with_its_ordinal() {
        let tokens: std::collections::BTreeSet<String> = (0..1000).map(apns_token).collect();
        assert_eq!(tokens.len(), 1000);
        assert!(apns_token(17).starts_with("0000000000000011"));
        assert_eq!(apns_token(17).len(), 64);
    }
}
