//! What keeps a URL that a stranger gave us from reaching our own network (server-side request forgery).
//!
//! It is asked twice. When a URL is stored, [`Guard::check_url`] judges its text. When it is used, every address the
//! name resolves to at that moment must be public, the connection goes to the judged address (there is no second
//! look-up that could answer differently), and the peer's address is compared once the connection stands. Redirects
//! are followed nowhere in this crate.

mod address;
mod hosts;

pub use hosts::{AllowHosts, HostPort, HostPortError};

use crate::origin::{Origin, OriginError, Scheme};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The longest URL that is accepted, in bytes.
const MAX_URL: usize = 2048;
/// The longest host name, in bytes (RFC 1035, section 2.3.4).
const MAX_HOST: usize = 253;

/// Judges URLs and addresses that strangers chose. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    allow: Arc<[HostPort]>,
}

/// Why a URL or an address is refused. The texts are fit for the caller who gave the URL: they name no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// Longer than 2048 bytes.
    #[error("the URL is longer than {MAX_URL} bytes")]
    TooLong,
    /// Not a URL, or one with characters that parsers disagree about.
    #[error("not a valid URL")]
    Malformed,
    /// Not `https`.
    #[error("the URL must be https")]
    NotHttps,
    /// It carries a user name or password.
    #[error("the URL must not carry a user name or password")]
    UserInfo,
    /// It carries a fragment, which is never sent and so never meant.
    #[error("the URL must not have a fragment")]
    Fragment,
    /// Another port than 443.
    #[error("the URL must use port 443")]
    Port,
    /// The host is an address, not a name.
    #[error("the host must be a name, not an address")]
    IpLiteral,
    /// The host is not a fully qualified name of the DNS.
    #[error("the host must be a fully qualified domain name")]
    HostName,
    /// The name has no address.
    #[error("the host has no address")]
    NoAddress,
    /// At least one of the name's addresses is not on the public Internet.
    #[error("the host resolves to an address that is not public")]
    NotPublic,
}

impl Guard {
    /// A guard that exempts `allow` from the rules on addresses, names, ports and TLS: stand-ins for the providers, or
    /// an operator's own push service. The rules on length, user information and fragments hold for everybody.
    pub fn new(allow: AllowHosts) -> Self {
        Guard { allow: allow.0.into() }
    }

    /// Judges the text of a URL, without looking anything up: for the moment when it is stored.
    ///
    /// # Errors
    /// The first rule of [`GuardError`] that the URL breaks.
    pub fn check_url(&self, url: &str) -> Result<(), GuardError> {
        if url.len() > MAX_URL {
            return Err(GuardError::TooLong);
        }
        // Parsers differ on blanks, backslashes, quotes and bytes beyond ASCII: none of them belongs in a URL (RFC 3986).
        if url.bytes().any(|b| !(0x21..=0x7e).contains(&b) || br#"\"<>^`{|}"#.contains(&b)) {
            return Err(GuardError::Malformed);
        }
        if url.contains('#') {
            return Err(GuardError::Fragment);
        }
        let uri: http::Uri = url.parse().map_err(|_| GuardError::Malformed)?;
        let origin = Origin::of(&uri).map_err(|e| match e {
            OriginError::Scheme => GuardError::NotHttps,
            OriginError::UserInfo => GuardError::UserInfo,
            OriginError::Malformed | OriginError::Path => GuardError::Malformed,
        })?;
        self.check_origin(&origin)
    }

    /// The rules that concern scheme, host and port; asked again before each connection.
    pub(crate) fn check_origin(&self, origin: &Origin) -> Result<(), GuardError> {
        if self.is_exempt(origin) {
            return Ok(());
        }
        if origin.scheme() != Scheme::Https {
            return Err(GuardError::NotHttps);
        }
        check_host(origin.host())?;
        if origin.port() != Scheme::Https.default_port() { Err(GuardError::Port) } else { Ok(()) }
    }

    /// Judges what the name resolved to: one internal address among public ones condemns them all, or a resolver that
    /// alternates would let every second connection through.
    pub(crate) fn check_addresses(&self, origin: &Origin, addresses: &[SocketAddr]) -> Result<(), GuardError> {
        if addresses.is_empty() {
            return Err(GuardError::NoAddress);
        }
        if self.is_exempt(origin) || addresses.iter().all(|a| address::is_public(a.ip())) {
            return Ok(());
        }
        Err(GuardError::NotPublic)
    }

    fn is_exempt(&self, origin: &Origin) -> bool {
        self.allow.iter().any(|entry| entry.covers(origin.host(), origin.port()))
    }
}

/// A name with at least two labels of letters, digits and hyphens (RFC 1123), whose last one is not a number. Some
/// resolvers read `127.1`, `0x7f.1` and `2130706433` as addresses; a number is never a top-level domain.
fn check_host(host: &str) -> Result<(), GuardError> {
    if host.parse::<IpAddr>().is_ok() || host.contains(':') {
        return Err(GuardError::IpLiteral);
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    let last = host.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    if hex || (!last.is_empty() && last.bytes().all(|b| b.is_ascii_digit())) {
        return Err(GuardError::IpLiteral);
    }
    let label = |l: &str| {
        let known = l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        !l.is_empty() && l.len() <= 63 && known && !l.starts_with('-') && !l.ends_with('-')
    };
    let qualified = host.contains('.') && host.len() <= MAX_HOST && host.split('.').all(label);
    if !qualified || last == "localhost" { Err(GuardError::HostName) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
