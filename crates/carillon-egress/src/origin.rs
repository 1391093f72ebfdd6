//! Whom we call: scheme, host and port, and nothing else of a URL.

use http::uri::Authority;
use serde::Deserialize;
use std::fmt;
use std::str::FromStr;

/// How an origin is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Clear text. To an HTTP/2 pool it means prior knowledge (RFC 9113, section 3.3).
    Http,
    /// TLS 1.2 or later.
    Https,
}

impl Scheme {
    /// 80 or 443.
    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }

    pub(crate) fn as_uri(self) -> http::uri::Scheme {
        match self {
            Scheme::Http => http::uri::Scheme::HTTP,
            Scheme::Https => http::uri::Scheme::HTTPS,
        }
    }
}

/// A server: `scheme://host[:port]` (RFC 6454). The host is lower case and, for IPv6, without brackets.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Origin {
    scheme: Scheme,
    host: Box<str>,
    port: u16,
}

/// Why a text is not an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// Not a URL, or one without a host.
    #[error("not a URL of the form scheme://host[:port]")]
    Malformed,
    /// A scheme other than `http` and `https`.
    #[error("the scheme must be http or https")]
    Scheme,
    /// A user name or password stands before the host.
    #[error("a URL with a user name or password is refused")]
    UserInfo,
    /// A path or query follows where only an origin is expected.
    #[error("only scheme://host[:port] is expected, without a path")]
    Path,
}

impl Origin {
    /// The host as it is looked up: lower case, no brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, the scheme's own where the URL named none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The server that `uri` names; its path and query are left aside.
    ///
    /// # Errors
    /// [`OriginError`] for a URL without a host, with user information, or of another scheme.
    pub fn of(uri: &http::Uri) -> Result<Self, OriginError> {
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            Some(_) => return Err(OriginError::Scheme),
            None => return Err(OriginError::Malformed),
        };
        let authority = uri.authority().ok_or(OriginError::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(OriginError::UserInfo);
        }
        // `Authority::port_u16` answers "none" for a port that does not fit; that must not become the default port.
        let named_port = authority.as_str().len() > authority.host().len();
        let port = match authority.port_u16() {
            Some(0) => return Err(OriginError::Malformed),
            Some(port) => port,
            None if named_port => return Err(OriginError::Malformed),
            None => scheme.default_port(),
        };
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(OriginError::Malformed);
        }
        Ok(Origin { scheme, host: host.to_ascii_lowercase().into(), port })
    }

    /// The `:authority` of requests to this origin; the scheme's own port is left out, as browsers do.
    pub(crate) fn authority(&self) -> Result<Authority, OriginError> {
        let brackets = self.host.contains(':');
        let mut text = if brackets { format!("[{}]", self.host) } else { self.host.to_string() };
        if self.port != self.scheme.default_port() {
            text = format!("{text}:{}", self.port);
        }
        Authority::try_from(text).map_err(|_| OriginError::Malformed)
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        if text.contains(['?', '#']) {
            return Err(OriginError::Path);
        }
        let uri: http::Uri = text.parse().map_err(|_| OriginError::Malformed)?;
        if !matches!(uri.path(), "" | "/") {
            return Err(OriginError::Path);
        }
        Origin::of(&uri)
    }
}

impl TryFrom<String> for Origin {
    type Error = OriginError;

    fn try_from(text: String) -> Result<Self, OriginError> {
        text.parse()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{}://{open}{}{close}:{}", self.scheme.as_uri(), self.host, self.port)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_read_with_its_default_port_and_lower_case_host() {
        for (text, shown, authority) in [
            ("https://api.push.apple.com", "https://api.push.apple.com:443", "api.push.apple.com"),
            ("https://API.Push.Apple.com:443/", "https://api.push.apple.com:443", "api.push.apple.com"),
            ("https://api.push.apple.com:2197", "https://api.push.apple.com:2197", "api.push.apple.com:2197"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://[::1]:8080", "http://[::1]:8080", "[::1]:8080"),
        ] {
            let origin: Origin = text.parse().unwrap();
            assert_eq!(origin.to_string(), shown);
            assert_eq!(origin.authority().unwrap().as_str(), authority);
        }
    }

    #[test]
    fn what_is_more_or_less_than_an_origin_is_refused() {
        for (text, error) in [
            ("api.push.apple.com", OriginError::Malformed),
            ("https://", OriginError::Malformed),
            ("https://host:0", OriginError::Malformed),
            ("https://host:65536", OriginError::Malformed),
            ("https://host:", OriginError::Malformed),
            ("ftp://host", OriginError::Scheme),
            ("https://me:secret@host", OriginError::UserInfo),
            ("https://host/path", OriginError::Path),
            ("https://host?query", OriginError::Path),
            ("https://host/#part", OriginError::Path),
        ] {
            assert_eq!(text.parse::<Origin>(), Err(error), "{text}");
        }
    }
}
