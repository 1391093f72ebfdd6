//! Voluntary Application Server Identification (RFC 8292), as strictly as the strictest service takes it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::jwt::Jwt;

/// Seconds that `exp` may be ahead.
const LONGEST: i64 = 24 * 60 * 60;

/// Why an application server is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No credentials, or none in the scheme `vapid`.
    Unauthorized,
    /// The token is malformed, badly signed, for another origin, expired, too long-lived or without a contact.
    BadJwtToken,
    /// Not the key that the subscription was made for.
    KeyMismatch,
}

/// Checks `vapid t=<token>, k=<key>` for an endpoint's origin at `now` (seconds since 1970).
pub(crate) fn check(value: Option<&str>, origin: &str, made_for: Option<&[u8]>, now: i64) -> Result<(), Refusal> {
    let (scheme, parameters) = value.and_then(|value| value.split_once(' ')).ok_or(Refusal::Unauthorized)?;
    if !scheme.eq_ignore_ascii_case("vapid") {
        return Err(Refusal::Unauthorized);
    }
    let parameter = |wanted: &str| {
        parameters
            .split(',')
            .filter_map(|one| one.trim().split_once('='))
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| value)
    };
    let (Some(token), Some(key)) = (parameter("t"), parameter("k")) else { return Err(Refusal::Unauthorized) };
    let key = URL_SAFE_NO_PAD.decode(key).map_err(|_| Refusal::Unauthorized)?;
    if key.len() != 65 {
        return Err(Refusal::Unauthorized);
    }
    let jwt = Jwt::parse(token).ok_or(Refusal::BadJwtToken)?;
    let expires = jwt.seconds("exp").ok_or(Refusal::BadJwtToken)?;
    let timely = expires > now && expires - now <= LONGEST;
    if !timely
        || jwt.text("aud") != Some(origin)
        || !jwt.text("sub").is_some_and(is_contact)
        || !jwt.is_signed_es256(&key)
    {
        return Err(Refusal::BadJwtToken);
    }
    match made_for {
        Some(made_for) if made_for != key => Err(Refusal::KeyMismatch),
        _ => Ok(()),
    }
}

/// `mailto:` or `https:` of somebody who can be reached: neither empty nor this machine.
fn is_contact(subject: &str) -> bool {
    let here = |host: &str| host == "localhost" || host.ends_with(".localhost") || host.starts_with("127.");
    if let Some(address) = subject.strip_prefix("mailto:") {
        return address.split_once('@').is_some_and(|(name, host)| {
            !name.is_empty() && !host.is_empty() && !here(host) && !address.contains(char::is_whitespace)
        });
    }
    subject.strip_prefix("https://").is_some_and(|rest| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = host.rsplit('@').next().unwrap_or_default();
        let host = host.split(':').next().unwrap_or_default();
        !host.is_empty() && !here(host) && !rest.contains(char::is_whitespace)
    })
}

#[cfg(test)]
mod tests {
    use super::is_contact;

    #[test]
    fn the_contact_is_somebody_elsewhere() {
        assert!(is_contact("mailto:push@example.org"));
        assert!(is_contact("https://example.org/contact"));
        for wrong in [
            "mailto: push@example.org",
            "push@example.org",
            "mailto:push@localhost",
            "https://localhost/",
            "https://",
            "http://example.org",
        ] {
            assert!(!is_contact(wrong), "{wrong}");
        }
    }
}
