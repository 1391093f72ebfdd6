//! An application server: encrypts by RFC 8291 on ring, signs by RFC 8292.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use provider_sim::Subscription;
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{aead, hkdf};
use serde_json::{Value, json};

use super::plain::Ask;
use super::{Signer, base64, jwt, now};

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive(salt: &[u8], secret: &[u8], info: &[u8], length: usize) -> Vec<u8> {
    let mut derived = vec![0; length];
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    prk.expand(&[info], Length(length)).unwrap().fill(&mut derived).unwrap();
    derived
}

/// One record with the delimiter and so many bytes of padding.
pub fn encrypt(subscription: &Subscription, plain: &[u8], padding: usize) -> Vec<u8> {
    let mut padded = plain.to_vec();
    padded.push(2);
    padded.resize(padded.len() + padding, 0);
    encrypt_padded(subscription, &padded)
}

/// One record with the padding already there.
pub fn encrypt_padded(subscription: &Subscription, padded: &[u8]) -> Vec<u8> {
    let public = URL_SAFE_NO_PAD.decode(&subscription.keys.p256dh).unwrap();
    let auth = URL_SAFE_NO_PAD.decode(&subscription.keys.auth).unwrap();
    let random = SystemRandom::new();
    let own = EphemeralPrivateKey::generate(&ECDH_P256, &random).unwrap();
    let point = own.compute_public_key().unwrap();
    let mut salt = [0; 16];
    random.fill(&mut salt).unwrap();
    let peer = UnparsedPublicKey::new(&ECDH_P256, &public);
    let shared = agree_ephemeral(own, &peer, |shared| shared.to_vec()).unwrap();
    let info = [b"WebPush: info\0".as_slice(), &public, point.as_ref()].concat();
    let ikm = derive(&auth, &shared, &info, 32);
    let key = derive(&salt, &ikm, b"Content-Encoding: aes128gcm\0", 16);
    let nonce = derive(&salt, &ikm, b"Content-Encoding: nonce\0", 12);
    let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_128_GCM, &key).unwrap());
    let mut record = padded.to_vec();
    let nonce = aead::Nonce::try_assume_unique_for_key(&nonce).unwrap();
    key.seal_in_place_append_tag(nonce, aead::Aad::empty(), &mut record).unwrap();
    [salt.as_slice(), &4096u32.to_be_bytes(), &[65], point.as_ref(), &record].concat()
}

pub fn origin(endpoint: &str) -> String {
    let (scheme, rest) = endpoint.split_once("://").unwrap();
    format!("{scheme}://{}", rest.split('/').next().unwrap())
}

pub fn claims(endpoint: &str) -> Value {
    json!({"aud": origin(endpoint), "exp": now() + 12 * 3600, "sub": "mailto:push@example.org"})
}

pub fn vapid(signer: &Signer, claims: &Value) -> String {
    let token = jwt(&json!({"typ": "JWT", "alg": "ES256"}), claims, |message| signer.sign(message));
    format!("vapid t={token}, k={}", base64(signer.point()))
}

/// A push that is right in everything.
pub fn push(subscription: &Subscription, signer: &Signer, body: &Value) -> Ask {
    Ask::post(&subscription.endpoint)
        .header("authorization", &vapid(signer, &claims(&subscription.endpoint)))
        .header("ttl", "60")
        .header("urgency", "high")
        .header("content-encoding", "aes128gcm")
        .bytes(encrypt(subscription, body.to_string().as_bytes(), 0))
}
