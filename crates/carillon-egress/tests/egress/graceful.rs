//! A well-behaved server of another make (the h2 crate's): it keeps to flow control, and goes away as one should.

use crate::{PATIENCE, certificates, config, post};
use bytes::Bytes;
use carillon_egress::{Http2Pool, Origin, PoolConfig, RequestError};
use futures::StreamExt;
use h2::RecvStream;
use h2::server::SendResponse;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

#[derive(Default)]
struct Ledger {
    processed: Mutex<HashMap<String, usize>>,
    connections: AtomicUsize,
}

/// How the server behaves.
#[derive(Clone)]
struct Manner {
    /// Each connection says a graceful GOAWAY (RFC 9113, section 6.8) after so many requests.
    goaway_after: usize,
    /// It answers as many bytes as the request's body says.
    answer_len: fn(&str) -> usize,
}

struct Server {
    origin: Origin,
    ledger: Arc<Ledger>,
    accepting: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("https://localhost:{}", listener.local_addr().unwrap().port()).parse().unwrap();
        let ledger = Arc::new(Ledger::default());
        let tls = TlsAcceptor::from(certificates::authority().server("localhost", &[b"h2"], false));
        let accepting = tokio::spawn({
            let ledger = ledger.clone();
            async move {
                while let Ok((tcp, _)) = listener.accept().await {
                    tokio::spawn(connection(tcp, tls.clone(), ledger.clone(), manner.clone()));
                }
            }
        });
        Server { origin, ledger, accepting }
    }
}

async fn connection(tcp: TcpStream, tls: TlsAcceptor, ledger: Arc<Ledger>, manner: Manner) {
    let Ok(io) = tls.accept(tcp).await else { return };
    let mut builder = h2::server::Builder::new();
    let Ok(mut connection) = builder.max_concurrent_streams(50).handshake::<_, Bytes>(io).await else { return };
    ledger.connections.fetch_add(1, Ordering::SeqCst);
    let mut accepted = 0;
    while let Some(Ok((request, respond))) = connection.accept().await {
        accepted += 1;
        if accepted == manner.goaway_after {
            connection.graceful_shutdown();
        }
        tokio::spawn(answer(request.into_body(), respond, ledger.clone(), manner.answer_len));
    }
}

async fn answer(
    mut body: RecvStream,
    mut respond: SendResponse<Bytes>,
    ledger: Arc<Ledger>,
    answer_len: fn(&str) -> usize,
) {
    let mut whole = Vec::new();
    while let Some(Ok(piece)) = body.data().await {
        whole.extend_from_slice(&piece);
        let _ = body.flow_control().release_capacity(piece.len());
    }
    let whole = String::from_utf8(whole).unwrap();
    let len = answer_len(&whole);
    *ledger.processed.lock().unwrap().entry(whole).or_default() += 1;
    tokio::task::yield_now().await;
    let head = http::Response::builder().status(500).header("apns-id", "x").body(()).unwrap();
    if let Ok(mut stream) = respond.send_response(head, false) {
        let _ = stream.send_data(vec![b'x'; len].into(), true);
        // Stays until the client has read everything or gone away.
        let _ = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn graceful_goaways_under_load_lose_nothing_and_repeat_nothing() {
    let server = Server::start(Manner { goaway_after: 100, answer_len: |_| 2 }).await;
    let pool = PoolConfig { connections: 2, ..config() };
    let pool = Http2Pool::new(server.origin.clone(), pool, certificates::trust()).unwrap();
    let bodies: Vec<String> = (0..3000).map(|i| format!("device-{i}")).collect();
    let sending = futures::stream::iter(&bodies).map(|body| post(&pool, body)).buffer_unordered(200);
    let answers: Vec<_> = tokio::time::timeout(PATIENCE, sending.collect()).await.expect("every request ends");
    for answer in &answers {
        let answer = answer.as_ref().unwrap();
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (500, &b"xx"[..]));
    }
    let processed = server.ledger.processed.lock().unwrap();
    assert_eq!(processed.len(), bodies.len());
    assert!(processed.values().all(|times| *times == 1), "none was processed twice");
    assert!(pool.stats().goaways >= 20, "{:?}", pool.stats());
    assert!(server.ledger.connections.load(Ordering::SeqCst) >= 20);
}

#[tokio::test]
async fn an_answer_longer_than_the_cap_is_refused_with_its_status() {
    let server = Server::start(Manner { goaway_after: usize::MAX, answer_len: |body| body.parse().unwrap() }).await;
    let pool = Http2Pool::new(server.origin.clone(), config(), certificates::trust()).unwrap();
    for len in [0, 1000, 64 * 1024] {
        assert_eq!(post(&pool, &len.to_string()).await.unwrap().body.len(), len);
    }
    for len in [64 * 1024 + 1, 5_000_000] {
        match post(&pool, &len.to_string()).await {
            Err(RequestError::TooLarge { status, cap }) => assert_eq!((status.as_u16(), cap), (500, 64 * 1024)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(post(&pool, "7").await.unwrap().body.len(), 7, "on the same connection");
    assert_eq!(pool.stats().opened, 1);
}
