//! One message's body: the variant with its splice points filled. Copies slices, nothing else.

use bytes::{Bytes, BytesMut};
use carillon_domain::reference::TEXT_LEN;
use carillon_wire::events::splice::What;

use crate::chunk::Variant;

/// Room that is taken at once for many messages.
const BLOCK: usize = 64 * 1024;
/// Length of a Firebase installation id: 17 bytes in base64url without the last, meaningless character.
const FID_LEN: usize = 22;

/// The values of one message. Written as they are: tokens and device ids were checked when they were registered and need no
/// escaping in JSON.
pub(crate) struct Values<'a> {
    pub(crate) token: &'a str,
    pub(crate) device: &'a str,
    pub(crate) reference: &'a [u8; TEXT_LEN],
    pub(crate) ttl_seconds: u64,
}

/// A buffer that many bodies share.
#[derive(Default)]
pub(crate) struct Renderer(BytesMut);

impl Renderer {
    pub(crate) fn render(&mut self, variant: &Variant, values: &Values<'_>) -> Bytes {
        if variant.splices.is_empty() {
            return variant.body.clone();
        }
        let most =
            variant.body.len() + variant.splices.len() * (values.token.len() + values.device.len() + TEXT_LEN + 32);
        if self.0.capacity() < most {
            self.0.reserve(most.max(BLOCK));
        }
        let out = &mut self.0;
        let mut from = 0;
        for (offset, what) in &variant.splices {
            out.extend_from_slice(&variant.body[from..*offset]);
            write(out, *what, values);
            from = *offset;
        }
        out.extend_from_slice(&variant.body[from..]);
        out.split().freeze()
    }
}

fn write(out: &mut BytesMut, what: What, values: &Values<'_>) {
    match what {
        What::Token => {
            // FCM's `message` names the kind of target with the value.
            out.extend_from_slice(if is_installation(values.token) { br#""fid":""# } else { br#""token":""# });
            out.extend_from_slice(values.token.as_bytes());
            out.extend_from_slice(b"\"");
        }
        What::Device => out.extend_from_slice(values.device.as_bytes()),
        What::Reference => out.extend_from_slice(values.reference),
        What::TtlSeconds => {
            let mut digits = [0u8; 20];
            let (mut at, mut left) = (digits.len(), values.ttl_seconds);
            loop {
                at -= 1;
                digits[at] = b'0' + (left % 10) as u8;
                left /= 10;
                if left == 0 {
                    break;
                }
            }
            out.extend_from_slice(&digits[at..]);
        }
        What::Unspecified => {}
    }
}

/// A Firebase installation id is 22 characters of base64url whose first four bits are 0111 (the Firebase installations
/// guide); a registration token is longer and has a colon in it.
fn is_installation(token: &str) -> bool {
    let bytes = token.as_bytes();
    bytes.len() == FID_LEN
        && matches!(bytes[0], b'c'..=b'f')
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values<'a>(token: &'a str, reference: &'a [u8; TEXT_LEN]) -> Values<'a> {
        Values { token, device: "d1", reference, ttl_seconds: 3600 }
    }

    fn variant(body: &'static str, splices: &[(usize, What)]) -> Variant {
        Variant { body: Bytes::from_static(body.as_bytes()), splices: splices.to_vec() }
    }

    #[test]
    fn every_splice_point_gets_its_value() {
        let variant = variant(
            "{,\"d\":\"\",\"r\":\"\",\"ttl\":\"s\"}",
            &[(1, What::Token), (7, What::Device), (14, What::Reference), (23, What::TtlSeconds)],
        );
        let reference = [b'r'; TEXT_LEN];
        let body = Renderer::default().render(&variant, &values("a:b", &reference));
        let expected =
            format!("{{\"token\":\"a:b\",\"d\":\"d1\",\"r\":\"{}\",\"ttl\":\"3600s\"}}", "r".repeat(TEXT_LEN));
        assert_eq!(std::str::from_utf8(&body).unwrap(), expected);
    }

    #[test]
    fn an_installation_id_is_named_as_one() {
        let reference = [b'r'; TEXT_LEN];
        let render = |token| Renderer::default().render(&variant("", &[(0, What::Token)]), &values(token, &reference));
        assert_eq!(render("cXbZ-Qe1TkSh0yG_9vN3aB"), "\"fid\":\"cXbZ-Qe1TkSh0yG_9vN3aB\"");
        assert_eq!(render("cXbZ-Qe1TkSh0yG_9vN3aB:APA91b"), "\"token\":\"cXbZ-Qe1TkSh0yG_9vN3aB:APA91b\"");
    }

    #[test]
    fn a_body_without_splice_points_is_shared_and_not_copied() {
        let variant = variant("same", &[]);
        let body = Renderer::default().render(&variant, &values("t", &[0; TEXT_LEN]));
        assert_eq!(body.as_ptr(), variant.body.as_ptr());
    }

    proptest! {
        #[test]
        fn many_bodies_from_one_buffer_do_not_disturb_each_other(seconds in proptest::collection::vec(any::<u64>(), 1..50)) {
            let variant = variant("a-b", &[(1, What::TtlSeconds), (2, What::Device)]);
            let reference = [b'r'; TEXT_LEN];
            let mut renderer = Renderer::default();
            let bodies: Vec<_> = seconds.iter().map(|s| renderer.render(&variant, &Values { ttl_seconds: *s, ..values("t", &reference) })).collect();
            for (body, s) in bodies.iter().zip(&seconds) {
                prop_assert_eq!(std::str::from_utf8(body).unwrap(), format!("a{s}-d1b"));
            }
        }
    }
}
