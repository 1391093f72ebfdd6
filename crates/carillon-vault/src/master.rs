//! Master keys and what is derived from them.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use ring::digest;
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use secrecy::zeroize::Zeroize as _;
use secrecy::{ExposeSecret as _, SecretBox};

use crate::kind_vault::{KEY_ID_LEN, KEY_LEN, KindKey, KindKeys};
use crate::{Error, KindVault};

/// Separates these keys from any other use of the same master key.
const SALT: &[u8] = b"carillon vault v1";

/// A key that other keys are derived from: 32 bytes, wiped when dropped, never printed.
pub struct MasterKey(SecretBox<[u8; KEY_LEN]>);

impl MasterKey {
    /// Takes over 32 random bytes.
    pub fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(SecretBox::new(Box::new(bytes)))
    }

    /// Reads the comma list of `CARILLON_SECRETS__KEY`: base64 (RFC 4648 section 4, padded) of 32 bytes each.
    ///
    /// # Errors
    /// [`Error::NoKey`] for an empty list, [`Error::MasterKey`] with the position of the key that is malformed.
    pub fn list(text: &str) -> Result<Vec<Self>, Error> {
        let pieces = text.split(',').map(str::trim).filter(|piece| !piece.is_empty());
        let keys = pieces.enumerate().map(|(index, piece)| Self::parse(piece).ok_or(Error::MasterKey(index + 1)));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(Error::NoKey) } else { Ok(keys) }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut bytes = BASE64_STANDARD.decode(text).ok()?;
        let key = <[u8; KEY_LEN]>::try_from(bytes.as_slice()).ok().map(Self::new);
        bytes.zeroize();
        key
    }

    fn derive(&self, info: &[&[u8]]) -> Result<[u8; KEY_LEN], Error> {
        let root: Prk = Salt::new(HKDF_SHA256, SALT).extract(self.0.expose_secret());
        let mut key = [0; KEY_LEN];
        let okm = root.expand(info, Length).map_err(|_| Error::Random)?;
        okm.fill(&mut key).map_err(|_| Error::Random)?;
        Ok(key)
    }

    /// The key of one kind, and the id by which sealed values name the master: taken from a derived value, so that it
    /// says nothing about the master itself.
    fn for_kind(&self, kind: &str) -> Result<KindKey, Error> {
        let named = digest::digest(&digest::SHA256, &self.derive(&[b"id"])?);
        let mut id = [0; KEY_ID_LEN];
        id.copy_from_slice(&named.as_ref()[..KEY_ID_LEN]);
        Ok(KindKey::new(id, self.derive(&[b"kind ", kind.as_bytes()])?))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(***)")
    }
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        KEY_LEN
    }
}

/// All master keys of an installation. The first one encrypts, all of them open: to rotate, put a new key in front,
/// seal again what [`KindVault::needs_rewrap`], then drop the old one.
#[derive(Debug)]
pub struct Vault {
    masters: Vec<MasterKey>,
}

impl Vault {
    /// A vault over these keys.
    ///
    /// # Errors
    /// [`Error::NoKey`] for an empty list.
    pub fn new(masters: Vec<MasterKey>) -> Result<Self, Error> {
        if masters.is_empty() { Err(Error::NoKey) } else { Ok(Self { masters }) }
    }

    /// A vault over the comma list of `CARILLON_SECRETS__KEY`.
    ///
    /// # Errors
    /// As [`MasterKey::list`].
    pub fn from_list(text: &str) -> Result<Self, Error> {
        Self::new(MasterKey::list(text)?)
    }

    /// The keys of one kind, to hand to whoever works with that kind only.
    ///
    /// # Errors
    /// [`Error::Random`] if the derivation fails, which its fixed length rules out.
    pub fn keys_for_kind(&self, kind: &str) -> Result<KindKeys, Error> {
        let keys = self.masters.iter().map(|master| master.for_kind(kind)).collect::<Result<Vec<_>, _>>()?;
        KindKeys::new(kind, keys)
    }

    /// Seals and opens secrets of one kind.
    ///
    /// # Errors
    /// As [`Vault::keys_for_kind`].
    pub fn for_kind(&self, kind: &str) -> Result<KindVault, Error> {
        self.keys_for_kind(kind).map(KindVault::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_list_of_keys_is_read_and_a_malformed_one_is_named_by_position() {
        let key = BASE64_STANDARD.encode([7; 32]);
        assert_eq!(MasterKey::list(&format!("{key}, {key},")).unwrap().len(), 2);
        assert_eq!(MasterKey::list(" , ").unwrap_err(), Error::NoKey);
        let short = BASE64_STANDARD.encode([7; 31]);
        assert_eq!(MasterKey::list(&format!("{key},{short}")).unwrap_err(), Error::MasterKey(2));
        assert_eq!(MasterKey::list("secret").unwrap_err(), Error::MasterKey(1));
    }

    #[test]
    fn debug_shows_no_key() {
        let vault = Vault::new(vec![MasterKey::new([65; 32])]).unwrap();
        let text = format!("{vault:?} {:?}", vault.keys_for_kind("apns").unwrap());
        assert!(!text.contains("65") && !text.contains('A'), "{text}");
    }

    /// Fixed, because everything sealed so far depends on it.
    #[test]
    fn the_derivation_stays_what_it_is() {
        let keys = Vault::new(vec![MasterKey::new([1; 32])]).unwrap().keys_for_kind("apns").unwrap();
        expect_test::expect!["RSBL6My-G8ywYyFM73yxZL58WXsPMy4qsfsThQfuz1FfJPU4"]
            .assert_eq(secrecy::ExposeSecret::expose_secret(&keys.to_text()));
    }
}
