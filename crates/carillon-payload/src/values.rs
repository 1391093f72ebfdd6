//! What is written into a template for one message.

use crate::template::Splice;
use carillon_domain::push_token::PushToken;
use carillon_domain::reference::{Reference, TEXT_LEN};
use std::fmt;

/// Digits of the largest `u32`.
const DIGITS: usize = 10;

/// Whom FCM sends to, by the name of the field that takes it. Other platforms' bodies hold no target.
#[derive(Clone, Copy)]
pub enum Address<'a> {
    /// A registration token.
    Token(&'a str),
    /// A Firebase installation id.
    Installation(&'a str),
}

impl<'a> From<&'a PushToken> for Address<'a> {
    fn from(token: &'a PushToken) -> Self {
        match token {
            PushToken::FcmInstallation(fid) => Address::Installation(fid),
            other => Address::Token(other.identity()),
        }
    }
}

/// The values of one message. They are written as they are: tokens and device ids were checked when they were registered
/// ([`PushToken::check`], [`carillon_domain::ids::is_device_id`]) and need no escaping in JSON.
#[derive(Clone, Copy)]
pub struct Values<'a> {
    address: Address<'a>,
    device: &'a str,
    reference: [u8; TEXT_LEN],
    ttl: [u8; DIGITS],
    ttl_from: usize,
}

impl<'a> Values<'a> {
    /// `ttl_seconds` is what is left of the time to live when the message goes out.
    pub fn new(address: Address<'a>, device: &'a str, reference: Reference, ttl_seconds: u32) -> Self {
        let mut ttl = [b'0'; DIGITS];
        let mut ttl_from = DIGITS;
        let mut left = ttl_seconds;
        while left > 0 || ttl_from == DIGITS {
            ttl_from -= 1;
            ttl[ttl_from] = b'0' + (left % 10) as u8;
            left /= 10;
        }
        Self { address, device, reference: reference.to_text(), ttl, ttl_from }
    }

    /// The slices that stand for a splice point, in order.
    pub(crate) fn parts(&self, splice: Splice) -> [&[u8]; 3] {
        match (splice, self.address) {
            (Splice::Token, Address::Token(token)) => [br#""token":""#, token.as_bytes(), b"\""],
            (Splice::Token, Address::Installation(fid)) => [br#""fid":""#, fid.as_bytes(), b"\""],
            (Splice::Device, _) => [self.device.as_bytes(), b"", b""],
            (Splice::Reference, _) => [&self.reference, b"", b""],
            (Splice::TtlSeconds, _) => [&self.ttl[self.ttl_from..], b"", b""],
        }
    }

    pub(crate) fn len_of(&self, splice: Splice) -> usize {
        self.parts(splice).iter().map(|part| part.len()).sum()
    }
}

impl fmt::Debug for Values<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Values(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_domain::ids::{ChunkId, RunId};

    #[test]
    fn seconds_are_written_in_digits_without_leading_zeros() {
        let reference = Reference { chunk: ChunkId { run: RunId(uuid::Uuid::nil()), number: 0 }, position: 0 };
        for seconds in [0, 7, 10, 2_419_200, u32::MAX] {
            let values = Values::new(Address::Token("t"), "d", reference, seconds);
            assert_eq!(values.parts(Splice::TtlSeconds).concat(), seconds.to_string().into_bytes());
        }
    }

    #[test]
    fn only_an_installation_goes_into_the_field_for_installations() {
        let written = |token: &PushToken| match Address::from(token) {
            Address::Token(text) => format!("token {text}"),
            Address::Installation(text) => format!("fid {text}"),
        };
        assert_eq!(written(&PushToken::FcmInstallation("abc".into())), "fid abc");
        assert_eq!(written(&PushToken::Fcm("abc".into())), "token abc");
    }
}
