//! A TCP proxy that knows where AMQP frames end: it cuts, refuses, freezes, injects and counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use crate::place::url;

const FRAME_END: u8 = 0xCE;
const METHOD: u8 = 1;

/// A way to the broker that can go bad. Ends with the value.
pub(crate) struct Proxy {
    url: String,
    state: Arc<State>,
    _task: JoinSet<()>,
}

struct State {
    target: String,
    cut: broadcast::Sender<()>,
    inject: broadcast::Sender<Vec<u8>>,
    refuse: watch::Sender<bool>,
    freeze: watch::Sender<bool>,
    connections: AtomicUsize,
    /// `basic.ack` frames from clients, and how many of them said `multiple`.
    acks: AtomicUsize,
    multiple: AtomicUsize,
}

impl Proxy {
    pub(crate) async fn start() -> Self {
        let url = url();
        let (credentials, rest) = url.rsplit_once('@').expect("a URL with user and password");
        let (target, vhost) = rest.split_once('/').expect("a URL with a vhost");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            target: target.to_owned(),
            cut: broadcast::channel(4).0,
            inject: broadcast::channel(4).0,
            refuse: watch::Sender::new(false),
            freeze: watch::Sender::new(false),
            connections: AtomicUsize::new(0),
            acks: AtomicUsize::new(0),
            multiple: AtomicUsize::new(0),
        });
        let mut task = JoinSet::new();
        task.spawn(accept(listener, Arc::clone(&state)));
        Self { url: format!("{credentials}@{address}/{vhost}"), state, _task: task }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Resets every connection.
    pub(crate) fn cut(&self) {
        let _ = self.state.cut.send(());
    }

    /// Whether new connections are reset at once.
    pub(crate) fn refuse(&self, refuse: bool) {
        self.state.refuse.send_replace(refuse);
    }

    /// Whether what clients send is held back.
    pub(crate) fn freeze(&self, freeze: bool) {
        self.state.freeze.send_replace(freeze);
    }

    /// Says `connection.blocked` (or `unblocked`) to every client, as a broker short of memory does.
    pub(crate) fn say_blocked(&self, blocked: bool) {
        let arguments: &[u8] = if blocked { b"\x00\x0a\x00\x3c\x06memory" } else { b"\x00\x0a\x00\x3d" };
        let mut frame = vec![METHOD, 0, 0];
        frame.extend((arguments.len() as u32).to_be_bytes());
        frame.extend(arguments);
        frame.push(FRAME_END);
        let _ = self.state.inject.send(frame);
    }

    /// Connections taken so far.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Acknowledgement frames so far, and how many of them acknowledged more than one message.
    pub(crate) fn acks(&self) -> (usize, usize) {
        (self.state.acks.load(Ordering::SeqCst), self.state.multiple.load(Ordering::SeqCst))
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut pairs = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        client.set_zero_linger().unwrap();
        if *state.refuse.borrow() {
            continue;
        }
        state.connections.fetch_add(1, Ordering::SeqCst);
        let server = TcpStream::connect(&state.target).await.unwrap();
        pairs.spawn(pair(client, server, Arc::clone(&state)));
    }
}

async fn pair(client: TcpStream, server: TcpStream, state: Arc<State>) {
    let mut cut = state.cut.subscribe();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let ((client_read, client_write), (server_read, server_write)) = (client.into_split(), server.into_split());
    // The first to end ends all; dropping a socket without linger resets it.
    tokio::select! {
        _ = up(client_read, server_write, &state) => {}
        _ = down(server_read, client_write, &state) => {}
        _ = cut.recv() => {}
    }
}

async fn up(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State) -> std::io::Result<()> {
    let mut freeze = state.freeze.subscribe();
    let mut header = [0; 8]; // the protocol header, which is no frame
    from.read_exact(&mut header).await?;
    to.write_all(&header).await?;
    loop {
        let frame = frame(&mut from).await?;
        if frame[0] == METHOD && frame[7..11] == [0, 60, 0, 80] {
            state.acks.fetch_add(1, Ordering::SeqCst);
            state.multiple.fetch_add(usize::from(frame[19] & 1), Ordering::SeqCst);
        }
        let _ = freeze.wait_for(|frozen| !frozen).await;
        to.write_all(&frame).await?;
    }
}

async fn down(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State) -> std::io::Result<()> {
    let mut inject = state.inject.subscribe();
    let mut first = [0; 1];
    loop {
        tokio::select! {
            // Unlike reading, peeking may be dropped halfway.
            peeked = from.peek(&mut first) => {
                peeked?;
                let frame = frame(&mut from).await?;
                to.write_all(&frame).await?;
            }
            Ok(bytes) = inject.recv() => to.write_all(&bytes).await?,
        }
    }
}

/// One frame (AMQP 0-9-1, 4.2.3): type, channel, size, payload, end.
async fn frame(from: &mut OwnedReadHalf) -> std::io::Result<Vec<u8>> {
    let mut frame = vec![0; 7];
    from.read_exact(&mut frame).await?;
    let size = u32::from_be_bytes([frame[3], frame[4], frame[5], frame[6]]) as usize;
    frame.resize(7 + size + 1, 0);
    from.read_exact(&mut frame[7..]).await?;
    Ok(frame)
}
