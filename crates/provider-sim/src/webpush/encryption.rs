//! Message Encryption for Web Push (RFC 8291 over RFC 8188), the receiving side.

use p256::ecdh::diffie_hellman;
use p256::{PublicKey, SecretKey};
use ring::{aead, hkdf};

/// Salt, record size, length of the key id.
const PREFIX: usize = 16 + 4 + 1;
/// The sender's public key as an uncompressed point.
const POINT: usize = 65;
const TAG: usize = 16;

/// A body whose coding header a push service can check without any key.
#[derive(Debug)]
pub(crate) struct Coded<'a> {
    salt: &'a [u8],
    record_size: usize,
    sender: PublicKey,
    sender_point: &'a [u8],
    records: &'a [u8],
}

/// Why a body cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the body is shorter than its coding header")]
    Short,
    #[error("the record size is below 18")]
    RecordSize,
    #[error("the key id is not an uncompressed point of 65 bytes")]
    KeyId,
    #[error("there is more than one record")]
    Records,
    #[error("the record does not decrypt with the subscription's keys")]
    Decrypt,
    #[error("the record has no padding delimiter 2")]
    Padding,
}

/// Reads the header of RFC 8188 as RFC 8291 section 4 restricts it.
pub(crate) fn parse(body: &[u8]) -> Result<Coded<'_>, Fault> {
    let (prefix, rest) = body.split_at_checked(PREFIX).ok_or(Fault::Short)?;
    let (salt, numbers) = prefix.split_at(16);
    let record_size = numbers.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes)) as usize;
    if record_size < TAG + 2 {
        return Err(Fault::RecordSize);
    }
    if numbers.last().copied() != Some(POINT as u8) {
        return Err(Fault::KeyId);
    }
    let (sender_point, records) = rest.split_at_checked(POINT).ok_or(Fault::Short)?;
    let sender = PublicKey::from_sec1_bytes(sender_point).map_err(|_| Fault::KeyId)?;
    if records.len() <= TAG {
        return Err(Fault::Short);
    }
    if records.len() > record_size {
        return Err(Fault::Records);
    }
    Ok(Coded { salt, record_size, sender, sender_point, records })
}

impl Coded<'_> {
    /// Decrypts the single record with the receiver's keys.
    pub(crate) fn decrypt(&self, secret: &SecretKey, public: &[u8], auth: &[u8]) -> Result<Vec<u8>, Fault> {
        debug_assert!(self.records.len() <= self.record_size);
        let shared = diffie_hellman(secret.to_nonzero_scalar(), self.sender.as_affine());
        let mut key_info = Vec::with_capacity(14 + 2 * POINT);
        key_info.extend_from_slice(b"WebPush: info\0");
        key_info.extend_from_slice(public);
        key_info.extend_from_slice(self.sender_point);
        let ikm: [u8; 32] = derive(auth, shared.raw_secret_bytes(), &key_info)?;
        let key: [u8; 16] = derive(self.salt, &ikm, b"Content-Encoding: aes128gcm\0")?;
        let nonce: [u8; 12] = derive(self.salt, &ikm, b"Content-Encoding: nonce\0")?;
        let key = aead::UnboundKey::new(&aead::AES_128_GCM, &key).map_err(|_| Fault::Decrypt)?;
        let mut record = self.records.to_vec();
        let plain = aead::LessSafeKey::new(key)
            .open_in_place(aead::Nonce::assume_unique_for_key(nonce), aead::Aad::empty(), &mut record)
            .map_err(|_| Fault::Decrypt)?;
        let end = plain.iter().rposition(|byte| *byte != 0).ok_or(Fault::Padding)?;
        match plain.get(end) {
            Some(2) => Ok(plain.get(..end).unwrap_or_default().to_vec()),
            _ => Err(Fault::Padding),
        }
    }
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive<const N: usize>(salt: &[u8], secret: &[u8], info: &[u8]) -> Result<[u8; N], Fault> {
    let mut derived = [0; N];
    hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
        .extract(secret)
        .expand(&[info], Length(N))
        .and_then(|material| material.fill(&mut derived))
        .map_err(|_| Fault::Decrypt)?;
    Ok(derived)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    proptest::proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let (_, secret, public, auth) = example();
            if let Ok(coded) = parse(&body) {
                let _ = coded.decrypt(&secret, &public, &auth);
            }
        }
    }

    fn bytes(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    /// RFC 8291 section 5 and appendix A.
    fn example() -> (Vec<u8>, SecretKey, Vec<u8>, Vec<u8>) {
        let body = bytes(concat!(
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml",
            "mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPT",
            "pK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN",
        ));
        let secret = SecretKey::from_slice(&bytes("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94")).unwrap();
        let public = bytes("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4");
        (body, secret, public, bytes("BTBZMqHH6r4Tts7J_aSIgg"))
    }

    #[test]
    fn the_example_of_rfc_8291_decrypts() {
        let (body, secret, public, auth) = example();
        let plain = parse(&body).unwrap().decrypt(&secret, &public, &auth).unwrap();
        assert_eq!(plain, b"When I grow up, I want to be a watermelon");
    }

    #[test]
    fn a_changed_byte_or_other_keys_do_not_decrypt() {
        let (mut body, secret, public, auth) = example();
        assert_eq!(parse(&body).unwrap().decrypt(&secret, &public, &[0; 16]), Err(Fault::Decrypt));
        *body.last_mut().unwrap() ^= 1;
        assert_eq!(parse(&body).unwrap().decrypt(&secret, &public, &auth), Err(Fault::Decrypt));
    }

    #[test]
    fn a_broken_coding_header_is_seen_without_keys() {
        let (body, ..) = example();
        let changed = |place: usize, value: u8| {
            let mut body = body.clone();
            body[place] = value;
            parse(&body).map(drop)
        };
        assert_eq!(parse(&body[..20]).map(drop), Err(Fault::Short));
        assert_eq!(parse(&body[..100]).map(drop), Err(Fault::Short));
        assert_eq!(changed(20, 33), Err(Fault::KeyId));
        assert_eq!(changed(22, 0), Err(Fault::KeyId));
        let mut small = body.clone();
        small[16..20].copy_from_slice(&17u32.to_be_bytes());
        assert_eq!(parse(&small).map(drop), Err(Fault::RecordSize));
        small[16..20].copy_from_slice(&30u32.to_be_bytes());
        assert_eq!(parse(&small).map(drop), Err(Fault::Records));
    }
}
