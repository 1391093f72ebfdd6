//! API keys: `csk_` + 43 digits (32 random bytes) + 6 digits (checksum), all base 62.
//!
//! The checksum lets a malformed or mistyped key be refused without looking anything up, and lets scanners tell a leaked
//! key from a lookalike. What is stored is the SHA-256 of the whole text: with 256 random bits there is nothing to guess,
//! so a slow password hash would only cost time.

use std::fmt;

use ring::digest;
use ring::rand::{SecureRandom as _, SystemRandom};
use secrecy::zeroize::Zeroize as _;
use secrecy::{ExposeSecret as _, SecretString};

use crate::{Error, base62};

const RANDOM_LEN: usize = 32;
const BODY_LEN: usize = 43;
const CHECKSUM_LEN: usize = 6;
const PREFIX_LEN: usize = 4;
const KEY_LEN: usize = PREFIX_LEN + BODY_LEN + CHECKSUM_LEN;
/// Prefix and eight digits: enough to recognise a key in a list, 208 bits short of using it.
const HINT_LEN: usize = 12;

/// Whose key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApiKeyKind {
    /// `cak_`: the operator's.
    Operator,
    /// `csk_`: a tenant's backend's.
    Server,
    /// `cpk_`: public, part of every copy of an app.
    Public,
    /// `cds_`: the secret of one installation.
    Device,
}

impl ApiKeyKind {
    const ALL: [Self; 4] = [Self::Operator, Self::Server, Self::Public, Self::Device];

    /// The four characters a key of this kind begins with.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Operator => "cak_",
            Self::Server => "csk_",
            Self::Public => "cpk_",
            Self::Device => "cds_",
        }
    }
}

/// Not an API key: wrong prefix, length, digits or checksum. Says no more, the text may be somebody's secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an API key")]
pub struct MalformedKey;

/// A well-formed API key; whether anybody owns it is for the store to say. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct ApiKey {
    kind: ApiKeyKind,
    text: SecretString,
}

impl ApiKey {
    /// A new random key.
    ///
    /// # Errors
    /// [`Error::Random`] if the system gives no random bytes.
    pub fn mint(kind: ApiKeyKind) -> Result<Self, Error> {
        let mut bytes = [0; RANDOM_LEN];
        SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Random)?;
        let mut text = String::with_capacity(KEY_LEN);
        text.push_str(kind.prefix());
        text.push_str(&base62::encode(&bytes, BODY_LEN));
        text.push_str(&checksum(&text));
        bytes.zeroize();
        Ok(Self { kind, text: text.into() })
    }

    /// Reads a key; looks nothing up.
    ///
    /// # Errors
    /// [`MalformedKey`] for anything that [`ApiKey::mint`] cannot have made.
    pub fn parse(text: &str) -> Result<Self, MalformedKey> {
        if text.len() != KEY_LEN || !text.is_ascii() {
            return Err(MalformedKey);
        }
        let kind = ApiKeyKind::ALL.into_iter().find(|kind| text.starts_with(kind.prefix())).ok_or(MalformedKey)?;
        let (signed, sum) = text.split_at(PREFIX_LEN + BODY_LEN);
        if !signed.bytes().skip(PREFIX_LEN).all(base62::is_digit) || checksum(signed) != sum {
            return Err(MalformedKey);
        }
        Ok(Self { kind, text: text.to_owned().into() })
    }

    /// Whose key it is.
    pub fn kind(&self) -> ApiKeyKind {
        self.kind
    }

    /// The whole key, to be shown once to its owner.
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }

    /// What is stored and looked up.
    pub fn hash(&self) -> [u8; 32] {
        hash_key(self.expose())
    }

    /// The first twelve characters, for lists of keys.
    pub fn hint(&self) -> &str {
        self.expose().get(..HINT_LEN).unwrap_or_default()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}***", self.kind.prefix())
    }
}

/// SHA-256 of a key's text.
pub fn hash_key(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    hash
}

/// Compares without saying by its duration where the difference is.
pub fn constant_time_eq(left: &[u8], right: &[u8]) -> bool {
    let difference = left.iter().zip(right).fold(0, |seen, (a, b)| std::hint::black_box(seen | (a ^ b)));
    left.len() == right.len() && difference == 0
}

fn checksum(signed: &str) -> String {
    base62::encode(&crc32fast::hash(signed.as_bytes()).to_be_bytes(), CHECKSUM_LEN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_minted_key_is_well_formed_and_says_its_kind() {
        for kind in ApiKeyKind::ALL {
            let key = ApiKey::mint(kind).unwrap();
            let read = ApiKey::parse(key.expose()).unwrap();
            assert_eq!((read.kind(), read.hash()), (kind, key.hash()));
            assert_eq!(key.expose().len(), 53);
            assert!(key.hint().starts_with(kind.prefix()) && key.hint().len() == 12);
        }
    }

    #[test]
    fn two_minted_keys_differ() {
        assert_ne!(ApiKey::mint(ApiKeyKind::Server).unwrap().hash(), ApiKey::mint(ApiKeyKind::Server).unwrap().hash());
    }

    #[test]
    fn debug_shows_the_kind_and_nothing_of_the_key() {
        let key = ApiKey::mint(ApiKeyKind::Device).unwrap();
        assert_eq!(format!("{key:?}"), "cds_***");
    }

    #[test]
    fn the_hash_is_sha_256_of_the_text() {
        let hex: String = hash_key("abc").iter().map(|byte| format!("{byte:02x}")).collect();
        // FIPS 180-2, appendix B.1
        assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn comparison_sees_content_and_length() {
        assert!(constant_time_eq(b"abc", b"abc"));
        assert!(!constant_time_eq(b"abc", b"abd"));
        assert!(!constant_time_eq(b"abc", b"ab"));
        assert!(constant_time_eq(b"", b""));
    }

    proptest! {
        #[test]
        fn a_key_with_one_other_character_is_malformed(position in 0..KEY_LEN, other in "[ -~]") {
            let key = ApiKey::mint(ApiKeyKind::Server).unwrap();
            let mut text = key.expose().to_owned();
            text.replace_range(position..=position, &other);
            // `csk_` may become another kind's prefix, the checksum still tells.
            prop_assert_eq!(ApiKey::parse(&text).is_ok(), text == key.expose());
        }

        #[test]
        fn any_other_text_is_malformed(text in "\\PC{0,80}") {
            prop_assert!(ApiKey::parse(&text).is_err());
        }
    }
}
