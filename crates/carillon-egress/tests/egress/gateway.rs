//! An HTTP/2 server written frame by frame (RFC 9113), because a well-behaved library cannot be made to misbehave.
//! Requests are told apart by their bodies; header blocks are not decoded, and answers must fit the client's window.

use crate::certificates;
use carillon_egress::Origin;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// HPACK indexed fields of the static table: `:status` 200 and 500.
pub(crate) const OK: u8 = 0x88;
pub(crate) const INTERNAL_ERROR: u8 = 0x8e;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;

/// A whole request as the script sees it.
pub(crate) struct Arrival {
    /// Which connection, from 1.
    pub(crate) connection: usize,
    /// The how-manieth request on it, from 1.
    pub(crate) nth: usize,
    /// The how-manieth request of all, from 1.
    pub(crate) total: usize,
}

/// What the server does about one request, or about a connection.
#[derive(Clone)]
pub(crate) enum Act {
    Answer(u8, Vec<u8>),
    /// Keeps the stream open until [`Gateway::answer_held`].
    Hold,
    Reset(u32),
    /// Cuts the TCP connection.
    Hangup,
    /// GOAWAY that names the how-manieth request as the last one processed; 0 is none.
    GoAway {
        last: usize,
    },
    MaxStreams(u32),
    AnswerHeld,
}

type Script = dyn Fn(&Arrival) -> Act + Send + Sync;

/// What the server saw and did.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) connections: AtomicUsize,
    pub(crate) open_connections: AtomicUsize,
    pub(crate) requests: AtomicUsize,
    pub(crate) pings: AtomicUsize,
    pub(crate) cancelled: AtomicUsize,
    /// The most streams that were ever open at once on one connection.
    pub(crate) peak: AtomicUsize,
    /// Streams open now, on all.
    pub(crate) open_streams: AtomicUsize,
    pub(crate) bodies: Mutex<Vec<String>>,
    /// Requests that wait for [`Act::AnswerHeld`], on all connections.
    pub(crate) held: watch::Sender<usize>,
    silent_up_to: watch::Sender<usize>,
    hang_up: AtomicBool,
}

pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
    tls: bool,
    commands: Arc<Mutex<HashMap<usize, mpsc::Sender<Act>>>>,
    accepting: JoinHandle<()>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Gateway {
    /// In clear, with prior knowledge.
    pub(crate) async fn start(max_streams: u32, script: impl Fn(&Arrival) -> Act + Send + Sync + 'static) -> Self {
        Self::listen(max_streams, None, Arc::new(script)).await
    }

    /// As `localhost`, over TLS.
    pub(crate) async fn start_tls(max_streams: u32, script: impl Fn(&Arrival) -> Act + Send + Sync + 'static) -> Self {
        let tls = certificates::authority().server("localhost", &[b"h2"], false);
        Self::listen(max_streams, Some(tls), Arc::new(script)).await
    }

    pub(crate) async fn start_with(tls: Arc<rustls::ServerConfig>) -> Self {
        Self::listen(100, Some(tls), Arc::new(|_: &Arrival| Act::Answer(OK, vec![]))).await
    }

    /// On a port that refused connections so far.
    pub(crate) fn open(socket: TcpSocket) -> Self {
        Self::serve(socket.listen(64).unwrap(), 100, None, Arc::new(|_: &Arrival| Act::Answer(OK, vec![])))
    }

    async fn listen(max_streams: u32, tls: Option<Arc<rustls::ServerConfig>>, script: Arc<Script>) -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), max_streams, tls, script)
    }

    fn serve(
        listener: TcpListener,
        max_streams: u32,
        tls: Option<Arc<rustls::ServerConfig>>,
        script: Arc<Script>,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let (seen, commands) = (Arc::new(Seen::default()), Arc::<Mutex<HashMap<_, _>>>::default());
        let has_tls = tls.is_some();
        let accepting = tokio::spawn(accept(listener, max_streams, tls, script, seen.clone(), commands.clone()));
        Gateway { address, seen, tls: has_tls, commands, accepting }
    }

    pub(crate) fn origin(&self) -> Origin {
        let port = self.address.port();
        let text = if self.tls { format!("https://localhost:{port}") } else { format!("http://127.0.0.1:{port}") };
        text.parse().unwrap()
    }

    /// Does `act` on every open connection.
    pub(crate) async fn tell(&self, act: Act) {
        let senders: Vec<_> = self.commands.lock().unwrap().values().cloned().collect();
        for sender in senders {
            let _ = sender.send(act.clone()).await;
        }
    }

    /// From now on the connections that are open neither read nor write.
    pub(crate) fn fall_silent(&self) {
        self.seen.silent_up_to.send_replace(self.seen.connections.load(Ordering::SeqCst));
    }

    /// The end of silence: what was sent meanwhile is read now.
    pub(crate) fn speak_again(&self) {
        self.seen.silent_up_to.send_replace(0);
    }

    /// From now on connections are closed as soon as they are accepted.
    pub(crate) fn hang_up_at_once(&self) {
        self.seen.hang_up.store(true, Ordering::SeqCst);
    }

    pub(crate) fn sorted_bodies(&self) -> Vec<String> {
        let mut bodies = self.seen.bodies.lock().unwrap().clone();
        bodies.sort();
        bodies
    }
}

impl Seen {
    pub(crate) fn count(counter: &AtomicUsize) -> usize {
        counter.load(Ordering::SeqCst)
    }
}

async fn accept(
    listener: TcpListener,
    max_streams: u32,
    tls: Option<Arc<rustls::ServerConfig>>,
    script: Arc<Script>,
    seen: Arc<Seen>,
    commands: Arc<Mutex<HashMap<usize, mpsc::Sender<Act>>>>,
) {
    // Ends the connections with the server.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((tcp, _)) = listener.accept().await else { return };
        let id = seen.connections.fetch_add(1, Ordering::SeqCst) + 1;
        if seen.hang_up.load(Ordering::SeqCst) {
            continue;
        }
        tcp.set_nodelay(true).unwrap();
        let (sender, receiver) = mpsc::channel(16);
        commands.lock().unwrap().insert(id, sender);
        let session = Session::new(id, script.clone(), seen.clone());
        let (tls, commands) = (tls.clone(), commands.clone());
        connections.spawn(async move {
            session.seen.open_connections.fetch_add(1, Ordering::SeqCst);
            let seen = session.seen.clone();
            match tls {
                None => session.run(tcp, max_streams, receiver).await,
                Some(config) => {
                    if let Ok(io) = tokio_rustls::TlsAcceptor::from(config).accept(tcp).await {
                        session.run(io, max_streams, receiver).await;
                    }
                }
            }
            commands.lock().unwrap().remove(&id);
            seen.open_connections.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

struct Session {
    id: usize,
    script: Arc<Script>,
    seen: Arc<Seen>,
    bodies: HashMap<u32, Vec<u8>>,
    /// Stream ids in order of arrival.
    arrived: Vec<u32>,
    held: Vec<u32>,
    open: usize,
    gone_above: u32,
}

/// The end of a connection.
struct Over;

impl Session {
    fn new(id: usize, script: Arc<Script>, seen: Arc<Seen>) -> Self {
        let (bodies, arrived, held) = Default::default();
        Session { id, script, seen, bodies, arrived, held, open: 0, gone_above: u32::MAX }
    }

    async fn run<IO>(mut self, io: IO, max_streams: u32, mut commands: mpsc::Receiver<Act>)
    where
        IO: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reader, mut writer) = tokio::io::split(io);
        let (frames_in, mut frames) = mpsc::channel(16);
        let mut reading = tokio::task::JoinSet::new();
        reading.spawn(read_frames(reader, frames_in, self.id, self.seen.clone()));
        let mut out = settings(max_streams);
        loop {
            if writer.write_all(&out).await.is_err() || writer.flush().await.is_err() {
                break;
            }
            out.clear();
            let went_on = tokio::select! {
                frame = frames.recv() => match frame { Some(frame) => self.frame(frame, &mut out), None => Err(Over) },
                Some(act) = commands.recv() => self.act(act, 0, &mut out),
            };
            if went_on.is_err() {
                let _ = writer.write_all(&out).await;
                let _ = writer.flush().await;
                break;
            }
        }
        self.seen.open_streams.fetch_sub(self.open, Ordering::SeqCst);
        self.seen.held.send_modify(|held| *held -= self.held.len());
    }

    fn frame(&mut self, frame: Frame, out: &mut Vec<u8>) -> Result<(), Over> {
        match frame.kind {
            SETTINGS if frame.flags & ACK == 0 => put(out, SETTINGS, ACK, 0, &[]),
            PING if frame.flags & ACK == 0 => {
                self.seen.pings.fetch_add(1, Ordering::SeqCst);
                put(out, PING, ACK, 0, &frame.payload);
            }
            HEADERS if frame.stream > self.gone_above => {}
            HEADERS => {
                self.open += 1;
                self.seen.peak.fetch_max(self.open, Ordering::SeqCst);
                self.seen.open_streams.fetch_add(1, Ordering::SeqCst);
                self.bodies.insert(frame.stream, vec![]);
                if frame.flags & END_STREAM != 0 {
                    return self.request(frame.stream, out);
                }
            }
            DATA => {
                let len = frame.payload.len() as u32;
                if len > 0 {
                    put(out, WINDOW_UPDATE, 0, 0, &len.to_be_bytes());
                    put(out, WINDOW_UPDATE, 0, frame.stream, &len.to_be_bytes());
                }
                let Some(body) = self.bodies.get_mut(&frame.stream) else { return Ok(()) };
                body.extend_from_slice(&frame.payload);
                if frame.flags & END_STREAM != 0 {
                    return self.request(frame.stream, out);
                }
            }
            RST_STREAM => {
                self.seen.cancelled.fetch_add(1, Ordering::SeqCst);
                if self.bodies.remove(&frame.stream).is_some() {
                    let before = self.held.len();
                    self.held.retain(|held| *held != frame.stream);
                    self.seen.held.send_modify(|held| *held -= before - self.held.len());
                    self.close_stream();
                }
            }
            GOAWAY => return Err(Over),
            _ => {}
        }
        Ok(())
    }

    fn request(&mut self, stream: u32, out: &mut Vec<u8>) -> Result<(), Over> {
        self.arrived.push(stream);
        let body = String::from_utf8(self.bodies[&stream].clone()).unwrap();
        self.seen.bodies.lock().unwrap().push(body);
        let total = self.seen.requests.fetch_add(1, Ordering::SeqCst) + 1;
        let act = (self.script)(&Arrival { connection: self.id, nth: self.arrived.len(), total });
        self.act(act, stream, out)
    }

    fn act(&mut self, act: Act, stream: u32, out: &mut Vec<u8>) -> Result<(), Over> {
        match act {
            Act::Answer(status, body) => self.answer(stream, status, &body, out),
            Act::Hold => {
                self.held.push(stream);
                self.seen.held.send_modify(|held| *held += 1);
            }
            Act::AnswerHeld => {
                self.seen.held.send_modify(|held| *held -= self.held.len());
                for stream in std::mem::take(&mut self.held) {
                    self.answer(stream, OK, &[], out);
                }
            }
            Act::Reset(code) => {
                put(out, RST_STREAM, 0, stream, &code.to_be_bytes());
                self.bodies.remove(&stream);
                self.close_stream();
            }
            Act::Hangup => return Err(Over),
            Act::GoAway { last } => self.go_away(last, out),
            Act::MaxStreams(max) => out.extend(settings(max)),
        }
        Ok(())
    }

    fn go_away(&mut self, last: usize, out: &mut Vec<u8>) {
        let last = if last == 0 { 0 } else { self.arrived[last - 1] };
        put(out, GOAWAY, 0, 0, &[last.to_be_bytes(), 0u32.to_be_bytes()].concat());
        self.gone_above = last;
        self.held.retain(|held| *held <= last);
        let above: Vec<u32> = self.bodies.keys().copied().filter(|stream| *stream > last).collect();
        for stream in above {
            self.bodies.remove(&stream);
            self.close_stream();
        }
    }

    fn answer(&mut self, stream: u32, status: u8, body: &[u8], out: &mut Vec<u8>) {
        self.bodies.remove(&stream);
        self.close_stream();
        let ends = if body.is_empty() { END_STREAM } else { 0 };
        put(out, HEADERS, END_HEADERS | ends, stream, &[status]);
        let pieces: Vec<&[u8]> = body.chunks(16_384).collect();
        for (index, piece) in pieces.iter().enumerate() {
            put(out, DATA, if index + 1 == pieces.len() { END_STREAM } else { 0 }, stream, piece);
        }
    }

    fn close_stream(&mut self) {
        self.open -= 1;
        self.seen.open_streams.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn read_frames(mut io: impl AsyncRead + Unpin, frames: mpsc::Sender<Frame>, id: usize, seen: Arc<Seen>) {
    let mut preface = [0; 24];
    if io.read_exact(&mut preface).await.is_err() || &preface != b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
        return;
    }
    let mut head = [0; 9];
    while io.read_exact(&mut head).await.is_ok() {
        // The sender lives with `seen`.
        let _ = seen.silent_up_to.subscribe().wait_for(|silent_up_to| id > *silent_up_to).await;
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; len];
        if io.read_exact(&mut payload).await.is_err() {
            return;
        }
        if frames.send(Frame { kind: head[3], flags: head[4], stream, payload }).await.is_err() {
            return;
        }
    }
}

fn settings(max_streams: u32) -> Vec<u8> {
    let mut out = vec![];
    let setting = [&3u16.to_be_bytes()[..], &max_streams.to_be_bytes()[..]].concat();
    put(&mut out, SETTINGS, 0, 0, &setting);
    out
}

fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}
