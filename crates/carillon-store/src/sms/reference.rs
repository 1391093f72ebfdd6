//! Our reference of a text message: what the gateway is given as its own key, refuses to take twice, and reports with.

use crate::CascadeId;
use carillon_domain::ids::RunId;
use uuid::Uuid;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters of the run's id.
const RUN_LEN: usize = 36;
/// 80 bits (link 16, person 32, check 32) in digits of base 62.
const TAIL_LEN: usize = 14;

/// One cascade row as text: the run's id, then link, person's number and a check in base 62. The same row always prints the same,
/// which is what lets a gateway refuse a repetition. It is no secret and no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SmsReference(
    /// The row.
    pub CascadeId,
);

impl SmsReference {
    /// Length of the text form, in characters of `A-Za-z0-9-`.
    pub const TEXT_LEN: usize = RUN_LEN + TAIL_LEN;

    /// The text form.
    pub fn to_text(self) -> String {
        let id = self.0;
        let mut number =
            u128::from(id.link as u16) << 64 | u128::from(id.person_number as u32) << 32 | u128::from(check(id));
        let mut tail = [b'0'; TAIL_LEN];
        for digit in tail.iter_mut().rev() {
            *digit = DIGITS[(number % 62) as usize];
            number /= 62;
        }
        let mut text = id.run.0.hyphenated().to_string();
        text.extend(tail.iter().map(|byte| char::from(*byte)));
        text
    }

    /// Back from the text form; `None` when it is not one of ours or was mangled.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != Self::TEXT_LEN || !text.is_ascii() {
            return None;
        }
        let (run, tail) = text.split_at(RUN_LEN);
        let mut number = 0u128;
        for byte in tail.bytes() {
            number = number * 62 + DIGITS.iter().position(|digit| *digit == byte)? as u128;
        }
        let id = CascadeId {
            run: RunId(Uuid::try_parse(run).ok()?),
            link: (number >> 64) as u16 as i16,
            person_number: (number >> 32) as u32 as i32,
        };
        // The one text of each row: a number too large, another spelling of the id and a wrong check all print differently.
        (Self(id).to_text() == text).then_some(Self(id))
    }
}

/// FNV-1a: every single changed byte changes it.
fn check(id: CascadeId) -> u32 {
    let bytes = id.run.0.as_bytes().iter().copied();
    let bytes = bytes.chain(id.link.to_be_bytes()).chain(id.person_number.to_be_bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_reference_reads_back_and_a_mangled_one_does_not(
            run in any::<u128>(), link in any::<i16>(), person_number in any::<i32>(),
            at in 0..SmsReference::TEXT_LEN, other in 0usize..62,
        ) {
            let reference = SmsReference(CascadeId { run: RunId(Uuid::from_u128(run)), link, person_number });
            let text = reference.to_text();
            prop_assert!(text.len() <= 50);
            prop_assert_eq!(SmsReference::parse(&text), Some(reference));
            let mut bad = text.clone().into_bytes();
            if bad[at] != DIGITS[other] {
                bad[at] = DIGITS[other];
                prop_assert_eq!(SmsReference::parse(std::str::from_utf8(&bad).unwrap()), None);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = SmsReference::parse(&text);
        }
    }

    /// Fixed, because messages on their way are reported with it.
    #[test]
    fn the_text_form_stays_what_it_is() {
        let run = RunId("0193a5b2-7c1d-7e3f-8a9b-0c1d2e3f4a5b".parse().unwrap());
        let text = SmsReference(CascadeId { run, link: 1, person_number: 7 }).to_text();
        assert_eq!(text, "0193a5b2-7c1d-7e3f-8a9b-0c1d2e3f4a5b000LygHaY6kKOC");
    }
}
