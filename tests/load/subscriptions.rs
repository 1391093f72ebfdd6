//! Subscriptions of browsers, and what an application server does for each message to one (RFC 8291): the least of it, for the floor.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{aead, agreement, hkdf};
use serde_json::{Value, json};

use crate::floor_publish;
use crate::processes::{Talker, wait_for_a_line};
use crate::report::say;
use crate::simulators::Simulators;

/// Bytes of a public key.
const POINT: usize = 65;
const AUTH: usize = 16;
const SALT: usize = 16;
/// Made in one call.
const AT_ONCE: usize = 5_000;

/// Where a message goes, and for whom it is encrypted.
pub(crate) struct Subscription {
    pub(crate) endpoint: String,
    pub(crate) p256dh: Vec<u8>,
    pub(crate) auth: Vec<u8>,
}

/// One for each device of a campaign.
pub(crate) struct Subscriptions(Vec<Subscription>);

impl Subscriptions {
    /// Has the simulator make them.
    pub(crate) async fn create(simulators: &Simulators, count: usize) -> Result<Self> {
        let mut all = Vec::with_capacity(count);
        while all.len() < count {
            for one in simulators.webpush_subscriptions(AT_ONCE.min(count - all.len())).await? {
                let text = |value: &Value| value.as_str().map(str::to_owned).context("a subscription");
                let bytes = |value: &Value| Ok::<_, anyhow::Error>(URL_SAFE_NO_PAD.decode(text(value)?)?);
                let keys = &one["keys"];
                let (p256dh, auth) = (bytes(&keys["p256dh"])?, bytes(&keys["auth"])?);
                all.push(Subscription { endpoint: text(&one["endpoint"])?, p256dh, auth });
            }
        }
        Ok(Self(all))
    }

    pub(crate) fn get(&self, ordinal: usize) -> &Subscription {
        &self.0[ordinal]
    }
}

/// A message under a key pair of its own, padded as the platform pads it.
pub(crate) fn encrypt(p256dh: &[u8], auth: &[u8], text: &[u8]) -> Result<Vec<u8>> {
    seal(p256dh, auth, text).ok().context("a message cannot be encrypted")
}

fn seal(p256dh: &[u8], auth: &[u8], text: &[u8]) -> Result<Vec<u8>, ring::error::Unspecified> {
    let random = SystemRandom::new();
    let mut salt = [0; SALT];
    random.fill(&mut salt)?;
    let own = agreement::EphemeralPrivateKey::generate(&agreement::ECDH_P256, &random)?;
    let point = own.compute_public_key()?;
    let theirs = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, p256dh);
    let info = [b"WebPush: info\0", p256dh, point.as_ref()].concat();
    let (key, nonce) = agreement::agree_ephemeral(own, &theirs, |secret| {
        let input: [u8; 32] = derive(&hkdf::Salt::new(hkdf::HKDF_SHA256, auth).extract(secret), &info)?;
        let keys = hkdf::Salt::new(hkdf::HKDF_SHA256, &salt).extract(&input);
        let key: [u8; 16] = derive(&keys, b"Content-Encoding: aes128gcm\0")?;
        let nonce: [u8; aead::NONCE_LEN] = derive(&keys, b"Content-Encoding: nonce\0")?;
        Ok::<_, ring::error::Unspecified>((key, nonce))
    })??;
    let padded = (text.len() + 1).next_multiple_of(128);
    let mut record = Vec::with_capacity(padded + aead::MAX_TAG_LEN);
    record.extend_from_slice(text);
    record.push(2);
    record.resize(padded, 0);
    let sealing = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_128_GCM, &key)?);
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    sealing.seal_in_place_append_tag(nonce, aead::Aad::empty(), &mut record)?;
    Ok([&salt[..], &4096u32.to_be_bytes(), &[POINT as u8], point.as_ref(), &record].concat())
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive<const N: usize>(key: &hkdf::Prk, info: &[u8]) -> Result<[u8; N], ring::error::Unspecified> {
    let mut out = [0; N];
    key.expand(&[info], Length(N))?.fill(&mut out)?;
    Ok(out)
}

/// The process: `floor-crypto FILE`, with a record of public key, secret and plaintext for each message. Encrypts everything once.
pub(crate) fn run(arguments: &[String]) -> Result<bool> {
    let [file] = arguments else { bail!("one word is needed") };
    let messages = floor_publish::read(Path::new(file))?;
    say("ready");
    wait_for_a_line()?;
    let (began, mut bytes) = (Instant::now(), 0);
    for message in &messages {
        let (p256dh, rest) = message.split_at(POINT);
        let (auth, text) = rest.split_at(AUTH);
        bytes += Bytes::from(encrypt(p256dh, auth, text)?).len();
    }
    say(&json!({"bytes": bytes, "messages": messages.len(), "seconds": began.elapsed().as_secs_f64()}).to_string());
    wait_for_a_line()?;
    Ok(true)
}

/// Runs the process: how long it took, and its CPU.
pub(crate) fn measure(file: &Path, count: u64) -> Result<(Duration, Duration)> {
    let mut talker = Talker::start(&["floor-crypto".to_owned(), file.display().to_string()])?;
    ensure!(talker.hear()? == "ready", "the floor is not ready");
    let before = talker.cpu()?;
    talker.go()?;
    let said: Value = serde_json::from_str(&talker.hear()?)?;
    ensure!(said["messages"] == count, "the floor encrypted {} of {count}", said["messages"]);
    let cpu = talker.cpu()? - before;
    Ok((Duration::from_secs_f64(said["seconds"].as_f64().context("seconds")?), cpu))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_holds_the_subscription_reads_the_message() {
        let random = SystemRandom::new();
        let own = agreement::EphemeralPrivateKey::generate(&agreement::ECDH_P256, &random).unwrap();
        let public = own.compute_public_key().unwrap();
        let (auth, text) = ([7; AUTH], b"Everything for the winter");
        let body = encrypt(public.as_ref(), &auth, text).unwrap();
        let (header, record) = body.split_at(SALT + 5 + POINT);
        let (salt, point) = (&header[..SALT], &header[SALT + 5..]);
        let info = [b"WebPush: info\0", public.as_ref(), point].concat();
        let theirs = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, point);
        let input: [u8; 32] = agreement::agree_ephemeral(own, &theirs, |secret| {
            derive(&hkdf::Salt::new(hkdf::HKDF_SHA256, &auth).extract(secret), &info)
        })
        .unwrap()
        .unwrap();
        let keys = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(&input);
        let key: [u8; 16] = derive(&keys, b"Content-Encoding: aes128gcm\0").unwrap();
        let nonce = aead::Nonce::assume_unique_for_key(derive(&keys, b"Content-Encoding: nonce\0").unwrap());
        let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_128_GCM, &key).unwrap());
        let mut record = record.to_vec();
        let plain = key.open_in_place(nonce, aead::Aad::empty(), &mut record).unwrap();
        assert_eq!((&plain[..text.len()], plain[text.len()], plain.len()), (&text[..], 2, 128));
    }
}
