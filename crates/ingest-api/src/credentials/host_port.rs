//! `host` or `host:port`, as in the settings that exempt a host from a rule.

/// A host that a setting names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    host: String,
    port: Option<u16>,
}

impl HostPort {
    /// Reads `host`, `host:port` or `[v6]:port`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let authority: http::uri::Authority = text.parse().ok()?;
        let host = authority.host();
        let port = authority.port_u16();
        let whole = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let plain = whole == text && !host.is_empty();
        plain.then(|| Self { host: host.to_ascii_lowercase(), port })
    }

    /// Whether it names this host and port; without a port of its own, every port of the host.
    pub(crate) fn matches(&self, host: &str, port: u16) -> bool {
        self.host.eq_ignore_ascii_case(host) && self.port.is_none_or(|own| own == port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_a_port_means_every_port() {
        let any = HostPort::parse("Sim.local").unwrap();
        assert!(any.matches("sim.local", 1) && any.matches("SIM.LOCAL", 2) && !any.matches("sim", 1));
        let one = HostPort::parse("127.0.0.1:7").unwrap();
        assert!(one.matches("127.0.0.1", 7) && !one.matches("127.0.0.1", 8));
        assert!(HostPort::parse("[::1]:7").unwrap().matches("[::1]", 7));
    }

    #[test]
    fn what_is_more_than_a_host_is_none() {
        for bad in ["", "https://a", "a/b", "u@a", "a:b", "a:99999", "a b", "a:"] {
            assert_eq!(HostPort::parse(bad), None, "{bad}");
        }
    }
}
