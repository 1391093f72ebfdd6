//! A subscription's endpoint: who is called, and for what.

use carillon_egress::{Guard, GuardError, Origin};
use http::Uri;
use http::uri::PathAndQuery;

/// Where a message goes.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) origin: Origin,
    pub(crate) path: PathAndQuery,
    pub(crate) uri: Uri,
}

impl Endpoint {
    /// Judges the text and takes it apart. What the name resolves to is judged at each connect.
    ///
    /// # Errors
    /// [`GuardError`]: no message is ever sent there.
    pub(crate) fn read(text: &str, guard: &Guard) -> Result<Self, GuardError> {
        guard.check_url(text)?;
        let uri: Uri = text.parse().map_err(|_| GuardError::Malformed)?;
        let origin = Origin::of(&uri).map_err(|_| GuardError::Malformed)?;
        let path = uri.path_and_query().cloned().ok_or(GuardError::Malformed)?;
        Ok(Self { origin, path, uri })
    }
}

/// Host and port as an endpoint's text has them: what fails together. Nothing is judged here.
pub(crate) fn authority(text: &str) -> &str {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or(rest)
}

/// An origin as RFC 6454, section 6.1, writes it: without the port that everybody expects.
pub(crate) fn serialized(origin: &Origin) -> String {
    let mut text = origin.to_string();
    let usual = format!(":{}", origin.scheme().default_port());
    if origin.port() == origin.scheme().default_port() && text.ends_with(&usual) {
        text.truncate(text.len() - usual.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_origin_and_a_path() {
        let endpoint = Endpoint::read("https://Push.Example/wp/v2/a%20b?x=1", &Guard::default()).unwrap();
        assert_eq!(serialized(&endpoint.origin), "https://push.example");
        assert_eq!(endpoint.path.as_str(), "/wp/v2/a%20b?x=1");
    }

    #[test]
    fn endpoints_of_one_push_service_share_a_breaker_and_those_of_two_do_not() {
        let of = |text| authority(text);
        assert_eq!(of("https://push.example/wp/a?x=1"), of("https://push.example/wp/b"));
        assert_ne!(of("https://push.example/a"), of("https://push.example:8443/a"));
        assert_eq!([of("https://push.example?x"), of("nonsense"), of("")], ["push.example", "nonsense", ""]);
    }

    #[test]
    fn an_endpoint_that_points_inside_is_not_called() {
        for bad in [
            "http://push.example/x",
            "https://127.0.0.1/x",
            "https://[::1]/x",
            "https://localhost/x",
            "https://push.example:8443/x",
            "https://me@push.example/x",
            "https://2130706433/x",
            "not a url",
            "",
        ] {
            assert!(Endpoint::read(bad, &Guard::default()).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_origin_is_written_as_browsers_do() {
        for (text, expected) in [
            ("https://push.example", "https://push.example"),
            ("https://push.example:443", "https://push.example"),
            ("https://push.example:4430", "https://push.example:4430"),
            ("http://push.example:80", "http://push.example"),
            ("http://[::1]:443", "http://[::1]:443"),
        ] {
            assert_eq!(serialized(&text.parse().unwrap()), expected);
        }
    }
}
