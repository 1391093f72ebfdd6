//! The last net: texts on their way into a log line lose what looks like a secret.
//!
//! Secrets are kept out of logs by their types (`Secret`, `Redacted`); this catches what a foreign library's error or a
//! careless line brings along.

use std::borrow::Cow;

const MASK: &str = "***";

/// Runs of token characters from this length on are masked: push tokens, API keys, hashes, keys in base64. UUIDs (36),
/// trace ids (32) and ordinary words are shorter.
const TOKEN_LEN: usize = 40;

/// Fewest and most digits of a phone number with its `+` (E.164).
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 8..=15;

/// Fields whose value never appears, by the last part of their dotted name.
const SECRET_FIELDS: &[&str] = &[
    "api_key",
    "authorization",
    "body",
    "content",
    "credential",
    "credentials",
    "device_token",
    "key",
    "msisdn",
    "password",
    "payload",
    "phone",
    "private_key",
    "push_token",
    "secret",
    "token",
];

/// True if a field of this name must not be shown whatever it holds.
pub(crate) fn is_secret_field(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    SECRET_FIELDS.contains(&last)
}

/// Replaces what looks like a secret by `***`: long runs of token characters, phone numbers with their `+`, `Bearer`
/// and `Basic` credentials, `whsec_` secrets, and user and password in URLs.
pub fn scrub(text: &str) -> Cow<'_, str> {
    let mut clean = String::new();
    let mut kept = 0;
    let mut at = 0;
    while at < text.len() {
        match secret_at(text, at) {
            Some(end) => {
                clean.push_str(&text[kept..at]);
                clean.push_str(MASK);
                (kept, at) = (end, end);
            }
            None => at = next_start(text, at),
        }
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    clean.push_str(&text[kept..]);
    Cow::Owned(clean)
}

/// Where the secret that begins at `at` ends, if one does.
fn secret_at(text: &str, at: usize) -> Option<usize> {
    let (before, rest) = (&text[..at], &text[at..]);
    let length = if let Some(digits) = rest.strip_prefix('+') {
        let count = digits.bytes().take_while(u8::is_ascii_digit).count();
        PHONE_DIGITS.contains(&count).then_some(1 + count)
    } else if before.ends_with("://") {
        user_and_password(rest)
    } else if ends_with_scheme(before) || rest.starts_with("whsec_") {
        Some(rest.bytes().take_while(|byte| byte.is_ascii_graphic() && !b"\"',;)}]".contains(byte)).count())
    } else {
        let count = rest.bytes().take_while(|byte| is_token_byte(*byte)).count();
        (count >= TOKEN_LEN).then_some(count)
    };
    length.filter(|length| *length > 0).map(|length| at + length)
}

fn user_and_password(rest: &str) -> Option<usize> {
    let authority = rest.split(['/', '?', '#', ' ', '"']).next().unwrap_or_default();
    authority.rfind('@')
}

fn ends_with_scheme(before: &str) -> bool {
    ["bearer ", "basic "].iter().any(|scheme| {
        before
            .len()
            .checked_sub(scheme.len())
            .and_then(|from| before.get(from..))
            .is_some_and(|end| end.eq_ignore_ascii_case(scheme))
    })
}

/// The next position where a secret may begin: behind the run of token characters at `at`, or behind one other character.
fn next_start(text: &str, at: usize) -> usize {
    let run = text[at..].bytes().take_while(|byte| is_token_byte(*byte)).count();
    at + run.max(text[at..].chars().next().map_or(1, char::len_utf8))
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_masked() {
        let token = "0123456789abcdef".repeat(4);
        for (text, clean) in [
            (format!("POST /3/device/{token} failed"), "POST /3/device/*** failed"),
            ("SMS to +48501502503, twice".to_owned(), "SMS to ***, twice"),
            ("authorization: Bearer ya29.a0Af/x".to_owned(), "authorization: Bearer ***"),
            ("amqp://guest:s3same@10.0.0.1:5672/%2f".to_owned(), "amqp://***@10.0.0.1:5672/%2f"),
            ("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD is it".to_owned(), "*** is it"),
            (format!("key csk_{}", "a1B2".repeat(13)), "key ***"),
        ] {
            assert_eq!(scrub(&text), clean);
        }
    }

    #[test]
    fn ordinary_lines_stay_as_they_are() {
        for text in [
            "chunk 0193a5b2-7c1d-7e3f-8a9b-0c1d2e3f4a5b took 12 ms",
            "trace 4bf92f3577b34da6a3ce929d0e0e4736",
            "http://127.0.0.1:9600/readyz answered 200",
            "1+1 and +48 and bearer",
            "mail@example.com ąść",
            "",
        ] {
            assert!(matches!(scrub(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn fields_are_judged_by_the_last_part_of_their_name() {
        assert!(is_secret_field("device.push_token") && is_secret_field("phone"));
        assert!(!is_secret_field("token.kind") && !is_secret_field("message.id"));
    }

    proptest! {
        #[test]
        fn scrubbing_never_panics_and_is_done_after_one_pass(text in "[a-f0-9+:/@ _ą-]{0,120}") {
            let once = scrub(&text).into_owned();
            prop_assert_eq!(scrub(&once), once.as_str());
        }

        #[test]
        fn no_long_run_of_token_characters_survives(before in "[ -~]{0,20}", token in "[A-Za-z0-9_-]{64}") {
            let text = format!("{before}{token}");
            prop_assert!(!scrub(&text).contains(&token));
        }
    }
}
