//! Sealing and opening secrets of one kind.

use std::fmt;
use std::str::Utf8Error;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use secrecy::zeroize::Zeroize as _;
use secrecy::{ExposeSecret as _, SecretBox, SecretSlice, SecretString};

use crate::{Context, Error};

/// Longest content that is sealed, in bytes: service accounts and certificates are far below.
pub const MAX_PLAINTEXT: usize = 64 * 1024;

pub(crate) const KEY_LEN: usize = 32;
pub(crate) const KEY_ID_LEN: usize = 4;

/// First byte of every sealed value: AES-256-GCM, random nonce.
const VERSION: u8 = 1;
const HEADER_LEN: usize = 1 + KEY_ID_LEN;

/// One kind's key under one master.
pub(crate) struct KindKey {
    id: [u8; KEY_ID_LEN],
    key: SecretBox<[u8; KEY_LEN]>,
}

impl KindKey {
    pub(crate) fn new(id: [u8; KEY_ID_LEN], key: [u8; KEY_LEN]) -> Self {
        Self { id, key: SecretBox::new(Box::new(key)) }
    }
}

/// The keys of one kind, one per master key, the one that encrypts first. This is all that a process which works with
/// one kind needs to hold.
pub struct KindKeys {
    kind: String,
    keys: Vec<KindKey>,
}

impl KindKeys {
    pub(crate) fn new(kind: &str, keys: Vec<KindKey>) -> Result<Self, Error> {
        if keys.is_empty() { Err(Error::NoKey) } else { Ok(Self { kind: kind.to_owned(), keys }) }
    }

    /// Writes the keys as a comma list for a setting of the process that gets them; the kind is not part of it.
    pub fn to_text(&self) -> SecretString {
        let piece =
            |key: &KindKey| BASE64_URL_SAFE_NO_PAD.encode([&key.id, key.key.expose_secret().as_slice()].concat());
        self.keys.iter().map(piece).collect::<Vec<_>>().join(",").into()
    }

    /// Reads what [`KindKeys::to_text`] wrote.
    ///
    /// # Errors
    /// [`Error::KindKeys`] if the text is something else, [`Error::NoKey`] if it is empty.
    pub fn parse(kind: &str, text: &str) -> Result<Self, Error> {
        let pieces = text.split(',').map(str::trim).filter(|piece| !piece.is_empty());
        let keys = pieces.map(|piece| {
            let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(piece).map_err(|_| Error::KindKeys)?;
            let key = bytes
                .split_at_checked(KEY_ID_LEN)
                .and_then(|(id, key)| Some(KindKey::new(id.try_into().ok()?, key.try_into().ok()?)));
            bytes.zeroize();
            key.ok_or(Error::KindKeys)
        });
        Self::new(kind, keys.collect::<Result<Vec<_>, _>>()?)
    }
}

impl fmt::Debug for KindKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KindKeys({}, ***)", self.kind)
    }
}

/// Seals and opens secrets of one kind.
///
/// Sealed: version (1 byte), key id (4), nonce (12, random), ciphertext and tag (content + 16). Random nonces allow 2^32
/// seals per key (NIST SP 800-38D section 8.3), far beyond what credentials need.
#[derive(Debug)]
pub struct KindVault {
    keys: KindKeys,
    random: SystemRandom,
}

impl KindVault {
    /// A vault over the keys of one kind.
    pub fn new(keys: KindKeys) -> Self {
        Self { keys, random: SystemRandom::new() }
    }

    /// The kind this vault is for.
    pub fn kind(&self) -> &str {
        &self.keys.kind
    }

    /// Seals a content for one context under the first key.
    ///
    /// # Errors
    /// [`Error::WrongKind`], [`Error::TooLong`], [`Error::Random`].
    pub fn seal(&self, context: &Context<'_>, plaintext: &[u8]) -> Result<Vec<u8>, Error> {
        self.judge_kind(context)?;
        if plaintext.len() > MAX_PLAINTEXT {
            return Err(Error::TooLong);
        }
        let key = self.keys.keys.first().ok_or(Error::NoKey)?;
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| Error::Random)?;
        let mut sealed = Vec::with_capacity(HEADER_LEN + NONCE_LEN + plaintext.len() + AES_256_GCM.tag_len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&key.id);
        let aad = Aad::from(context.encode(&sealed));
        sealed.extend_from_slice(&nonce);
        let content = sealed.len();
        sealed.extend_from_slice(plaintext);
        let tag = cipher(key)?
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed[content..])
            .map_err(|_| Error::Refused)?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Opens what was sealed for exactly this context, under any of the keys.
    ///
    /// # Errors
    /// [`Error::WrongKind`], [`Error::Format`], [`Error::UnknownKey`], [`Error::Refused`].
    pub fn open(&self, context: &Context<'_>, sealed: &[u8]) -> Result<Opened, Error> {
        self.judge_kind(context)?;
        let (header, rest) = sealed.split_at_checked(HEADER_LEN).ok_or(Error::Format)?;
        let (nonce, content) = rest.split_at_checked(NONCE_LEN).ok_or(Error::Format)?;
        let longest = MAX_PLAINTEXT + AES_256_GCM.tag_len();
        if header[0] != VERSION || !(AES_256_GCM.tag_len()..=longest).contains(&content.len()) {
            return Err(Error::Format);
        }
        let nonce: [u8; NONCE_LEN] = nonce.try_into().map_err(|_| Error::Format)?;
        let mut refusal = Error::UnknownKey;
        for key in self.keys.keys.iter().filter(|key| key.id == header[1..]) {
            let aad = Aad::from(context.encode(header));
            let mut buffer = content.to_vec();
            let opened = cipher(key)?
                .open_in_place(Nonce::assume_unique_for_key(nonce), aad, &mut buffer)
                .map(|plaintext| Opened(SecretSlice::from(plaintext.to_vec())));
            buffer.zeroize();
            match opened {
                Ok(opened) => return Ok(opened),
                Err(_) => refusal = Error::Refused,
            }
        }
        Err(refusal)
    }

    /// True if the value was sealed under another key than the one that encrypts now: open it and seal it again.
    pub fn needs_rewrap(&self, sealed: &[u8]) -> bool {
        let current = self.keys.keys.first().map(|key| key.id.as_slice());
        sealed.get(..HEADER_LEN).map(|header| &header[1..]) != current || sealed.first() != Some(&VERSION)
    }

    fn judge_kind(&self, context: &Context<'_>) -> Result<(), Error> {
        if context.kind == self.keys.kind { Ok(()) } else { Err(Error::WrongKind) }
    }
}

fn cipher(key: &KindKey) -> Result<LessSafeKey, Error> {
    let unbound = UnboundKey::new(&AES_256_GCM, key.key.expose_secret()).map_err(|_| Error::KindKeys)?;
    Ok(LessSafeKey::new(unbound))
}

/// An opened secret: wiped when dropped, never printed.
#[derive(Clone)]
pub struct Opened(SecretSlice<u8>);

impl Opened {
    /// The content.
    pub fn expose(&self) -> &[u8] {
        self.0.expose_secret()
    }

    /// The content as text.
    ///
    /// # Errors
    /// If it is not UTF-8.
    pub fn expose_str(&self) -> Result<&str, Utf8Error> {
        std::str::from_utf8(self.expose())
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opened(***)")
    }
}
