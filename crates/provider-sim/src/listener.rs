//! Accepting connections, and the means to warn or cut them from outside.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::tasks::Tasks;

/// A TLS handshake that takes longer is given up.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Pause after an accept failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Bytes in and out, over TLS or plain TCP.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Wire for T {}

/// What is wanted of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Nothing special.
    Carry,
    /// Send GOAWAY (over HTTP/1.1: close after the answer) and finish what is under way.
    GoAway,
    /// Cut it, with no word.
    Drop,
}

/// The open connections of one provider.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    number: AtomicU64,
    refusing: AtomicBool,
    open: Mutex<HashMap<u64, watch::Sender<Wish>>>,
}

impl Connections {
    /// How many were accepted so far.
    pub(crate) fn opened(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    /// How many are open now.
    pub(crate) fn open(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Tells all that are open.
    pub(crate) fn wish(&self, wish: Wish) {
        for sender in self.open.lock().unwrap_or_else(PoisonError::into_inner).values() {
            sender.send_replace(wish);
        }
    }

    /// Closes what is open and whatever comes until told otherwise.
    pub(crate) fn refuse(&self, refusing: bool) {
        self.refusing.store(refusing, Ordering::Relaxed);
        if refusing {
            self.wish(Wish::Drop);
        }
    }

    /// Nothing when connections are refused, also if that began during the handshake.
    fn enter(self: &Arc<Self>, certificate: Option<Vec<u8>>) -> Option<Link> {
        let (sender, wishes) = watch::channel(Wish::Carry);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if self.refusing.load(Ordering::Relaxed) {
            return None;
        }
        let id = self.number.fetch_add(1, Ordering::Relaxed);
        open.insert(id, sender.clone());
        Some(Link {
            certificate,
            wishes,
            handle: Handle { sender },
            _place: Place { id, connections: Arc::clone(self) },
        })
    }
}

/// One connection's ear, held by the task that serves it.
pub(crate) struct Link {
    certificate: Option<Vec<u8>>,
    wishes: watch::Receiver<Wish>,
    handle: Handle,
    _place: Place,
}

impl Link {
    /// The client's certificate (DER), which chains to the simulator's own authority.
    pub(crate) fn certificate(&self) -> Option<&[u8]> {
        self.certificate.as_deref()
    }

    /// The next wish; never resolves when nothing is wanted any more.
    pub(crate) async fn wished(&mut self) -> Wish {
        if self.wishes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        *self.wishes.borrow_and_update()
    }

    /// A handle with which a request can ask something of its own connection.
    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

/// Lets a request ask something of the connection that it came on.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    sender: watch::Sender<Wish>,
}

impl Handle {
    pub(crate) fn wish(&self, wish: Wish) {
        self.sender.send_replace(wish);
    }
}

struct Place {
    id: u64,
    connections: Arc<Connections>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// What is done with a connection once it is there; generic over TLS and plain text, so that neither costs a box.
pub(crate) trait Serve: Clone + Send + Sync + 'static {
    fn serve<W: Wire>(self, wire: W, link: Link) -> impl Future<Output = ()> + Send;
}

/// Accepts until the simulator stops.
pub(crate) fn listen<S: Serve>(
    tasks: &Tasks,
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    connections: Arc<Connections>,
    server: S,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    let inner = tasks.clone();
    tasks.spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            if connections.refusing.load(Ordering::Relaxed) {
                continue;
            }
            inner.spawn(carry(stream, acceptor.clone(), Arc::clone(&connections), server.clone()));
        }
    });
}

async fn carry<S: Serve>(stream: TcpStream, acceptor: Option<TlsAcceptor>, connections: Arc<Connections>, server: S) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Some(acceptor) = acceptor else {
        if let Some(link) = connections.enter(None) {
            server.serve(stream, link).await;
        }
        return;
    };
    if let Ok(Ok(wire)) = tokio::time::timeout(HANDSHAKE_DEADLINE, acceptor.accept(stream)).await {
        // A client without ALPN is refused where only HTTP/2 is spoken: rustls itself lets it pass.
        let only_h2 = wire.get_ref().1.alpn_protocol().is_none();
        if only_h2 && !server_allows_no_alpn(&acceptor) {
            return;
        }
        let certificate = wire.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(|own| own.to_vec());
        if let Some(link) = connections.enter(certificate) {
            server.serve(wire, link).await;
        }
    }
}

fn server_allows_no_alpn(acceptor: &TlsAcceptor) -> bool {
    acceptor.config().alpn_protocols.iter().any(|name| name == b"http/1.1")
}
