//! Lists of names as a notification's row keeps them. They are in order, so most have much in common with the one before: each is told by how many
//! bytes those are, and by the bytes that follow. A thousand ids of devices take a quarter of the room, which the row and its journal need not
//! write.

use bytes::Buf;
use carillon_domain::names::Names;
use prost::encoding::{decode_varint, encode_varint};

/// Packs names, in their order.
pub(crate) fn pack(names: &Names) -> Vec<u8> {
    let mut packed = Vec::with_capacity(names.len() * 8);
    let mut before: &[u8] = &[];
    for name in names {
        let name = name.as_bytes();
        let shared = shared(name, before);
        let own = &name[shared..];
        number(shared, &mut packed);
        number(own.len(), &mut packed);
        packed.extend_from_slice(own);
        before = name;
    }
    packed
}

/// How many bytes two names begin with alike; eight of them are compared at once, the last eight with what of them is known to be alike.
fn shared(a: &[u8], b: &[u8]) -> usize {
    let len = a.len().min(b.len());
    let (a, b) = (&a[..len], &b[..len]);
    let alike =
        |a: &[u8; 8], b: &[u8; 8]| (u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b)).trailing_zeros() as usize / 8;
    for (i, (one, other)) in a.as_chunks().0.iter().zip(b.as_chunks().0).enumerate() {
        if one != other {
            return i * 8 + alike(one, other);
        }
    }
    match (a.last_chunk(), b.last_chunk()) {
        (Some(one), Some(other)) => len - 8 + alike(one, other),
        _ => a.iter().zip(b).take_while(|(a, b)| a == b).count(),
    }
}

/// A varint, which mostly is one byte.
fn number(n: usize, packed: &mut Vec<u8>) {
    match u8::try_from(n) {
        Ok(byte @ ..0x80) => packed.push(byte),
        _ => encode_varint(n as u64, packed),
    }
}

/// Back from [`pack`]; nothing when the bytes are none of its.
pub(crate) fn unpack(mut packed: &[u8]) -> Option<Names> {
    let (mut names, mut name) = (Names::default(), Vec::new());
    while packed.has_remaining() {
        let shared = usize::try_from(decode_varint(&mut packed).ok()?).ok()?;
        let own = usize::try_from(decode_varint(&mut packed).ok()?).ok()?;
        if shared > name.len() {
            return None;
        }
        name.truncate(shared);
        name.extend_from_slice(packed.get(..own)?);
        packed.advance(own);
        // What two names share may end within a character, so that only the whole is a text.
        names.push(std::str::from_utf8(&name).ok()?);
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_share_their_beginning_share_its_bytes() {
        let names: Names = (0..1_000).map(|n| format!("device-{n:012}")).collect();
        let packed = pack(&names);
        assert!(packed.len() < 4_000, "{} bytes", packed.len());
        assert_eq!(unpack(&packed), Some(names));
    }

    #[test]
    fn what_is_cut_off_or_points_behind_its_name_is_no_list() {
        let packed = pack(&["abc", "abd"].into());
        assert_eq!(unpack(&packed), Some(["abc", "abd"].into()));
        assert_eq!(unpack(&packed[..packed.len() - 1]), None);
        assert_eq!(unpack(&[1, 0]), None, "there is no name before the first");
        assert_eq!(unpack(&[0, 1, 0xff]), None, "no text");
    }

    proptest! {
        #[test]
        fn every_list_reads_back(names in proptest::collection::vec("\\PC{0,140}", 0..20)) {
            let names: Names = names.into_iter().collect();
            prop_assert_eq!(unpack(&pack(&names)), Some(names));
        }

        #[test]
        fn what_two_names_share_is_counted_as_if_byte_by_byte(
            both in "\\PC{0,30}", a in "[ab]{0,30}", b in "[ab]{0,30}"
        ) {
            let (a, b) = (format!("{both}{a}"), format!("{both}{b}"));
            let counted = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
            prop_assert_eq!(shared(a.as_bytes(), b.as_bytes()), counted);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = unpack(&bytes);
        }
    }
}
