//! A TCP proxy of the harness, one for each way from a process to a server: it cuts, stalls and leaves half-open.

use anyhow::Result;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::{AbortHandle, JoinSet};

/// How long both sides of a half-open connection are kept in the dark at most: longer than any run. Whoever waits for its end is stuck.
const HALF_OPEN: Duration = Duration::from_secs(4 * 3600);

/// What happens to the connections that are open now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// RST to both sides.
    Reset,
    /// What the client sends is taken and goes nowhere, and nothing comes back, until the client gives up; new connections are fine.
    HalfOpen,
}

/// One way. Its task ends with the value.
pub(crate) struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    task: AbortHandle,
}

struct State {
    target: Mutex<SocketAddr>,
    cut: broadcast::Sender<Cut>,
    stalled: watch::Sender<bool>,
    open: AtomicUsize,
}

impl Proxy {
    /// Listens on a port of the system's choice and leads to `target`.
    ///
    /// # Errors
    /// If it cannot listen.
    pub(crate) async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            target: Mutex::new(target),
            cut: broadcast::channel(16).0,
            stalled: watch::Sender::new(false),
            open: AtomicUsize::new(0),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&state))).abort_handle();
        Ok(Self { address, state, task })
    }

    /// New connections lead elsewhere; those that are open stay where they are.
    pub(crate) fn lead_to(&self, target: SocketAddr) {
        *self.state.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that pass through now.
    pub(crate) fn open(&self) -> usize {
        self.state.open.load(Ordering::Relaxed)
    }

    /// Does it to every open connection; how many there were.
    pub(crate) fn cut(&self, cut: Cut) -> usize {
        self.state.cut.send(cut).unwrap_or(0)
    }

    /// Swallows everything, on old and new connections alike, until it is told otherwise.
    pub(crate) fn stall(&self, stalled: bool) {
        self.state.stalled.send_replace(stalled);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if let Ok((client, _)) = listener.accept().await {
            let cuts = state.cut.subscribe();
            connections.spawn(connection(client, Arc::clone(&state), cuts));
        }
    }
}

async fn connection(client: TcpStream, state: Arc<State>, mut cuts: broadcast::Receiver<Cut>) {
    let target = *state.target.lock().unwrap_or_else(PoisonError::into_inner);
    let Ok(server) = TcpStream::connect(target).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    state.open.fetch_add(1, Ordering::Relaxed);
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let cut = {
        let up = pump(&mut from_client, &mut to_server, state.stalled.subscribe());
        let down = pump(&mut from_server, &mut to_client, state.stalled.subscribe());
        tokio::select! {
            _ = async { tokio::join!(up, down) } => None,
            cut = cuts.recv() => Some(cut.unwrap_or(Cut::Reset)),
        }
    };
    state.open.fetch_sub(1, Ordering::Relaxed);
    match cut {
        None => {}
        Some(Cut::Reset) => {
            let _ = (to_client.as_ref().set_zero_linger(), to_server.as_ref().set_zero_linger());
        }
        Some(Cut::HalfOpen) => {
            let _ = tokio::time::timeout(HALF_OPEN, swallow(&mut from_client)).await;
        }
    }
}

/// Reads until there is no more.
async fn swallow(from: &mut OwnedReadHalf) {
    let mut buffer = vec![0; 16 << 10];
    while matches!(from.read(&mut buffer).await, Ok(1..)) {}
}

async fn pump(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, mut stalled: watch::Receiver<bool>) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        let _ = stalled.wait_for(|stalled| !stalled).await;
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            // The other direction may have more to say.
            let _ = to.shutdown().await;
            return;
        }
    }
}
