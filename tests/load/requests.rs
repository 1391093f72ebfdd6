//! The requests that a dispatcher would send, byte for byte, in a file for the floors to read: shared headers, then path, apns-id and body of
//! each message.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carillon_domain::ids::ChunkId;
use carillon_domain::notification::Priority;
use carillon_domain::platform::Platform;
use carillon_domain::reference::Reference;
use carillon_payload::{Address, Values};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::fixture::{BUNDLE, CHUNK, Campaign, PROJECT, apns_token, device_id};
use crate::subscriptions;

/// Seconds that a message has left: the platform's usual time to live.
const TTL: u32 = 2_419_200;
/// Characters of a topic (RFC 8030, section 5.4).
const TOPIC: usize = 32;

/// Writes them for a campaign. `plaintexts` is where Web Push's messages go as they were before encryption, each with its keys.
pub(crate) fn write(campaign: &Campaign, path: &Path, plaintexts: &Path, authorization: &str) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "{}", headers(campaign, authorization))?;
    let mut plain = Vec::new();
    for ordinal in 0..campaign.count {
        let device = device_id(ordinal as u64);
        let token = apns_token(ordinal as u64);
        let text = body(campaign, ordinal, &device, &token);
        let (path, id, body) = match campaign.platform {
            Platform::Apns => {
                // The id that a dispatcher gives the message: the same bytes on the wire.
                let name = [device.as_bytes(), &[0], &0u32.to_be_bytes()].concat();
                (format!("/3/device/{token}"), Uuid::new_v5(&campaign.run.0, &name).to_string(), text)
            }
            Platform::Webpush => {
                let to = campaign.subscriptions.as_ref().context("no subscriptions")?.get(ordinal);
                let body = subscriptions::encrypt(&to.p256dh, &to.auth, &text)?;
                plain.push([to.p256dh.as_slice(), to.auth.as_slice(), text.as_slice()].concat());
                let path = to.endpoint.splitn(4, '/').nth(3).context("an endpoint with a path")?;
                (format!("/{path}"), String::new(), body)
            }
            _ => (format!("/v1/projects/{PROJECT}/messages:send"), String::new(), text),
        };
        for part in [path.into_bytes(), id.into_bytes(), body] {
            file.write_all(&u32::try_from(part.len())?.to_le_bytes())?;
            file.write_all(&part)?;
        }
    }
    if !plain.is_empty() {
        crate::floor_publish::write(plaintexts, &plain)?;
    }
    file.flush().map_err(Into::into)
}

fn body(campaign: &Campaign, ordinal: usize, device: &str, token: &str) -> Vec<u8> {
    let chunk = ChunkId { run: campaign.run, number: (ordinal / CHUNK) as u32 };
    let reference = Reference { chunk, position: (ordinal % CHUNK) as u16 };
    campaign.template.render(&Values::new(Address::Token(token), device, reference, TTL))
}

fn headers(campaign: &Campaign, authorization: &str) -> Value {
    let (delivery, high) = (&campaign.delivery, campaign.delivery.priority == Priority::High);
    match campaign.platform {
        Platform::Apns => json!({
            "apns-topic": BUNDLE,
            "apns-push-type": if delivery.shown { "alert" } else { "background" },
            "apns-priority": if high { "10" } else { "5" },
            "apns-expiration": campaign.expires_at.as_second().to_string(),
            "apns-collapse-id": delivery.collapse_id,
            "authorization": authorization,
        }),
        Platform::Webpush => {
            let digest = ring::digest::digest(&ring::digest::SHA256, delivery.collapse_id.as_bytes());
            let mut topic = URL_SAFE_NO_PAD.encode(digest);
            topic.truncate(TOPIC);
            json!({
                "content-type": "application/octet-stream",
                "content-encoding": "aes128gcm",
                "urgency": if high { "high" } else { "normal" },
                "topic": topic,
                "ttl": TTL.to_string(),
                "authorization": authorization,
            })
        }
        _ => json!({"content-type": "application/json", "authorization": authorization}),
    }
}
