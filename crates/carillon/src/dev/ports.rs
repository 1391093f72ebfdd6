//! Free ports on the loopback address.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, bail};

/// Below the range from which systems take ports of outgoing connections: a port that is free now is still free when the
/// process that was told to use it binds it.
const RANGE: std::ops::Range<u16> = 20_000..32_000;
const TRIES: usize = 1_000;

/// Hands out ports, none twice.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    taken: HashSet<u16>,
}

impl Ports {
    /// A port that nobody listens on.
    ///
    /// # Errors
    /// If a thousand of them are taken.
    pub(crate) fn free(&mut self) -> Result<u16> {
        for _ in 0..TRIES {
            let [low, high, ..] = *uuid::Uuid::new_v4().as_bytes();
            let port = RANGE.start + u16::from_le_bytes([low, high]) % (RANGE.end - RANGE.start);
            let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
            if bound.is_ok() && self.taken.insert(port) {
                return Ok(port);
            }
        }
        bail!("no free port between {} and {}", RANGE.start, RANGE.end);
    }

    /// `127.0.0.1:port` with a free port.
    ///
    /// # Errors
    /// As [`Ports::free`].
    pub(crate) fn address(&mut self) -> Result<String> {
        Ok(format!("{}:{}", Ipv4Addr::LOCALHOST, self.free()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_handed_out_twice_and_each_can_be_bound() {
        let mut ports = Ports::default();
        let given: Vec<u16> = (0..50).map(|_| ports.free().unwrap()).collect();
        assert_eq!(given.iter().collect::<HashSet<_>>().len(), given.len());
        assert!(given.iter().all(|port| RANGE.contains(port)));
    }
}
