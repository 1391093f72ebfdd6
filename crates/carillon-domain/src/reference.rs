//! The opaque reference `r` that travels to the device and comes back in receipts, so that a receipt finds its delivery and its
//! cascade without a search.

use crate::ids::{ChunkId, RunId};
use uuid::Uuid;

const BYTES: usize = 16 + 4 + 2 + 4;
/// Length of the text form; the contract allows 48.
pub const TEXT_LEN: usize = BYTES.div_ceil(3) * 4 - 1;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// One position of one chunk. The text form is base64url of run, chunk, position and a CRC-32, so that a mangled one is
/// noticed; it is no secret and no proof: who may report for which device is decided by the key of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The chunk.
    pub chunk: ChunkId,
    /// The position in it.
    pub position: u16,
}

impl Reference {
    /// The text form, [`TEXT_LEN`] characters that need no escaping in JSON.
    pub fn to_text(self) -> [u8; TEXT_LEN] {
        let mut raw = [0u8; BYTES + 1];
        raw[..16].copy_from_slice(self.chunk.run.0.as_bytes());
        raw[16..20].copy_from_slice(&self.chunk.number.to_be_bytes());
        raw[20..22].copy_from_slice(&self.position.to_be_bytes());
        let check = crc32fast::hash(&raw[..22]);
        raw[22..26].copy_from_slice(&check.to_be_bytes());
        let mut text = [0u8; TEXT_LEN];
        for (i, out) in text.iter_mut().enumerate() {
            let bit = i * 6;
            let pair = u16::from_be_bytes([raw[bit / 8], raw[(bit / 8 + 1).min(BYTES)]]);
            *out = ALPHABET[usize::from((pair >> (10 - bit % 8)) & 63)];
        }
        text
    }

    /// Back from the text form; `None` when it is not one of ours or was mangled.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != TEXT_LEN {
            return None;
        }
        let mut raw = [0u8; BYTES];
        let (mut acc, mut bits, mut at) = (0u32, 0u32, 0usize);
        for byte in text.bytes() {
            let value = ALPHABET.iter().position(|a| *a == byte)? as u32;
            acc = (acc << 6) | value;
            bits += 6;
            if bits >= 8 {
                bits -= 8;
                *raw.get_mut(at)? = (acc >> bits) as u8;
                at += 1;
                acc &= (1 << bits) - 1;
            }
        }
        let check = u32::from_be_bytes(raw[22..26].try_into().ok()?);
        if at != BYTES || acc != 0 || crc32fast::hash(&raw[..22]) != check {
            return None;
        }
        Some(Self {
            chunk: ChunkId {
                run: RunId(Uuid::from_slice(&raw[..16]).ok()?),
                number: u32::from_be_bytes(raw[16..20].try_into().ok()?),
            },
            position: u16::from_be_bytes(raw[20..22].try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_reference_reads_back_and_a_mangled_one_does_not(run in any::<u128>(), number in any::<u32>(), position in any::<u16>(), at in 0usize..TEXT_LEN, other in 0usize..64) {
            let r = Reference { chunk: ChunkId { run: RunId(Uuid::from_u128(run)), number }, position };
            let text = r.to_text();
            let text = std::str::from_utf8(&text).unwrap();
            prop_assert!(text.len() <= 48);
            prop_assert_eq!(Reference::parse(text), Some(r));
            let mut bad = text.as_bytes().to_vec();
            if bad[at] != ALPHABET[other] {
                bad[at] = ALPHABET[other];
                prop_assert_eq!(Reference::parse(std::str::from_utf8(&bad).unwrap()), None);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = Reference::parse(&text);
        }
    }
}
