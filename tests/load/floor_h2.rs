//! The floor of dispatching: a bare loop on the h2 crate that sends requests which lie ready in memory. No broker, no ledger,
//! no retries, no limits; one thread.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use h2::client::SendRequest;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::bearers;
use crate::processes::{Talker, wait_for_a_line};
use crate::report::say;
use crate::whole::Whole;

/// What lies ready.
pub(crate) struct Plan {
    pub(crate) headers: HeaderMap,
    /// Path, apns-id (may be empty), body.
    pub(crate) messages: Vec<[Bytes; 3]>,
}

/// The process: `floor-h2 FILE URL CA CONNECTIONS IN_FLIGHT`. Says `ready`, waits for a line, sends everything, says what came of it, and stays
/// until its input closes, so that its CPU can be read.
pub(crate) fn run(arguments: &[String]) -> Result<bool> {
    let [file, url, ca, connections, in_flight] = arguments else { bail!("five words are needed") };
    let plan = Plan::read(Path::new(file))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let authority = url.strip_prefix("https://").context("an https URL")?.trim_end_matches('/');
        let mut senders = Vec::new();
        for _ in 0..connections.parse::<usize>()? {
            senders.push(connect(authority, Path::new(ca)).await?);
        }
        let in_flight = in_flight.parse::<usize>()? / senders.len();
        let authority: Authority = authority.parse()?;
        say("ready");
        wait_for_a_line()?;
        let began = Instant::now();
        let share = plan.messages.len().div_ceil(senders.len());
        let parts = plan.messages.chunks(share).zip(&senders);
        let sent = parts.map(|(messages, sender)| send(sender, &plan.headers, &authority, messages, in_flight));
        let taken: usize = futures::future::try_join_all(sent).await?.into_iter().sum();
        say(&json!({"taken": taken, "seconds": began.elapsed().as_secs_f64()}).to_string());
        wait_for_a_line()?;
        Ok(true)
    })
}

impl Plan {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.read_to_end(&mut bytes)?;
        let mut rest = Bytes::from(bytes);
        let end = rest.iter().position(|byte| *byte == b'\n').context("no headers")?;
        let shared: Value = serde_json::from_slice(&rest.split_to(end + 1))?;
        let mut headers = HeaderMap::with_capacity(8);
        for (name, value) in shared.as_object().context("headers")? {
            let value = HeaderValue::from_str(value.as_str().context("a header")?)?;
            headers.insert(HeaderName::try_from(name.as_str())?, value);
        }
        let mut messages = Vec::new();
        while !rest.is_empty() {
            let mut part = || {
                let length = rest.split_to(4);
                rest.split_to(u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize)
            };
            messages.push([part(), part(), part()]);
        }
        Ok(Self { headers, messages })
    }
}

pub(crate) async fn connect(authority: &str, ca: &Path) -> Result<SendRequest<Bytes>> {
    let config = bearers::tls(ca, b"h2")?;
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    let host = authority.split(':').next().unwrap_or_default().to_owned();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = Whole(connector.connect(ServerName::try_from(host)?, stream).await?);
    let (sender, connection) = h2::client::Builder::new().enable_push(false).handshake(stream).await?;
    #[allow(clippy::disallowed_methods, reason = "it ends with the process")]
    tokio::spawn(connection);
    // The peer's settings come with its first frames.
    let sender = sender.ready().await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok(sender)
}

async fn send(
    sender: &SendRequest<Bytes>,
    headers: &HeaderMap,
    authority: &Authority,
    messages: &[[Bytes; 3]],
    in_flight: usize,
) -> Result<usize> {
    let mut flying = FuturesUnordered::new();
    let mut taken = 0;
    for [path, id, body] in messages {
        if flying.len() == in_flight {
            taken += usize::from(flying.next().await.unwrap_or(false));
        }
        flying.push(one(sender, headers, authority, [path, id, body])?);
    }
    while let Some(one) = flying.next().await {
        taken += usize::from(one);
    }
    Ok(taken)
}

/// One request; the future says whether it was taken.
pub(crate) fn one(
    sender: &SendRequest<Bytes>,
    headers: &HeaderMap,
    authority: &Authority,
    [path, id, body]: [&Bytes; 3],
) -> Result<impl Future<Output = bool> + use<>> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTPS);
    parts.authority = Some(authority.clone());
    parts.path_and_query = Some(PathAndQuery::from_maybe_shared(path.clone())?);
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_parts(parts)?;
    *request.headers_mut() = headers.clone();
    if !id.is_empty() {
        let mut id = HeaderValue::from_maybe_shared(id.clone())?;
        // No two requests share it: indexed, it would drive out of HPACK's table what all share.
        id.set_sensitive(true);
        request.headers_mut().insert("apns-id", id);
    }
    #[allow(clippy::disallowed_methods, reason = "the floor is what h2 does by itself")]
    let (response, mut stream) = sender.clone().send_request(request, false)?;
    stream.send_data(body.clone(), true)?;
    Ok(async move {
        let Ok(response) = response.await else { return false };
        let status = response.status();
        let mut body = response.into_body();
        while let Some(Ok(piece)) = body.data().await {
            let _ = body.flow_control().release_capacity(piece.len());
        }
        status.is_success()
    })
}

/// Runs the process and measures it.
pub(crate) struct Floor<'a> {
    pub(crate) file: &'a Path,
    pub(crate) url: &'a str,
    pub(crate) ca: &'a Path,
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
}

impl Floor<'_> {
    /// Requests that were taken, how long it took, and the CPU it cost.
    pub(crate) fn measure(&self) -> Result<(u64, Duration, Duration)> {
        let words = [
            "floor-h2".to_owned(),
            self.file.display().to_string(),
            self.url.to_owned(),
            self.ca.display().to_string(),
            self.connections.to_string(),
            self.in_flight.to_string(),
        ];
        let mut talker = Talker::start(&words)?;
        ensure!(talker.hear()? == "ready", "the floor is not ready");
        let before = talker.cpu()?;
        talker.go()?;
        let said: Value = serde_json::from_str(&talker.hear()?)?;
        let cpu = talker.cpu()? - before;
        let seconds = said["seconds"].as_f64().context("seconds")?;
        Ok((said["taken"].as_u64().context("taken")?, Duration::from_secs_f64(seconds), cpu))
    }
}
