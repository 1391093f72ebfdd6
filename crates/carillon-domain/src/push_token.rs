//! A provider's address of one installation: one type for all platforms.

use crate::fault::Faults;
use crate::limits;
use crate::platform::Platform;
use std::fmt;

/// Where a push goes. `Debug` never shows it: whoever has a token can send to the device.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum PushToken {
    /// APNs device token: hex, 64-200 digits today (providers page, APNs "Request"), kept in lower case.
    Apns(String),
    /// FCM registration token.
    Fcm(String),
    /// Firebase installation id, which FCM takes beside tokens.
    FcmInstallation(String),
    /// Web Push subscription (W3C Push API, RFC 8291).
    Webpush {
        /// The push service's URL for this subscription; opaque.
        endpoint: String,
        /// The browser's public key: 65 bytes, an uncompressed P-256 point.
        p256dh: Vec<u8>,
        /// The shared authentication secret: 16 bytes.
        auth: Vec<u8>,
    },
}

impl PushToken {
    /// Whose token it is.
    pub const fn platform(&self) -> Platform {
        match self {
            PushToken::Apns(_) => Platform::Apns,
            PushToken::Fcm(_) | PushToken::FcmInstallation(_) => Platform::Fcm,
            PushToken::Webpush { .. } => Platform::Webpush,
        }
    }

    /// The part that identifies it: the token, installation id or endpoint.
    pub fn identity(&self) -> &str {
        match self {
            PushToken::Apns(t) | PushToken::Fcm(t) | PushToken::FcmInstallation(t) => t,
            PushToken::Webpush { endpoint, .. } => endpoint,
        }
    }

    /// Checks the form. Tokens end up in paths, headers and JSON without escaping, so anything else is refused here.
    /// Addresses of Web Push endpoints are checked again, against internal networks, by whoever may reach out.
    pub fn check(&self, faults: &mut Faults) {
        match self {
            PushToken::Apns(t) => {
                if !(64..=200).contains(&t.len()) || t.len() % 2 == 1 || !t.bytes().all(|b| b.is_ascii_hexdigit()) {
                    faults.add("/token", "must be an APNs device token: 64-200 hexadecimal digits");
                }
            }
            PushToken::Fcm(t) => check_url_safe(faults, "/token", t, 16, 4096),
            PushToken::FcmInstallation(t) => check_url_safe(faults, "/fid", t, 8, 256),
            PushToken::Webpush { endpoint, p256dh, auth } => {
                if !endpoint.starts_with("https://") || endpoint.len() > limits::URL_BYTES || !endpoint.is_ascii() {
                    faults.add("/subscription/endpoint", "must be an https URL of at most 2048 ASCII characters");
                }
                if p256dh.len() != 65 || p256dh[0] != 4 {
                    faults.add(
                        "/subscription/keys/p256dh",
                        "must be base64url of an uncompressed P-256 point (65 bytes)",
                    );
                }
                if auth.len() != 16 {
                    faults.add("/subscription/keys/auth", "must be base64url of 16 bytes");
                }
            }
        }
    }
}

fn check_url_safe(faults: &mut Faults, pointer: &str, text: &str, min: usize, max: usize) {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':' | b'.' | b'=' | b'%' | b'~');
    if !(min..=max).contains(&text.len()) || !text.bytes().all(fits) {
        faults.add(pointer, format!("must be {min}-{max} URL-safe characters"));
    }
}

impl fmt::Debug for PushToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PushToken({})", self.platform().as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(token: &PushToken) -> Faults {
        let mut f = Faults::new();
        token.check(&mut f);
        f
    }

    #[test]
    fn tokens_that_could_break_out_of_a_path_are_refused() {
        for bad in ["abc/../../x?y".repeat(8), "g".repeat(64), "a".repeat(63), String::new()] {
            assert!(!faults(&PushToken::Apns(bad)).is_empty());
        }
        assert!(faults(&PushToken::Apns("0aF9".repeat(16))).is_empty());
        assert!(!faults(&PushToken::Fcm("quote\"quote\"quote".into())).is_empty());
        assert!(faults(&PushToken::Fcm("dQw4w9WgXcQ:APA91b-_x".into())).is_empty());
    }

    #[test]
    fn a_subscription_needs_a_point_and_sixteen_bytes() {
        let mut p256dh = vec![4u8; 65];
        let good =
            PushToken::Webpush { endpoint: "https://push.example/1".into(), p256dh: p256dh.clone(), auth: vec![0; 16] };
        assert!(faults(&good).is_empty());
        p256dh[0] = 2;
        let bad = PushToken::Webpush { endpoint: "http://push.example/1".into(), p256dh, auth: vec![0; 15] };
        assert_eq!(faults(&bad).as_slice().len(), 3);
    }

    #[test]
    fn debug_never_shows_a_token() {
        assert_eq!(format!("{:?}", PushToken::Apns("ab".repeat(32))), "PushToken(apns)");
    }
}
