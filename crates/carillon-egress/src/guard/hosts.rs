//! The operator's exemptions: hosts that the guard lets pass.

use serde::{Deserialize, Deserializer};
use std::fmt;
use std::str::FromStr;

/// `host` or `host:port`; an IPv6 address stands in brackets when a port follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    host: Box<str>,
    port: Option<u16>,
}

/// The text is not `host` or `host:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not of the form host or host:port")]
pub struct HostPortError;

/// A list of exempt hosts, such as `CARILLON_WEBPUSH__ALLOW_HOSTS`: a list, or one text with commas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowHosts(
    /// The entries; no bound but the operator's patience.
    pub Vec<HostPort>,
);

impl HostPort {
    /// True when this entry names `host` (lower case, no brackets) and, if it names a port, that one.
    pub(crate) fn covers(&self, host: &str, port: u16) -> bool {
        *self.host == *host && self.port.is_none_or(|p| p == port)
    }
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        let text = text.trim();
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, tail) = rest.split_once(']').ok_or(HostPortError)?;
                let port = if tail.is_empty() { None } else { Some(tail.strip_prefix(':').ok_or(HostPortError)?) };
                (host, port)
            }
            // More than one colon without brackets can only be a bare IPv6 address.
            None if text.matches(':').count() > 1 => (text, None),
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let is_v6 = host.contains(':');
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_') || (is_v6 && c == ':');
        if host.is_empty() || !host.chars().all(known) || (is_v6 && host.parse::<std::net::Ipv6Addr>().is_err()) {
            return Err(HostPortError);
        }
        let port = port.map(|p| p.parse::<u16>().ok().filter(|p| *p > 0).ok_or(HostPortError)).transpose()?;
        Ok(HostPort { host: host.to_ascii_lowercase().into(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.port, self.host.contains(':')) {
            (None, _) => f.write_str(&self.host),
            (Some(port), true) => write!(f, "[{}]:{port}", self.host),
            (Some(port), false) => write!(f, "{}:{port}", self.host),
        }
    }
}

impl FromStr for AllowHosts {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        Ok(AllowHosts(entries.map(str::parse).collect::<Result<_, _>>()?))
    }
}

impl<'de> Deserialize<'de> for AllowHosts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum OneOrMany {
            One(String),
            Many(Vec<String>),
        }
        let text = match OneOrMany::deserialize(deserializer)? {
            OneOrMany::One(text) => text,
            OneOrMany::Many(texts) => texts.join(","),
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_entry_with_a_port_covers_that_port_only() {
        let with: HostPort = "Sim.Local:8443".parse().unwrap();
        assert!(with.covers("sim.local", 8443) && !with.covers("sim.local", 443) && !with.covers("other", 8443));
        let without: HostPort = "sim.local".parse().unwrap();
        assert!(without.covers("sim.local", 8443) && without.covers("sim.local", 443));
    }

    #[test]
    fn ipv6_entries_are_read_with_and_without_brackets() {
        for (text, port, expected) in
            [("::1", 9, true), ("[::1]", 9, true), ("[::1]:443", 443, true), ("[::1]:443", 80, false)]
        {
            assert_eq!(text.parse::<HostPort>().unwrap().covers("::1", port), expected, "{text}");
        }
    }

    #[test]
    fn malformed_entries_are_refused() {
        for text in [
            "",
            ":443",
            "host:",
            "host:0",
            "host:65536",
            "host:x",
            "[::1",
            "[::1]443",
            "a b",
            "https://h",
            "h/",
            "*",
            "::g",
            "a@b",
        ] {
            assert_eq!(text.parse::<HostPort>(), Err(HostPortError), "{text:?}");
        }
    }

    #[test]
    fn a_list_may_be_one_text_with_commas() {
        let list: AllowHosts = " a , b:1,, [::1]:2 ".parse().unwrap();
        let shown: Vec<_> = list.0.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["a", "b:1", "[::1]:2"]);
        assert!("a,b:x".parse::<AllowHosts>().is_err());
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(host in "[a-z0-9][a-z0-9.-]{0,20}", port in prop::option::of(1u16..)) {
            let entry = HostPort { host: host.into(), port };
            prop_assert_eq!(entry.to_string().parse::<HostPort>().unwrap(), entry);
        }

        #[test]
        fn reading_never_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<HostPort>();
        }
    }
}
