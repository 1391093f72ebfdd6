//! From an origin to an open connection: resolve, judge, connect, TLS.

use crate::error::{ConnectError, Stage};
use crate::guard::{Guard, GuardError};
use crate::origin::{Origin, Scheme};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

/// More addresses of one name than this are not tried in one attempt.
const MAX_ADDRESSES: usize = 8;
/// A single address gets at least this long, so that a long list does not starve its first entries.
const LEAST_PER_ADDRESS: Duration = Duration::from_millis(250);

/// Opens connections. The name is resolved anew each time: providers move their gateways by DNS.
#[derive(Clone)]
pub(crate) struct Dialer {
    tls: Arc<ClientConfig>,
    guard: Option<Guard>,
    timeout: Duration,
}

/// An open connection, in clear or in TLS.
pub(crate) struct Wire {
    io: Either<TcpStream, Box<TlsStream<TcpStream>>>,
}

impl Dialer {
    pub(crate) fn new(tls: Arc<ClientConfig>, guard: Option<Guard>, timeout: Duration) -> Self {
        Dialer { tls, guard, timeout }
    }

    /// The deadline of an attempt that starts now.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    pub(crate) async fn dial(&self, origin: &Origin, deadline: Instant) -> Result<Wire, ConnectError> {
        if let Some(guard) = &self.guard {
            guard.check_origin(origin).map_err(ConnectError::Guard)?;
        }
        let resolved = timeout_at(deadline, resolve(origin)).await;
        let addresses = resolved.map_err(|_| ConnectError::Timeout(Stage::Dns))??;
        self.dial_resolved(origin, &addresses, deadline).await
    }

    async fn dial_resolved(
        &self,
        origin: &Origin,
        addresses: &[SocketAddr],
        deadline: Instant,
    ) -> Result<Wire, ConnectError> {
        if let Some(guard) = &self.guard {
            guard.check_addresses(origin, addresses).map_err(ConnectError::Guard)?;
        }
        let tcp = connect_first(addresses, deadline).await?;
        self.check_peer(origin, &tcp)?;
        if let Err(error) = tcp.set_nodelay(true) {
            return Err(ConnectError::Tcp(Arc::new(error)));
        }
        if origin.scheme() == Scheme::Http {
            return Ok(Wire { io: Either::Left(tcp) });
        }
        let name = ServerName::try_from(origin.host().to_owned())
            .map_err(|e| ConnectError::Tls(Arc::new(io::Error::new(io::ErrorKind::InvalidInput, e))))?;
        let handshake = TlsConnector::from(self.tls.clone()).connect(name, tcp);
        let tls = timeout_at(deadline, handshake).await.map_err(|_| ConnectError::Timeout(Stage::Tls))?;
        let tls = tls.map_err(|e| ConnectError::Tls(Arc::new(e)))?;
        Ok(Wire { io: Either::Right(Box::new(tls)) })
    }

    /// What the kernel says we are connected to, judged once more: the last line, should a layer below rewrite addresses.
    fn check_peer(&self, origin: &Origin, tcp: &TcpStream) -> Result<(), ConnectError> {
        let Some(guard) = &self.guard else { return Ok(()) };
        let peer = tcp.peer_addr().map_err(|e| ConnectError::Tcp(Arc::new(e)))?;
        guard.check_addresses(origin, &[peer]).map_err(ConnectError::Guard)
    }
}

async fn resolve(origin: &Origin) -> Result<Vec<SocketAddr>, ConnectError> {
    if let Ok(literal) = origin.host().parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(literal, origin.port())]);
    }
    let found = tokio::net::lookup_host((origin.host(), origin.port())).await;
    let addresses: Vec<_> = found.map_err(|e| ConnectError::Dns(Arc::new(e)))?.collect();
    if addresses.is_empty() {
        return Err(ConnectError::Guard(GuardError::NoAddress));
    }
    Ok(addresses)
}

/// Tries the addresses in the resolver's order (RFC 6724), each for its share of the time that is left.
async fn connect_first(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, ConnectError> {
    let mut last = ConnectError::Timeout(Stage::Tcp);
    let tried = &addresses[..addresses.len().min(MAX_ADDRESSES)];
    for (index, address) in tried.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let share = (left / (tried.len() - index) as u32).max(LEAST_PER_ADDRESS).min(left);
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => last = ConnectError::Tcp(Arc::new(error)),
            Err(_) => last = ConnectError::Timeout(Stage::Tcp),
        }
    }
    Err(last)
}

impl Wire {
    /// True when TLS agreed on `h2`; in clear nothing is agreed on.
    pub(crate) fn negotiated_h2(&self) -> bool {
        match &self.io {
            Either::Left(_) => false,
            Either::Right(tls) => tls.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    /// No: what can be written in pieces, the h2 crate hands over request by request once a body has 256 bytes, each as a TLS record and a system
    /// call of its own. Without, it gathers frames with bodies of up to 1 KiB, which pushes are, and writes 16 KiB at once.
    fn is_write_vectored(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::{TlsConfig, Trust};

    fn dialer(guard: Guard) -> Dialer {
        let trust = Trust::load(&TlsConfig::default()).unwrap();
        Dialer::new(trust.client_config(&[b"h2"], None).unwrap(), Some(guard), Duration::from_secs(5))
    }

    #[tokio::test]
    async fn a_public_name_that_resolves_to_an_internal_address_is_never_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let inside = listener.local_addr().unwrap();
        let outside: SocketAddr = "203.0.114.1:443".parse().unwrap();
        let origin: Origin = "https://push.example.com".parse().unwrap();
        for addresses in [vec![inside], vec![outside, inside]] {
            let dialer = dialer(Guard::default());
            let refused = dialer.dial_resolved(&origin, &addresses, dialer.deadline()).await;
            assert!(matches!(refused, Err(ConnectError::Guard(GuardError::NotPublic))));
        }
        // Nobody knocked: the first connection that the listener sees is our own.
        let own = TcpStream::connect(inside).await.unwrap();
        let (_, knocked) = listener.accept().await.unwrap();
        assert_eq!(knocked, own.local_addr().unwrap());
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_refuses() {
        let bound = tokio::net::TcpSocket::new_v4().unwrap();
        bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let closed = bound.local_addr().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        let tcp = connect_first(&[closed, listener.local_addr().unwrap()], deadline).await.unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), listener.local_addr().unwrap());
    }

    #[tokio::test]
    async fn a_wire_is_written_to_in_one_piece_so_that_requests_leave_together() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        assert!(tcp.is_write_vectored(), "what lies below could take pieces");
        assert!(!Wire { io: Either::Left(tcp) }.is_write_vectored());
    }
}
