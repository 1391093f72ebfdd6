//! Message Encryption for Web Push (RFC 8291): one record of `aes128gcm` (RFC 8188), a fresh key pair for each message.

use bytes::{BufMut as _, Bytes, BytesMut};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{aead, agreement, hkdf};

use crate::padding::{MOST_PLAINTEXT, padding};

/// Bytes of an uncompressed point of P-256.
pub(crate) const POINT: usize = 65;
/// Bytes of a subscription's authentication secret.
pub(crate) const AUTH: usize = 16;
const SALT: usize = 16;
const TAG: usize = 16;
/// Salt, record size, length of the key id, key id.
const HEADER: usize = SALT + 4 + 1 + POINT;
/// The record size that is announced. Ours are shorter: a single record is the last one, which may be.
const RECORD: u32 = 4096;
/// Ends the plaintext of the last record (RFC 8188, section 2).
const DELIMITER: u8 = 2;
/// `WebPush: info`, a zero, and both public keys.
const INFO: usize = 14 + 2 * POINT;

/// The keys of a subscription.
#[derive(Clone, Copy)]
pub(crate) struct Recipient<'a> {
    p256dh: &'a [u8; POINT],
    auth: &'a [u8; AUTH],
}

/// Why a message is not encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It does not fit into one record of 4096 bytes.
    TooLong,
    /// The subscription's key is not a point of P-256: nobody can ever encrypt for it.
    Keys,
    /// The system has no random numbers.
    Random,
}

impl<'a> Recipient<'a> {
    /// # Errors
    /// [`Fault::Keys`] for keys of another length.
    pub(crate) fn new(p256dh: &'a [u8], auth: &'a [u8]) -> Result<Self, Fault> {
        match (p256dh.try_into(), auth.try_into()) {
            (Ok(p256dh), Ok(auth)) => Ok(Self { p256dh, auth }),
            _ => Err(Fault::Keys),
        }
    }
}

/// The body of a push request.
///
/// # Errors
/// [`Fault`].
pub(crate) fn encrypt(recipient: Recipient<'_>, plaintext: &[u8]) -> Result<Bytes, Fault> {
    if plaintext.len() > MOST_PLAINTEXT {
        return Err(Fault::TooLong);
    }
    let random = SystemRandom::new();
    let mut salt = [0; SALT];
    random.fill(&mut salt).map_err(|_| Fault::Random)?;
    let own = agreement::EphemeralPrivateKey::generate(&agreement::ECDH_P256, &random).map_err(|_| Fault::Random)?;
    let point = own.compute_public_key().map_err(|_| Fault::Random)?;
    let point: [u8; POINT] = point.as_ref().try_into().map_err(|_| Fault::Random)?;
    let theirs = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, recipient.p256dh);
    let sealed = agreement::agree_ephemeral(own, &theirs, |secret| {
        seal(recipient, &Ours { salt, point }, secret, plaintext, padding(plaintext.len()))
    });
    sealed.map_err(|_| Fault::Keys)?.map_err(|_| Fault::Random)
}

/// What is random in a message.
struct Ours {
    salt: [u8; SALT],
    point: [u8; POINT],
}

/// RFC 8291, section 3.4, and RFC 8188, section 2, from the agreed secret on.
fn seal(
    to: Recipient<'_>,
    ours: &Ours,
    secret: &[u8],
    plaintext: &[u8],
    zeros: usize,
) -> Result<Bytes, ring::error::Unspecified> {
    let mut info = [0; INFO];
    info[..14].copy_from_slice(b"WebPush: info\0");
    info[14..14 + POINT].copy_from_slice(to.p256dh);
    info[14 + POINT..].copy_from_slice(&ours.point);
    let mut input = [0; 32];
    expand(&hkdf::Salt::new(hkdf::HKDF_SHA256, to.auth).extract(secret), &info, &mut input)?;
    let keys = hkdf::Salt::new(hkdf::HKDF_SHA256, &ours.salt).extract(&input);
    let (mut key, mut nonce) = ([0; 16], [0; aead::NONCE_LEN]);
    expand(&keys, b"Content-Encoding: aes128gcm\0", &mut key)?;
    expand(&keys, b"Content-Encoding: nonce\0", &mut nonce)?;

    let mut body = BytesMut::with_capacity(HEADER + plaintext.len() + 1 + zeros + TAG);
    body.put_slice(&ours.salt);
    body.put_u32(RECORD);
    body.put_u8(POINT as u8);
    body.put_slice(&ours.point);
    let mut record = body.split_off(HEADER);
    record.put_slice(plaintext);
    record.put_u8(DELIMITER);
    record.put_bytes(0, zeros);
    let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_128_GCM, &key)?);
    // The key is used once, so whatever its nonce is, it is unique.
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    let tag = key.seal_in_place_separate_tag(nonce, aead::Aad::empty(), &mut record)?;
    record.put_slice(tag.as_ref());
    body.unsplit(record);
    Ok(body.freeze())
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand(key: &hkdf::Prk, info: &[u8], out: &mut [u8]) -> Result<(), ring::error::Unspecified> {
    key.expand(&[info], Length(out.len()))?.fill(out)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use p256::ecdh::diffie_hellman;
    use p256::elliptic_curve::sec1::ToSec1Point as _;
    use p256::{PublicKey, SecretKey};
    use proptest::prelude::*;

    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    fn shared(own: &SecretKey, theirs: &[u8]) -> Vec<u8> {
        let theirs = PublicKey::from_sec1_bytes(theirs).unwrap();
        diffie_hellman(own.to_nonzero_scalar(), theirs.as_affine()).raw_secret_bytes().to_vec()
    }

    /// What a browser does, with another library than ours.
    fn decrypt(browser: &SecretKey, auth: &[u8; AUTH], body: &[u8]) -> Vec<u8> {
        let public = browser.public_key().to_sec1_point(false);
        let (header, record) = body.split_at(HEADER);
        let ours = &header[21..];
        let info = [b"WebPush: info\0", public.as_bytes(), ours].concat();
        let derive = |salt: &[u8], input: &[u8], info: &[u8], len: usize| {
            let mut out = vec![0; len];
            expand(&hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(input), info, &mut out).unwrap();
            out
        };
        let input = derive(auth, &shared(browser, ours), &info, 32);
        let key = derive(&header[..16], &input, b"Content-Encoding: aes128gcm\0", 16);
        let nonce = derive(&header[..16], &input, b"Content-Encoding: nonce\0", 12);
        let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_128_GCM, &key).unwrap());
        let mut record = record.to_vec();
        let nonce = aead::Nonce::try_assume_unique_for_key(&nonce).unwrap();
        let opened = key.open_in_place(nonce, aead::Aad::empty(), &mut record).unwrap();
        let end = opened.iter().rposition(|b| *b != 0).unwrap();
        assert_eq!(opened[end], DELIMITER);
        opened[..end].to_vec()
    }

    /// RFC 8291, section 5 and appendix A, every intermediate value that the appendix names.
    #[test]
    fn the_example_of_the_rfc_comes_out_byte_for_byte() {
        let own = SecretKey::from_slice(&bytes("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw")).unwrap();
        let point = bytes("BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8");
        assert_eq!(own.public_key().to_sec1_point(false).as_bytes(), point);
        let p256dh = bytes("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4");
        let auth = bytes("BTBZMqHH6r4Tts7J_aSIgg");
        let secret = shared(&own, &p256dh);
        assert_eq!(secret, bytes("kyrL1jIIOHEzg3sM2ZWRHDRB62YACZhhSlknJ672kSs"));
        let ours = Ours {
            salt: bytes("DGv6ra1nlYgDCS1FRnbzlw").try_into().unwrap(),
            point: point.as_slice().try_into().unwrap(),
        };
        let to = Recipient::new(&p256dh, &auth).unwrap();
        let body = seal(to, &ours, &secret, b"When I grow up, I want to be a watermelon", 0).unwrap();
        let expected = bytes(concat!(
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml",
            "mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPT",
            "pK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN",
        ));
        assert_eq!(body, expected);
    }

    #[test]
    fn no_two_messages_share_a_key_or_a_salt() {
        let browser = SecretKey::from_slice(&[7; 32]).unwrap();
        let p256dh = browser.public_key().to_sec1_point(false);
        let to = Recipient::new(p256dh.as_bytes(), &[9; AUTH]).unwrap();
        let (a, b) = (encrypt(to, b"same").unwrap(), encrypt(to, b"same").unwrap());
        assert_ne!(a[..SALT], b[..SALT]);
        assert_ne!(a[21..HEADER], b[21..HEADER]);
        assert_eq!(a.len(), b.len());
    }

    #[test]
    fn the_longest_plaintext_fills_what_push_services_must_take_and_no_byte_more() {
        let browser = SecretKey::from_slice(&[7; 32]).unwrap();
        let p256dh = browser.public_key().to_sec1_point(false);
        let to = Recipient::new(p256dh.as_bytes(), &[9; AUTH]).unwrap();
        assert_eq!(encrypt(to, &[b'x'; MOST_PLAINTEXT]).unwrap().len(), 4096);
        assert_eq!(encrypt(to, &[b'x'; MOST_PLAINTEXT + 1]), Err(Fault::TooLong));
    }

    #[test]
    fn keys_that_are_none_are_found_out() {
        let mut off_the_curve = [1; POINT];
        off_the_curve[0] = 4;
        let to = Recipient::new(&off_the_curve, &[9; AUTH]).unwrap();
        assert_eq!(encrypt(to, b"x"), Err(Fault::Keys));
        assert!(Recipient::new(&[4; 64], &[9; AUTH]).is_err());
        assert!(Recipient::new(&[4; POINT], &[9; 15]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_browser_reads_what_was_written(
            scalar in proptest::array::uniform32(1u8..255), auth: [u8; AUTH], plaintext in proptest::collection::vec(1u8.., 0..600)
        ) {
            let browser = SecretKey::from_slice(&scalar).unwrap();
            let p256dh = browser.public_key().to_sec1_point(false);
            let body = encrypt(Recipient::new(p256dh.as_bytes(), &auth).unwrap(), &plaintext).unwrap();
            prop_assert_eq!((body.len() - HEADER - TAG) % 128, 0);
            prop_assert_eq!(decrypt(&browser, &auth, &body), plaintext);
        }
    }
}
