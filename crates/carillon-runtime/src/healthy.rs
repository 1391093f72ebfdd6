//! Asks the running process whether it is ready, for container engines whose images hold no other program to ask with.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// To connect, and again for each piece of the answer: below the time-outs that container engines give a check.
const PATIENCE: Duration = Duration::from_secs(2);
/// The status line is at the front; the report behind it is for people.
const ANSWER: u64 = 64 * 1024;

/// Whether the process whose admin port listens on `admin` answers `/readyz` with 200; else the answer's first line.
///
/// # Errors
/// Nobody answers there, or the port is chosen by the system and known from the log only.
pub(crate) fn ask(admin: SocketAddr) -> io::Result<Result<(), String>> {
    if admin.port() == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the system chose the port: name one to be asked on"));
    }
    let mut stream = TcpStream::connect_timeout(&reachable(admin), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.lines().next().unwrap_or_default();
    Ok(if status.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(status.to_owned()) })
}

/// A process that listens everywhere is reached on the loopback address.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_asked_on_the_loopback_address() {
        for (listen, asked) in
            [("0.0.0.0:9600", "127.0.0.1:9600"), ("[::]:9600", "[::1]:9600"), ("10.1.2.3:9600", "10.1.2.3:9600")]
        {
            assert_eq!(reachable(listen.parse().unwrap()), asked.parse().unwrap());
        }
    }

    #[test]
    fn a_port_that_nobody_knows_cannot_be_asked() {
        assert!(ask("127.0.0.1:0".parse().unwrap()).is_err());
    }
}
